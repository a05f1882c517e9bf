//! Compiled guests on disk: used if they are undamaged and fit, compiled again otherwise.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use predictor::Configuration;
use sandbox::{ArtifactStore, Guest, LoadedFrom, ModelFiles, Runtime, load};
use tempfile::TempDir;

use crate::harness::{
    GENEROUS, copy_of, example_path, fixture, graphs, guest, loading, runtime, wait,
};
use crate::hostile::{component, files, hostile, hundredths, prepared, roomy, some_files};

pub(super) struct Store {
    dir: TempDir,
    store: ArtifactStore,
}

impl Store {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(dir.path()).unwrap();
        Self { dir, store }
    }

    pub(super) fn load(&self, runtime: &Arc<Runtime>, text: &str, files: &ModelFiles) -> Guest {
        load(
            runtime,
            Some(&self.store),
            &component(text),
            files,
            &Configuration::NONE,
        )
        .unwrap()
    }

    pub(super) fn store(&self) -> &ArtifactStore {
        &self.store
    }

    /// Every file in the directory, by name.
    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// The only file.
    fn file(&self) -> PathBuf {
        let files = self.files();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }
}

/// How often the guest has counted.
pub(super) fn count(guest: &Guest) -> u32 {
    hundredths(&wait(guest.predict(&["count".to_owned()])).unwrap())
}

#[test]
fn only_a_guest_that_prepares_with_its_configuration_is_compiled_for_it() {
    let dir = fixture("tiny-bert");
    let (runtime, files) = (runtime(GENEROUS, graphs(&dir)), files(&dir));
    let store = Store::new();
    let loaded = |component: &[u8], margin: &str| {
        let _loading = loading();
        let change = ("margin".to_owned(), Some(margin.to_owned()));
        let configuration = Configuration::NONE.with([change]).unwrap();
        let store = Some(&store.store);
        let loaded = load(&runtime, store, component, &files, &configuration);
        loaded.unwrap().loaded_from()
    };
    // It prepares nothing.
    let lexicon = std::fs::read(example_path("lexicon")).unwrap();
    assert_eq!(loaded(&lexicon, "0.5"), LoadedFrom::Source);
    assert_eq!(loaded(&lexicon, "0.25"), LoadedFrom::Artifact);
    assert_eq!(loaded(guest(), "0.5"), LoadedFrom::Source);
    assert_eq!(loaded(guest(), "0.25"), LoadedFrom::Source);
    assert_eq!(loaded(guest(), "0.5"), LoadedFrom::Artifact);
}

#[test]
fn the_second_load_finds_what_the_first_has_compiled() {
    let dir = fixture("tiny-bert");
    let (graphs, files, store) = (graphs(&dir), files(&dir), Store::new());
    let load = || {
        // In a runtime of its own, as after a restart.
        let runtime = runtime(GENEROUS, graphs.clone());
        load(
            &runtime,
            Some(&store.store),
            guest(),
            &files,
            &Configuration::NONE,
        )
        .unwrap()
    };
    let _loading = loading();
    let (first, second) = (load(), load());
    assert_eq!(first.loaded_from(), LoadedFrom::Source);
    assert_eq!(second.loaded_from(), LoadedFrom::Artifact);
    assert_eq!(first.revision(), second.revision());
    let texts: Vec<String> = ["", "Loved it.", "a b c"].map(str::to_owned).into();
    let (first, second) = (wait(first.predict(&texts)), wait(second.predict(&texts)));
    assert_eq!(first.unwrap(), second.unwrap());
}

#[test]
fn without_a_store_nothing_is_kept() {
    let runtime = roomy();
    for _ in 0..2 {
        let guest = load(
            &runtime,
            None,
            &component(&hostile()),
            &some_files(),
            &Configuration::NONE,
        )
        .unwrap();
        assert_eq!(guest.loaded_from(), LoadedFrom::Source);
    }
}

/// Damages the file of a guest in some way; the guest must be compiled anew,
/// answer as before, and be found again by the next load.
#[test]
fn a_damaged_file_is_never_trusted() {
    let (runtime, files, store) = (roomy(), some_files(), Store::new());
    let text = prepared("");
    assert_eq!(
        store.load(&runtime, &text, &files).loaded_from(),
        LoadedFrom::Source
    );
    let path = store.file();
    let whole = std::fs::read(&path).unwrap();

    let mut damaged: Vec<(String, Vec<u8>)> = Vec::new();
    // The code, and behind it the magic, the key and the digest.
    let end = whole.len() - 80;
    let (key, digest) = (end + 16, end + 48);
    let places = [
        0,
        end / 2,
        end - 1,
        end,
        key - 1,
        key,
        digest,
        whole.len() - 1,
    ];
    for at in places {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        damaged.push((format!("byte {at}"), bytes));
    }
    for length in [0, 1, 79, 80, end / 2, end, whole.len() - 1] {
        damaged.push((format!("cut at {length}"), whole[..length].to_vec()));
    }
    damaged.push(("longer".to_owned(), [&whole[..], b"x"].concat()));

    for (what, bytes) in damaged {
        std::fs::write(&path, bytes).unwrap();
        let guest = store.load(&runtime, &text, &files);
        assert_eq!(guest.loaded_from(), LoadedFrom::Source, "{what}");
        assert_eq!(count(&guest), 41, "{what}");
        assert_eq!(store.file(), path, "{what}");
        let again = store.load(&runtime, &text, &files);
        assert_eq!(again.loaded_from(), LoadedFrom::Artifact, "{what}");
        assert_eq!(count(&again), 41, "{what}");
    }
}

#[test]
fn the_file_of_another_guest_is_not_trusted() {
    let (runtime, files, store) = (roomy(), some_files(), Store::new());
    store.load(&runtime, &hostile(), &files);
    let of_hostile = store.file();
    store.load(&runtime, &prepared(""), &files);
    let both = store.files();
    let of_prepared = both.iter().find(|path| **path != of_hostile).unwrap();

    std::fs::copy(of_prepared, &of_hostile).unwrap();
    let guest = store.load(&runtime, &hostile(), &files);
    assert_eq!(guest.loaded_from(), LoadedFrom::Source);
    assert_eq!(count(&guest), 1);
}

#[test]
fn loads_at_the_same_time_do_not_disturb_each_other() {
    let (runtime, files, store) = (roomy(), some_files(), Store::new());
    let text = prepared("");
    std::thread::scope(|scope| {
        let load = || count(&store.load(&runtime, &text, &files));
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 41);
        }
    });
    // Nothing half written is left either.
    store.file();
    let guest = store.load(&runtime, &text, &files);
    assert_eq!(guest.loaded_from(), LoadedFrom::Artifact);
}

#[test]
fn what_was_prepared_with_other_files_is_not_used() {
    let (runtime, store) = (roomy(), Store::new());
    let dir = copy_of("tiny-roberta");
    // Its texts are no orders for these guests.
    std::fs::remove_file(dir.path().join("golden.json")).unwrap();
    let at = |name: &str| dir.path().join(name);
    let load = || store.load(&runtime, &prepared(""), &files(dir.path()));

    let first = load();
    assert_eq!(first.loaded_from(), LoadedFrom::Source);
    assert_eq!(load().loaded_from(), LoadedFrom::Artifact);

    let original = std::fs::read(at("tokenizer_config.json")).unwrap();
    std::fs::write(at("tokenizer_config.json"), "{}").unwrap();
    let changed = load();
    assert_eq!(changed.loaded_from(), LoadedFrom::Source);
    assert_eq!(changed.revision().guest(), first.revision().guest());
    assert_ne!(changed.revision().model(), first.revision().model());

    // Files that are new, or gone, count as well.
    std::fs::write(at("added_tokens.json"), "{}").unwrap();
    assert_eq!(load().loaded_from(), LoadedFrom::Source);
    std::fs::remove_file(at("added_tokens.json")).unwrap();
    std::fs::remove_file(at("tokenizer_config.json")).unwrap();
    assert_eq!(load().loaded_from(), LoadedFrom::Source);

    // The way back costs nothing.
    std::fs::write(at("tokenizer_config.json"), original).unwrap();
    let back = load();
    assert_eq!(back.loaded_from(), LoadedFrom::Artifact);
    assert_eq!(back.revision(), first.revision());
}

/// Where code cannot be kept, it is compiled at every start.
#[test]
fn a_store_that_can_not_be_written_costs_only_time() {
    let (runtime, files, store) = (roomy(), some_files(), Store::new());
    let dir: &Path = store.dir.path();
    std::fs::remove_dir(dir).unwrap();
    for _ in 0..2 {
        let guest = store.load(&runtime, &hostile(), &files);
        assert_eq!(guest.loaded_from(), LoadedFrom::Source);
        assert_eq!(count(&guest), 1);
    }
}
