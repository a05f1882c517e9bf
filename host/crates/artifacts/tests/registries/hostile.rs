//! Registries that lie: manifests that are none, and redirects to where nobody should go.

use fastsentiment_artifacts::{ArtifactError, Fault, Kind, PinnedReference};
use predictor::Digest;
use serde_json::{Value, json};

use crate::faulty::{Action, Faulty, answer};
use crate::server::Server;
use crate::{MOST, at, client, component, push_guest, reference};

const TITLE: &str = "org.opencontainers.image.title";

/// A registry with one manifest, and blobs that are all empty.
fn with(manifest: Vec<u8>) -> (Faulty, PinnedReference) {
    let digest = Digest::of(&manifest);
    let server = Faulty::alone(move |request| {
        if request.is_manifest() {
            answer("200 OK", &[], &manifest)
        } else {
            answer("200 OK", &[], b"")
        }
    });
    let pinned = format!("oci://{}/x@sha256:{digest}", server.address);
    (server, pinned.parse().unwrap())
}

fn layer(title: &str, size: impl Into<Value>) -> Value {
    json!({
        "mediaType": "application/octet-stream",
        "digest": format!("sha256:{}", Digest::EMPTY),
        "size": size.into(),
        "annotations": {TITLE: title},
    })
}

async fn model_of(layers: Vec<Value>) -> (Result<(), ArtifactError>, Faulty, tempfile::TempDir) {
    let manifest = json!({"schemaVersion": 2, "layers": layers});
    let (server, pinned) = with(serde_json::to_vec(&manifest).unwrap());
    let (dir, registry) = client(&[&server.address]);
    let pulled = registry.pull_model(&pinned, None, MOST).await;
    (pulled.map(drop), server, dir)
}

#[tokio::test]
async fn no_file_is_written_elsewhere() {
    for name in [
        "../escaped",
        "/tmp/escaped",
        "a/../../escaped",
        ".manifest.json",
        "..",
    ] {
        let layers = vec![layer("fine", 0), layer(name, 0)];
        let (pulled, server, dir) = model_of(layers).await;
        let error = pulled.unwrap_err();
        let is_name = |fault: &Fault| matches!(fault, Fault::Name(_));
        assert!(
            matches!(&error, ArtifactError::Unusable { fault, .. } if is_name(fault)),
            "{error}"
        );
        assert_eq!(error.kind(), Kind::Final);
        assert!(server.blobs().is_empty());
        assert!(!dir.path().join("escaped").exists());
    }
}

#[tokio::test]
async fn a_manifest_that_promises_too_much_costs_nothing() {
    let many = vec![layer("a", 0); 20_000];
    let (pulled, server, _dir) = model_of(many).await;
    let error = pulled.unwrap_err();
    let ArtifactError::Unusable { fault, .. } = &error else {
        panic!("{error}");
    };
    assert!(
        matches!(fault, Fault::Files { given: 20_000, .. }),
        "{error}"
    );
    assert!(server.blobs().is_empty());

    // Together, these are more than 64 bits can count.
    let sizes = [json!(u64::MAX), json!(u64::MAX)];
    let layers = sizes
        .into_iter()
        .zip(["a", "b"])
        .map(|(size, name)| layer(name, size));
    let (pulled, server, _dir) = model_of(layers.collect()).await;
    let error = pulled.unwrap_err();
    assert!(matches!(error, ArtifactError::TooLarge { .. }), "{error}");
    assert!(server.blobs().is_empty());

    for size in [json!(-1), json!(1e30), json!("1")] {
        let (pulled, _server, _dir) = model_of(vec![layer("a", size)]).await;
        let error = pulled.unwrap_err();
        assert!(matches!(error, ArtifactError::Unusable { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_of_more_than_4_mib_is_not_read() {
    // 100,000 layers are some 20 MB.
    let layers = vec![layer("a", 0); 100_000];
    let (pulled, _server, _dir) = model_of(layers).await;
    let error = pulled.unwrap_err();
    assert!(
        matches!(error, ArtifactError::TooLarge { most, .. } if most == 4 << 20),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::Final);
}

#[tokio::test]
async fn an_index_another_type_and_a_web_page_are_refused_in_a_sentence() {
    let index = json!({"schemaVersion": 2, "manifests": []});
    let image = json!({"schemaVersion": 2, "layers": [{
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": format!("sha256:{}", Digest::EMPTY),
        "size": 0,
    }]});
    for (document, words) in [
        (index.to_string(), "is an index of several artifacts"),
        (
            image.to_string(),
            "`application/vnd.oci.image.layer.v1.tar+gzip`",
        ),
        (
            "<!doctype html><title>Sign in</title>".to_owned(),
            "cannot be read",
        ),
    ] {
        let (server, pinned) = with(document.into_bytes());
        let (_dir, registry) = client(&[&server.address]);
        let error = registry.pull_guest(&pinned, None, MOST).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Unusable { .. }), "{error}");
        assert_eq!(error.kind(), Kind::Final);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_registry_need_not_say_digests_but_must_not_lie_about_them() {
    let server = Faulty::alone(|_| answer("200 OK", &[], b"{}"));
    let (_dir, registry) = client(&[&server.address]);
    let tagged = reference(&format!("oci://{}/x:v1", server.address));
    let pinned = registry.resolve(&tagged).await.unwrap();
    assert_eq!(pinned.digest(), Digest::of(b"{}"));

    let said = format!("Docker-Content-Digest: sha256:{}", Digest::EMPTY);
    let server = Faulty::alone(move |_| answer("200 OK", &[&said], b"{}"));
    let (_dir, registry) = client(&[&server.address]);
    let tagged = reference(&format!("oci://{}/x:v1", server.address));
    let pinned = registry.resolve(&tagged).await.unwrap();
    let error = registry.pull_guest(&pinned, None, MOST).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Digest { .. }), "{error}");
}

#[tokio::test]
async fn a_blob_may_be_elsewhere() {
    let server = Server::plain();
    let component = component(1 << 20);
    let pushed = push_guest(&server, "guest", &component).await;
    let storage = Faulty::start(&server.address, |_| Action::Forward);
    let target = storage.address.clone();
    let proxy = Faulty::start(&server.address, move |request| {
        if request.is_blob() {
            let location = format!("Location: http://{target}{}", request.path);
            answer("307 Temporary Redirect", &[&location], b"")
        } else {
            Action::Forward
        }
    });
    let (_dir, registry) = client(&[&proxy.address, &storage.address]);
    let guest = registry
        .pull_guest(&at(&proxy.address, &pushed), None, MOST)
        .await;
    assert!(guest.unwrap().component == component);
    assert_eq!(storage.seen().len(), 1);
}

#[tokio::test]
async fn redirects_end() {
    let server = Faulty::alone(|request| {
        let location = format!("Location: {}x", request.path);
        answer("302 Found", &[&location], b"")
    });
    let (_dir, registry) = client(&[&server.address]);
    let tagged = reference(&format!("oci://{}/x:v1", server.address));
    let error = registry.resolve(&tagged).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Redirects { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Final);
    assert_eq!(server.seen().len(), 6);
}

#[tokio::test]
async fn a_redirect_leads_neither_to_plain_http_nor_to_other_schemes_nor_nowhere() {
    let elsewhere = Faulty::alone(|_| answer("200 OK", &[], b"{}"));
    let plain = format!("Location: http://{}/", elsewhere.address);
    for location in [
        plain.as_str(),
        "Location: file:///etc/passwd",
        "Location: ftp://h/",
        "X: y",
    ] {
        let location = location.to_owned();
        let server = Faulty::alone(move |_| answer("302 Found", &[&location], b""));
        let (_dir, registry) = client(&[&server.address]);
        let tagged = reference(&format!("oci://{}/x:v1", server.address));
        let error = registry.resolve(&tagged).await.unwrap_err();
        assert!(
            matches!(
                error,
                ArtifactError::PlainHttp(_) | ArtifactError::Malformed { .. }
            ),
            "{error}"
        );
        assert_eq!(error.kind(), Kind::Final);
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn plain_http_is_spoken_only_to_hosts_that_were_named() {
    let server = Faulty::alone(|_| answer("200 OK", &[], b"{}"));
    let (_dir, registry) = client(&["127.0.0.1:1"]);
    let tagged = reference(&format!("oci://{}/x:v1", server.address));
    let error = registry.resolve(&tagged).await.unwrap_err();
    assert!(
        matches!(error, ArtifactError::Unreachable { .. }),
        "{error}"
    );
    // All that it saw was the beginning of a TLS handshake.
    assert!(server.seen().is_empty());
}
