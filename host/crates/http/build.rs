//! Prepares the assets of the server's pages.
//!
//! Takes the assets of Swagger UI out of the archive in which its makers publish
//! them, and leaves them compressed: an entry of a zip archive and a file of gzip
//! differ in their frames alone. Names the folder of all assets after what is in them,
//! and tells the pages.

use std::error::Error;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use rawzip::{CompressionMethod, ZipArchive};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

/// The pages, each in a folder of its own with the files that are not Swagger UI's.
const PAGES: [&str; 2] = ["page", "docs"];

/// What stands in a page for the folder of its files.
const FOLDER: &str = "{assets}";

/// What `/docs` is made of, beside what is in `src/docs/`.
const WANTED: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

/// The head of a file of gzip (RFC 1952): deflated, with no name and no time.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("there is no OUT_DIR")?);
    // Nobody gains by two versions with the same digest, so that any will do.
    let mut digest = DefaultHasher::new();
    for name in WANTED {
        let file = gzip(name)?;
        file.hash(&mut digest);
        fs::write(out.join(format!("{name}.gz")), file)?;
    }
    for page in PAGES {
        let folder = Path::new("src").join(page);
        println!("cargo::rerun-if-changed={}", folder.display());
        let files: Result<Vec<_>, _> = fs::read_dir(folder)?.collect();
        let mut paths: Vec<_> = files?.into_iter().map(|file| file.path()).collect();
        paths.sort();
        for path in paths {
            (&path, fs::read(&path)?).hash(&mut digest);
        }
    }
    let build = format!("{:016x}", digest.finish());
    println!("cargo::rustc-env=FASTSENTIMENT_ASSETS={build}");
    for page in PAGES {
        let html = fs::read_to_string(format!("src/{page}/index.html"))?;
        let html = html.replace(FOLDER, &format!("assets/{build}"));
        fs::write(out.join(format!("{page}.html")), html)?;
    }
    Ok(())
}

/// An entry of the archive as a file of gzip.
fn gzip(name: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let archive = ZipArchive::from_slice(SWAGGER_UI_VENDORED)?;
    let path = format!("/dist/{name}");
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_entry()? {
        if !entry.file_path().as_ref().ends_with(path.as_bytes()) {
            continue;
        }
        if entry.compression_method() != CompressionMethod::DEFLATE {
            return Err(format!("{name} is not deflated").into());
        }
        let found = archive.get_entry(entry.wayfinder())?;
        // What follows the data says how long the original is, modulo 2^32.
        let length = u32::try_from(entry.uncompressed_size_hint())?;
        let mut file = HEAD.to_vec();
        file.extend(found.data());
        file.extend(entry.crc32().to_le_bytes());
        file.extend(length.to_le_bytes());
        return Ok(file);
    }
    Err(format!("{name} is not in the archive of Swagger UI").into())
}
