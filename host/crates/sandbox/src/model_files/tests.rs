//! What counts as a change of a model directory, and what does not.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

use tempfile::TempDir;

use super::*;

fn dir(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, contents) in files {
        fs::write(dir.path().join(name), contents).expect("written");
    }
    dir
}

fn read(dir: &Path) -> Result<ModelFiles, ModelFilesError> {
    ModelFiles::read(dir, [])
}

fn digest(files: &[(&str, &str)]) -> Digest {
    let dir = dir(files);
    read(dir.path()).expect("read").digest()
}

#[test]
fn the_digest_depends_on_names_and_contents_only() {
    let base = digest(&[("a", "1"), ("b", "2")]);
    assert_eq!(base, digest(&[("b", "2"), ("a", "1")]));
    assert_eq!(base, digest(&[("a", "1"), ("b", "2"), (".hidden", "3")]));
    assert_ne!(base, digest(&[("a", "1"), ("b", "3")]));
    assert_ne!(base, digest(&[("a", "1"), ("c", "2")]));
    assert_ne!(base, digest(&[("a", "2"), ("b", "1")]));
    assert_ne!(base, digest(&[("a", "1")]));
}

#[test]
fn the_files_that_a_graph_needs_count_wherever_they_are() {
    let dir = dir(&[("a", "1"), (".b", "2")]);
    fs::create_dir(dir.path().join("c")).expect("made");
    let weights = dir.path().join("c/weights");
    let read = || {
        let needed = ["a", ".b", "c/weights"].map(PathBuf::from);
        ModelFiles::read(dir.path(), needed)
    };
    assert!(read().is_err(), "the weights are missing");
    fs::write(&weights, "3").expect("written");
    let before = read().expect("read");
    before.check_unchanged().expect("unchanged");
    assert_ne!(before.digest(), digest(&[("a", "1")]));
    fs::write(&weights, "4").expect("written");
    let error = before.check_unchanged().expect_err("changed").to_string();
    assert!(error.contains("/c/weights"), "{error}");
    assert_ne!(before.digest(), read().expect("read").digest());
    fs::write(&weights, "3").expect("written");
    before.check_unchanged().expect("as before");
}

/// Asserts that a directory is refused with these words after a change.
fn assert_refused(change: impl FnOnce(&Path), words: &[&str]) {
    let dir = dir(&[("a", "1")]);
    let files = read(dir.path()).expect("read");
    change(dir.path());
    let errors = [
        read(dir.path()).expect_err("refused"),
        files.check_unchanged().expect_err("refused"),
    ];
    for error in errors {
        for word in words {
            assert!(error.to_string().contains(word), "{word:?}: {error}");
        }
    }
}

#[test]
fn what_cannot_be_read_as_a_file_is_named() {
    let error = read(Path::new("/nowhere/at/all")).expect_err("missing");
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    let link = |to: &'static str| move |dir: &Path| symlink(to, dir.join("b")).expect("a link");
    assert_refused(
        link("/nowhere"),
        &["/b is a link to /nowhere", "No such file"],
    );
    assert_refused(link("b"), &["/b is a link to b", "Too many levels"]);
    assert_refused(link("/dev/null"), &["/b is a device, not a file"]);
    let pipe = |dir: &Path| {
        let made = Command::new("mkfifo").arg(dir.join("b")).status();
        assert!(made.expect("mkfifo runs").success());
    };
    assert_refused(pipe, &["/b is a named pipe, not a file"]);
    let socket = |dir: &Path| drop(UnixListener::bind(dir.join("b")).expect("a socket"));
    assert_refused(socket, &["/b is a socket, not a file"]);
}

/// What `change` does to a directory of the files `a` and `b`: the file that
/// has changed, if one has.
fn changed_by(change: impl FnOnce(&Path)) -> Option<OsString> {
    let dir = dir(&[("a", "1"), ("b", "2")]);
    let files = read(dir.path()).expect("read");
    change(dir.path());
    match files.check_unchanged() {
        Ok(()) => None,
        Err(ModelFilesError::Changed { path }) => path.file_name().map(OsStr::to_owned),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_change_of_contents_or_names_is_noticed() {
    assert_eq!(changed_by(|_| {}), None);
    // Of the same size, and within the resolution of the file's times.
    let changed = changed_by(|dir| fs::write(dir.join("a"), "3").expect("written"));
    assert_eq!(changed.as_deref(), Some(OsStr::new("a")));
    let changed = changed_by(|dir| fs::write(dir.join("c"), "3").expect("written"));
    assert_eq!(changed.as_deref(), Some(OsStr::new("c")));
    let changed = changed_by(|dir| fs::remove_file(dir.join("b")).expect("removed"));
    assert_eq!(changed.as_deref(), Some(OsStr::new("b")));
}

#[test]
fn other_changes_do_not_count() {
    let unchanged = [
        changed_by(|dir| fs::write(dir.join(".c"), "3").expect("written")),
        changed_by(|dir| fs::create_dir(dir.join("c")).expect("made")),
        changed_by(|dir| fs::write(dir.join("a"), "1").expect("written")),
        changed_by(|dir| {
            fs::write(dir.join(".new"), "1").expect("written");
            fs::rename(dir.join(".new"), dir.join("a")).expect("renamed");
        }),
    ];
    assert_eq!(unchanged, [None, None, None, None]);
}

#[test]
fn the_stamp_of_a_directory_changes_with_its_files() {
    let dir = dir(&[("a", "1"), ("b", "2")]);
    let stamp = || ModelFiles::stamp(dir.path());
    let first = stamp();
    assert!(first.is_some() && first == stamp());
    fs::rename(dir.path().join("a"), dir.path().join("c")).expect("renamed");
    let renamed = stamp();
    assert_ne!(renamed, first);
    fs::write(dir.path().join("c"), "12").expect("written");
    assert_ne!(stamp(), renamed);
    fs::create_dir(dir.path().join("onnx")).expect("made");
    let deep = stamp();
    fs::write(dir.path().join("onnx/e"), "1").expect("written");
    assert_ne!(stamp(), deep);
    symlink("nowhere", dir.path().join("d")).expect("a link");
    assert_eq!(stamp(), None);
}
