//! Records the version of the compiler, which the server reports, and makes what the templates
//! of guests need of the contract.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

/// The contract, from this package.
const WIT: &str = "../wit";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").ok_or("cargo sets no RUSTC")?;
    let output = Command::new(rustc).arg("--version").output()?.stdout;
    let output = String::from_utf8(output)?;
    // Such as `rustc 1.95.0 (hash date)`.
    let version = output.split_whitespace().nth(1);
    let version = version.ok_or("rustc prints no version")?;
    println!("cargo::rustc-env=FASTSENTIMENT_RUSTC={version}");
    // Files that are new there are embedded, too.
    println!("cargo::rerun-if-changed=templates");
    println!("cargo::rerun-if-changed={WIT}");
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?;
    bindings_for_c(&Path::new(&out).join("c"))
}

/// Writes the C bindings of the world `guest`. Whoever writes a guest in C then needs no
/// generator, for which there is no package but its source.
fn bindings_for_c(dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(WIT)?;
    let world = resolve.select_world(&[package], Some("guest"))?;
    let mut files = Files::default();
    let mut generator = wit_bindgen_c::Opts::default().build();
    generator.generate(&mut resolve, world, &mut files)?;
    let dir = dir.join("bindings");
    fs::create_dir_all(&dir)?;
    for (name, contents) in files.iter() {
        fs::write(dir.join(name), contents)?;
    }
    Ok(())
}
