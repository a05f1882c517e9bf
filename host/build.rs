//! Records the version of the compiler, which the server reports, and makes what the templates
//! of guests need of the contract.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};

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
    let (for_c, for_go) = (Path::new(&out).join("c"), Path::new(&out).join("go"));
    let mut c = wit_bindgen_c::Opts::default().build();
    write_bindings(&mut *c, &for_c.join("bindings"))?;
    // Alike on machines with and without `gofmt`.
    let go = wit_bindgen_go::Opts {
        format: wit_bindgen_go::Format::False,
        ..Default::default()
    };
    let mut go = go.build();
    write_bindings(&mut *go, &for_go)?;
    // The template has its own.
    fs::remove_file(for_go.join("go.mod"))?;
    let adapter = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
    fs::write(for_go.join("wasi_snapshot_preview1.reactor.wasm"), adapter)?;
    Ok(())
}

/// Writes the bindings of the world `guest`. Whoever writes a guest then needs no generator of
/// bindings, for which there is no package but its source.
fn write_bindings(generator: &mut dyn WorldGenerator, dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(WIT)?;
    let world = resolve.select_world(&[package], Some("guest"))?;
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files)?;
    // Those of an earlier contract.
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    for (name, contents) in files.iter() {
        let file = dir.join(name);
        fs::create_dir_all(file.parent().unwrap_or(dir))?;
        fs::write(file, contents)?;
    }
    Ok(())
}
