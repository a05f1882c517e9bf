//! Records the version of the compiler, which the server reports.

use std::error::Error;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").ok_or("cargo sets no RUSTC")?;
    let output = Command::new(rustc).arg("--version").output()?.stdout;
    let output = String::from_utf8(output)?;
    // Such as `rustc 1.95.0 (hash date)`.
    let version = output.split_whitespace().nth(1);
    let version = version.ok_or("rustc prints no version")?;
    println!("cargo::rustc-env=FASTSENTIMENT_RUSTC={version}");
    Ok(())
}
