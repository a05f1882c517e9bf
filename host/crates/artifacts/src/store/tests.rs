//! What is kept, what is removed, and who has to wait.

use super::*;

fn blob(name: &str, bytes: &[u8]) -> Blob {
    Blob {
        name: name.to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    }
}

/// Keeps an artifact with one file. Its manifest is only a name.
async fn keep(store: &Store, manifest: &[u8], bytes: &[u8]) -> Digest {
    let digest = Digest::of(manifest);
    let files = [blob("a", bytes)];
    let _lock = store.lock(&digest, Hold::Exclusive).await.unwrap();
    let (dir, complete) = store.begin(&digest, &files).unwrap();
    assert!(complete.is_empty(), "{complete:?}");
    let write = |file: &mut File| io::Write::write_all(file, bytes);
    dir.write("a", UNFINISHED, write).unwrap();
    store.finish(&digest, &dir, manifest, None).unwrap();
    digest
}

fn store(most: u64) -> (tempfile::TempDir, Store) {
    let temporary = tempfile::tempdir().unwrap();
    let store = Store::open(&temporary.path().join("store"), most).unwrap();
    (temporary, store)
}

#[tokio::test]
async fn an_artifact_that_was_changed_is_not_intact() {
    let (_temporary, store) = store(1000);
    let digest = keep(&store, b"one", b"contents").await;
    let files = [blob("a", b"contents")];
    assert_eq!(store.manifest(&digest).unwrap(), b"one");
    assert!(store.is_intact(&digest, &files));
    assert_eq!(store.read(&digest, &files[0]).unwrap(), b"contents");

    let path = store.path(&digest);
    fs::write(path.join("b"), "one more").unwrap();
    assert!(!store.is_intact(&digest, &files));
    fs::remove_file(path.join("b")).unwrap();
    fs::write(path.join("a"), "Contents").unwrap();
    assert!(!store.is_intact(&digest, &files));
    assert_eq!(store.read(&digest, &files[0]), None);
    fs::remove_file(path.join("a")).unwrap();
    assert!(!store.is_intact(&digest, &files));
    fs::write(path.join(MANIFEST), "two").unwrap();
    assert_eq!(store.manifest(&digest), None);
}

#[tokio::test]
async fn what_was_not_used_for_longest_is_removed_unless_it_is_in_use() {
    let (_temporary, store) = store(150);
    let mut digests = Vec::new();
    for (name, age) in [("old", 30), ("older", 40), ("oldest", 50)] {
        let digest = keep(&store, name.as_bytes(), &[0; 30]).await;
        let lock = store.lock(&digest, Hold::Shared).await.unwrap();
        let used = SystemTime::now() - Duration::from_secs(age);
        lock.0.set_modified(used).unwrap();
        digests.push(digest);
    }
    let is_kept = |digest: &Digest| store.manifest(digest).is_some();
    let [old, older, oldest] = digests.try_into().unwrap();
    let size: u64 = [&old, &older, &oldest]
        .map(|digest| size(&store.path(digest)))
        .iter()
        .sum();

    // Everything fits.
    store.make_room(150 - size).unwrap();
    assert!([old, older, oldest].iter().all(is_kept));

    // The oldest is in use, so the next one has to go.
    let used = store.lock(&oldest, Hold::Shared).await.unwrap();
    store.make_room(151 - size).unwrap();
    assert_eq!(
        [old, older, oldest].map(|digest| is_kept(&digest)),
        [true, false, true]
    );

    let error = store.make_room(150).unwrap_err();
    assert!(
        matches!(
            error,
            ArtifactError::Full {
                needed: 150,
                most: 150,
                ..
            }
        ),
        "{error}"
    );
    drop(used);
    store.make_room(150).unwrap();
    assert!(store.dir.names().unwrap().is_empty());
}

#[tokio::test]
async fn complete_files_of_an_unfinished_artifact_are_kept_and_the_rest_is_removed() {
    let (_temporary, store) = store(1000);
    let digest = Digest::of(b"manifest");
    let files = [
        blob("whole", b"whole"),
        blob("damaged", b"damaged"),
        blob("new", b"new"),
    ];
    let (dir, _) = store.begin(&digest, &files).unwrap();
    for (name, bytes) in [
        ("whole", "whole"),
        ("damaged", "Damaged"),
        (".new-1", "x"),
        ("z", "z"),
    ] {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let (dir, complete) = store.begin(&digest, &files).unwrap();
    assert_eq!(complete, ["whole"]);
    assert_eq!(dir.names().unwrap(), ["whole"]);
}

#[tokio::test]
async fn a_lock_waits_for_the_one_who_has_it_even_if_that_one_removes_the_artifact() {
    let (_temporary, store) = store(1000);
    let digest = keep(&store, b"one", b"contents").await;
    let shared = store.lock(&digest, Hold::Shared).await.unwrap();
    let also = store.lock(&digest, Hold::Shared).await.unwrap();
    let name = format!("{digest}{LOCK}");
    assert!(store.try_lock(&name, Hold::Exclusive).unwrap().is_none());
    assert!(!store.remove(&digest.to_string()).unwrap());
    drop((shared, also));

    // A file that was opened before it was removed is no lock any more.
    let opened = store.dir.lock_file(&name).unwrap();
    assert!(store.remove(&digest.to_string()).unwrap());
    opened.try_lock().unwrap();
    assert!(store.try_lock(&name, Hold::Exclusive).unwrap().is_some());
}
