//! Outputs that would destroy something.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::files::{Case, predict};
use crate::harness::loading;
use crate::server_process::run;

const CONTENT: &str = "text\ngood\nbad\n";

/// Asserts that the command is refused as wrong use, and changes no file.
fn assert_refused(case: &Case, command: &mut Command, words: &str) {
    let list = || {
        let entries = fs::read_dir(case.dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = list();
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(words), "{words:?} is not in: {said}");
    assert_eq!(list(), before);
    assert_eq!(fs::read_to_string(&case.file).unwrap(), CONTENT);
}

#[test]
fn the_input_is_not_overwritten() {
    let case = Case::new("a.csv", CONTENT);
    fs::create_dir(case.path("dir")).unwrap();
    fs::hard_link(&case.file, case.path("hard.csv")).unwrap();
    fs::hard_link(&case.file, case.path("b.csv.partial")).unwrap();
    fs::hard_link(&case.file, case.path("c.csv.progress")).unwrap();
    for out in ["a.csv", "dir/../a.csv", "hard.csv", "b.csv", "c.csv"] {
        for restart in [&[][..], &["--restart"]] {
            let mut command = case.command(&case.path(out));
            assert_refused(&case, command.args(restart), "the file that is scored");
        }
    }
    // By a relative name, and as standard input.
    let mut command = case.command(Path::new("a.csv"));
    let command = command.current_dir(case.dir.path());
    assert_refused(&case, command, "the file that is scored");
    let mut command = predict();
    command.stdin(fs::File::open(&case.file).unwrap());
    command.args(["--file", "-", "--format", "csv", "--out"]);
    assert_refused(&case, command.arg(&case.file), "the file that is scored");
    // As `>> a.csv` does it.
    let mut command = predict();
    let append = fs::OpenOptions::new().append(true).open(&case.file);
    command.stdout(append.unwrap());
    command.arg("--file").arg(&case.file);
    let ended = command.output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert_eq!(fs::read_to_string(&case.file).unwrap(), CONTENT);
}

#[test]
fn links_are_not_replaced() {
    let case = Case::new("a.csv", CONTENT);
    fs::write(case.path("other"), "other").unwrap();
    for (link, to) in [
        ("other.csv", "other"),
        ("dangling.csv", "nowhere"),
        ("b.csv.partial", "other"),
        ("c.csv.progress", "nowhere"),
    ] {
        symlink(case.path(to), case.path(link)).unwrap();
    }
    symlink(&case.file, case.path("same.csv")).unwrap();
    for out in ["other.csv", "dangling.csv", "b.csv", "c.csv"] {
        let mut command = case.command(&case.path(out));
        assert_refused(&case, &mut command, "symbolic link");
    }
    let mut command = case.command(&case.path("same.csv"));
    assert_refused(&case, &mut command, "the file that is scored");
    assert_eq!(fs::read_to_string(case.path("other")).unwrap(), "other");
}

/// A link to something else than a file, such as /dev/stdout on a pipe, is written to.
#[test]
fn links_to_streams_are_written_to() {
    let case = Case::new("a.csv", CONTENT);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = case.command(Path::new("/dev/stdout"));
    let _loading = loading();
    let mut child = command.stdout(writer).spawn().unwrap();
    drop(command);
    let mut scored = String::new();
    reader.read_to_string(&mut scored).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(scored.lines().count(), 3);
}
