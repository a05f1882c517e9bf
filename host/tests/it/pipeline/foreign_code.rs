//! The ways in which another user may try to have machine code run, as listed in
//! host/ARCHITECTURE.md, each with code that would run if it were trusted.
//!
//! Only root can give files to other users, so for others some tests are skipped.

use std::fs::{self, Permissions};
use std::io::{Seek, Write};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use predictor::Configuration;
use sandbox::{ArtifactError, ArtifactStore, Guest, LoadedFrom, load};

use super::artifacts::count;
use crate::hostile::{component, hostile, prepared, roomy, some_files};

/// A user who is neither this one nor root.
const OTHER: u32 = 65_534;

/// What the guest answers, and what the foreign code does.
const OURS: u32 = 41;
const FOREIGN: u32 = 1;

/// A directory for compiled guests, with one in it, and the code of an attacker.
struct Scene {
    root: tempfile::TempDir,
    dir: PathBuf,
    /// The file of the guest.
    file: PathBuf,
    /// Code that answers [`FOREIGN`], with the right key and digest for that file.
    foreign: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("between/artefacts");
        let foreign = root.path().join("attacker");
        let guest = loaded(&ArtifactStore::open(&dir).unwrap());
        assert_eq!(guest.loaded_from(), LoadedFrom::Source);
        let store = ArtifactStore::open(&foreign).unwrap();
        load(
            &roomy(),
            Some(&store),
            &component(&hostile()),
            &some_files(),
            &Configuration::NONE,
        )
        .unwrap();
        let (file, foreign) = (only_file(&dir), only_file(&foreign));
        let (ours, mut foreign) = (fs::read(&file).unwrap(), fs::read(foreign).unwrap());
        // The last 64 bytes are the key, which an attacker can compute, and the digest.
        let key = ours.len() - 64..ours.len() - 32;
        let place = foreign.len() - 64..foreign.len() - 32;
        foreign[place].copy_from_slice(&ours[key]);
        Self {
            root,
            dir,
            file,
            foreign,
        }
    }

    /// Replaces the compiled guest with foreign code, in a file of this user.
    fn plant(&self) {
        fs::remove_file(&self.file).unwrap();
        fs::write(&self.file, &self.foreign).unwrap();
    }

    fn store(&self) -> ArtifactStore {
        ArtifactStore::open(&self.dir).unwrap()
    }

    /// Asserts that the directory is refused, with `words` in the reason.
    fn assert_refused(&self, words: &str) {
        let error = ArtifactStore::open(&self.dir).unwrap_err();
        assert!(matches!(error, ArtifactError::Shared { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Loads the guest, as a start or a swap does.
fn loaded(store: &ArtifactStore) -> Guest {
    let guest = component(&prepared(""));
    load(
        &roomy(),
        Some(store),
        &guest,
        &some_files(),
        &Configuration::NONE,
    )
    .unwrap()
}

/// Asserts that the guest is compiled again, and answers as it should.
fn assert_not_run(store: &ArtifactStore) {
    let guest = loaded(store);
    assert_eq!(guest.loaded_from(), LoadedFrom::Source);
    assert_eq!(count(&guest), OURS);
}

fn only_file(dir: &Path) -> PathBuf {
    let mut entries = fs::read_dir(dir).unwrap();
    let file = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none());
    file
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Gives something to another user. Returns whether that was possible.
#[expect(clippy::print_stderr, reason = "a skipped test has to be noticed")]
fn is_given_away(path: &Path) -> bool {
    let given = lchown(path, Some(OTHER), None).is_ok();
    if !given {
        eprintln!("*** SKIPPED: only root can give a file to another user");
    }
    given
}

/// Without this, the other tests would show nothing.
#[test]
fn the_foreign_code_would_run_if_it_were_trusted() {
    let scene = Scene::new();
    scene.plant();
    let guest = loaded(&scene.store());
    assert_eq!(guest.loaded_from(), LoadedFrom::Artifact);
    assert_eq!(count(&guest), FOREIGN);
}

#[test]
fn way_1_a_directory_of_another_user() {
    let scene = Scene::new();
    scene.plant();
    if is_given_away(&scene.dir) {
        scene.assert_refused("belongs to another user");
    }
}

#[test]
fn way_2_a_directory_that_others_can_write_to() {
    let scene = Scene::new();
    scene.plant();
    for mode in [0o770, 0o707, 0o1777] {
        set_mode(&scene.dir, mode);
        scene.assert_refused("can be written by other users");
    }
}

#[test]
fn way_3_a_directory_on_the_way_that_others_can_exchange() {
    let scene = Scene::new();
    scene.plant();
    let between = scene.dir.parent().unwrap();
    for mode in [0o777, 0o770] {
        set_mode(between, mode);
        scene.assert_refused("between can be written by other users");
    }
    set_mode(between, 0o755);
    if is_given_away(between) {
        scene.assert_refused("between belongs to another user");
    }
}

#[test]
fn way_4_a_link_of_another_user_on_the_way() {
    let mut scene = Scene::new();
    scene.plant();
    // As in /tmp.
    set_mode(scene.root.path(), 0o1777);
    let link = scene.root.path().join("link");
    symlink("between", &link).unwrap();
    scene.dir = link.join("artefacts");
    assert_eq!(count(&loaded(&scene.store())), FOREIGN);
    if is_given_away(&link) {
        scene.assert_refused("link belongs to another user");
    }
}

#[test]
fn way_5_a_file_that_was_planted_before_the_directory_was_made_private() {
    let scene = Scene::new();
    scene.plant();
    // While others could write there.
    if is_given_away(&scene.file) {
        // What is often advised.
        chown(&scene.dir, Some(0), None).unwrap();
        set_mode(&scene.dir, 0o700);
        assert_not_run(&scene.store());
        // It has been replaced.
        let guest = loaded(&scene.store());
        assert_eq!(guest.loaded_from(), LoadedFrom::Artifact);
        assert_eq!(count(&guest), OURS);
    }
}

#[test]
fn way_6_a_file_that_others_can_write_to() {
    for mode in [0o620, 0o606] {
        let scene = Scene::new();
        scene.plant();
        set_mode(&scene.file, mode);
        assert_not_run(&scene.store());
    }
}

#[test]
fn way_7_something_else_than_a_file() {
    let scene = Scene::new();
    let elsewhere = scene.root.path().join("elsewhere");
    fs::write(&elsewhere, &scene.foreign).unwrap();
    fs::remove_file(&scene.file).unwrap();
    symlink(&elsewhere, &scene.file).unwrap();
    assert_not_run(&scene.store());
    // Whoever opened a named pipe would wait for ever.
    fs::remove_file(&scene.file).unwrap();
    let mut mkfifo = Command::new("mkfifo");
    assert!(mkfifo.arg(&scene.file).status().unwrap().success());
    assert_not_run(&scene.store());
}

#[test]
fn way_8_a_change_after_the_check() {
    let scene = Scene::new();
    let store = scene.store();
    // Open since the file could be written to by others.
    let mut open = fs::File::options().write(true).open(&scene.file).unwrap();
    let guest = loaded(&store);
    assert_eq!(guest.loaded_from(), LoadedFrom::Artifact);
    open.write_all(&scene.foreign).unwrap();
    assert_eq!(count(&guest), OURS);
    // A mapping of what is gone could not even be read.
    open.set_len(0).unwrap();
    open.rewind().unwrap();
    assert_eq!(count(&guest), OURS);
}

#[test]
fn way_9_another_directory_in_the_place_of_the_one_that_was_checked() {
    let scene = Scene::new();
    let store = scene.store();
    let away = scene.root.path().join("away");
    fs::rename(&scene.dir, &away).unwrap();
    fs::create_dir(&scene.dir).unwrap();
    fs::write(&scene.file, &scene.foreign).unwrap();
    let guest = loaded(&store);
    assert_eq!(guest.loaded_from(), LoadedFrom::Artifact);
    assert_eq!(count(&guest), OURS);
    // What is missing is not looked for there either, nor written.
    fs::remove_file(only_file(&away)).unwrap();
    assert_not_run(&store);
    only_file(&away);
    assert_eq!(fs::read(&scene.file).unwrap(), scene.foreign);
}

#[test]
fn way_10_a_directory_that_was_opened_to_others_later() {
    let scene = Scene::new();
    let store = scene.store();
    set_mode(&scene.dir, 0o777);
    scene.plant();
    assert_not_run(&store);
}
