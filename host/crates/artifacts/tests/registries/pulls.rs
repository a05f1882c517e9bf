//! What is pushed can be pulled, and stays what it was.

use std::fs;

use fastsentiment_artifacts::{ArtifactError, Kind, PinnedReference, Registry};
use predictor::Digest;
use tempfile::TempDir;

use crate::faulty::{Action, Faulty};
use crate::server::Server;
use crate::{MOST, at, client, component, options, push_guest, push_model, reference, write_files};

#[tokio::test]
async fn a_guest_is_what_was_pushed_and_is_downloaded_once() {
    let server = Server::plain();
    let component = component(3 << 20);
    let pushed = push_guest(&server, "team/guest:v1", &component).await;
    let proxy = Faulty::start(&server.address, |_| Action::Forward);
    let (dir, registry) = client(&[&proxy.address]);

    let tagged = reference(&format!("oci://{}/team/guest:v1", proxy.address));
    let pinned = registry.resolve(&tagged).await.unwrap();
    assert_eq!(pinned, at(&proxy.address, &pushed));
    for _ in 0..2 {
        let guest = registry.pull_guest(&pinned, None, MOST).await.unwrap();
        assert!(guest.component == component);
        assert_eq!(guest.digest, Digest::of(&component));
        assert_eq!(guest.signed_by, None);
    }
    assert_eq!(proxy.blobs().len(), 1);

    // Another process with the same directory needs no registry.
    let again = Registry::new(options(dir.path(), &[&proxy.address])).unwrap();
    drop((server, proxy));
    let guest = again.pull_guest(&pinned, None, MOST).await.unwrap();
    assert!(guest.component == component);
}

#[tokio::test]
async fn a_model_is_the_files_that_were_pushed() {
    let server = Server::plain();
    let weights = component(2 << 20);
    let files: &[(&str, &[u8])] = &[
        ("config.json", b"{}"),
        ("model.onnx", &weights),
        ("empty file.txt", b""),
        (".hidden", b"not pushed"),
    ];
    let pushed = push_model(&server, "model:v1", files).await;
    let (_dir, registry) = client(&[&server.address]);
    let model = registry.pull_model(&pushed, None, MOST).await.unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(model.dir()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    assert_eq!(names, ["config.json", "empty file.txt", "model.onnx"]);
    for (name, contents) in &files[..3] {
        assert!(
            fs::read(model.dir().join(name)).unwrap() == *contents,
            "{name}"
        );
    }
    // Only the files count, and not when or by whom they are pushed.
    assert_eq!(push_model(&server, "model:v1", files).await, pushed);
}

#[tokio::test]
async fn a_guest_and_a_model_are_not_taken_for_each_other() {
    let server = Server::plain();
    let guest = push_guest(&server, "guest", &component(10)).await;
    let model = push_model(&server, "model", &[("model.onnx", b"x")]).await;
    let (_dir, registry) = client(&[&server.address]);
    for error in [
        registry.pull_guest(&model, None, MOST).await.unwrap_err(),
        registry.pull_model(&guest, None, MOST).await.unwrap_err(),
    ] {
        assert!(matches!(error, ArtifactError::Unusable { .. }), "{error}");
        assert_eq!(error.kind(), Kind::Final);
    }
}

#[tokio::test]
async fn what_is_too_large_is_not_downloaded() {
    let server = Server::plain();
    let guest = push_guest(&server, "guest", &component(5000)).await;
    let model = push_model(&server, "model", &[("a", &[0; 60]), ("b", &[1; 60])]).await;
    let proxy = Faulty::start(&server.address, |_| Action::Forward);
    let (_dir, registry) = client(&[&proxy.address]);
    let guest = at(&proxy.address, &guest);
    let model = at(&proxy.address, &model);
    for (error, limit) in [
        (
            registry.pull_guest(&guest, None, 5000).await.unwrap_err(),
            5000,
        ),
        (
            registry.pull_model(&model, None, 119).await.unwrap_err(),
            119,
        ),
    ] {
        assert!(
            matches!(&error, ArtifactError::TooLarge { most, .. } if *most == limit),
            "{error}"
        );
        assert_eq!(error.kind(), Kind::Final);
    }
    assert!(proxy.blobs().is_empty());
    registry.pull_model(&model, None, 120).await.unwrap();
    // The limit holds for what is on disk as well.
    let error = registry.pull_model(&model, None, 119).await.unwrap_err();
    assert!(matches!(error, ArtifactError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn what_was_damaged_on_disk_is_pulled_anew() {
    let server = Server::plain();
    let pushed = push_model(&server, "model", &[("a", b"first"), ("b", b"second")]).await;
    let (_dir, registry) = client(&[&server.address]);
    let dir = registry
        .pull_model(&pushed, None, MOST)
        .await
        .unwrap()
        .dir()
        .to_owned();
    for damage in ["FIRST", "", "first and more"] {
        fs::write(dir.join("a"), damage).unwrap();
        let model = registry.pull_model(&pushed, None, MOST).await.unwrap();
        assert_eq!(fs::read(model.dir().join("a")).unwrap(), b"first");
    }
    fs::write(dir.join("added"), "x").unwrap();
    let model = registry.pull_model(&pushed, None, MOST).await.unwrap();
    assert!(!model.dir().join("added").exists());
}

#[tokio::test]
async fn several_that_pull_one_artifact_at_a_time_download_it_once() {
    let server = Server::plain();
    let component = component(1 << 20);
    let pushed = push_guest(&server, "guest", &component).await;
    let proxy = Faulty::start(&server.address, |_| Action::Forward);
    let pinned = at(&proxy.address, &pushed);
    let dir = TempDir::new().unwrap();
    // As processes would, they share the directory and nothing else.
    let each = || async {
        let registry = Registry::new(options(dir.path(), &[&proxy.address])).unwrap();
        registry.pull_guest(&pinned, None, MOST).await.unwrap()
    };
    let guests = tokio::join!(each(), each(), each(), each());
    for guest in [guests.0, guests.1, guests.2, guests.3] {
        assert!(guest.component == component);
    }
    assert_eq!(proxy.blobs().len(), 1);
}

#[tokio::test]
async fn the_directory_is_bounded_and_what_is_in_use_stays() {
    let server = Server::plain();
    let mut models: Vec<PinnedReference> = Vec::new();
    for name in ["one", "two", "three"] {
        let contents = name.repeat(20_000);
        models.push(push_model(&server, name, &[("model.onnx", contents.as_bytes())]).await);
    }
    let dir = TempDir::new().unwrap();
    let mut options = options(dir.path(), &[&server.address]);
    options.store_bytes = 170_000;
    let registry = Registry::new(options).unwrap();
    let [one, two, three] = models.try_into().unwrap();

    let used = registry.pull_model(&one, None, MOST).await.unwrap();
    let unused = registry
        .pull_model(&two, None, MOST)
        .await
        .unwrap()
        .dir()
        .to_owned();
    assert!(unused.exists());
    let last = registry.pull_model(&three, None, MOST).await.unwrap();
    assert!(used.dir().join("model.onnx").exists());
    assert!(!unused.exists());

    let error = registry.pull_model(&two, None, MOST).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Full { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Passing);
    drop(last);
    registry.pull_model(&two, None, MOST).await.unwrap();
}

#[tokio::test]
async fn a_blob_that_the_registry_has_is_not_sent_again() {
    let server = Server::plain();
    let proxy = Faulty::start(&server.address, |_| Action::Forward);
    let (dir, registry) = client(&[&proxy.address]);
    let target = reference(&format!("oci://{}/model:v1", proxy.address));
    let model = dir.path().join("model");
    write_files(&model, &[("a", b"one"), ("b", b"two")]);
    let count = || {
        proxy
            .seen()
            .iter()
            .filter(|seen| seen.method == "POST")
            .count()
    };
    registry.push_model(&target, &model).await.unwrap();
    // Two files and the empty configuration.
    assert_eq!(count(), 3);
    fs::write(model.join("b"), "three").unwrap();
    let pushed = registry.push_model(&target, &model).await.unwrap();
    assert_eq!(count(), 4);
    assert_eq!(registry.resolve(&target).await.unwrap(), pushed);
}

#[tokio::test]
async fn what_cannot_be_pushed_is_rejected_before_anything_is_sent() {
    let proxy = Faulty::alone(|_| Action::Answer(Vec::new()));
    let (dir, registry) = client(&[&proxy.address]);
    let target = reference(&format!("oci://{}/x", proxy.address));
    let module = dir.path().join("module.wasm");
    fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    let cut = dir.path().join("cut.wasm");
    fs::write(&cut, &component(100)[..50]).unwrap();
    for file in [module, cut, dir.path().join("missing.wasm")] {
        let error = registry.push_guest(&target, &file).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Push { .. }), "{error}");
    }
    let empty = dir.path().join("empty");
    write_files(&empty, &[(".hidden", b"x")]);
    let error = registry.push_model(&target, &empty).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Push { .. }), "{error}");
    let model = dir.path().join("model");
    write_files(&model, &[("a", b"x")]);
    let pinned = format!("{target}@sha256:{}", Digest::EMPTY);
    let error = registry
        .push_model(&reference(&pinned), &model)
        .await
        .unwrap_err();
    assert!(matches!(error, ArtifactError::Reference(_)), "{error}");
    assert!(proxy.seen().is_empty());
}
