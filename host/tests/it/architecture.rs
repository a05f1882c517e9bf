//! Source files stay short enough to be read in one sitting.

use std::path::{Path, PathBuf};

use crate::harness::repository;

/// The most lines of a source file.
const MAX_LINES: usize = 400;

/// Every Rust file below a directory.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let mut long = Vec::new();
    for dir in ["host/src", "host/crates", "host/tests", "guest"] {
        let files = sources(&repository().join(dir));
        assert!(!files.is_empty(), "no Rust file in {dir}");
        for file in files {
            let lines = std::fs::read_to_string(&file).unwrap().lines().count();
            if lines > MAX_LINES {
                long.push(format!("{}: {lines} lines", file.display()));
            }
        }
    }
    assert!(long.is_empty(), "\n{}\n", long.join("\n"));
}
