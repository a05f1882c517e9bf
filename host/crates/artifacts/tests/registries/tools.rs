//! Other clients: `skopeo`, and plain requests.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use predictor::Digest;
use serde_json::{Value, json};

use crate::server::Server;
use crate::{MOST, client, component, push_guest, push_model, reference};

/// Sends a request. Returns the head and the body of the answer.
fn send(address: &str, head: &str, body: &[u8]) -> (String, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head =
        format!("{head}Host: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(body).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Puts a blob into a registry. Returns its digest.
pub(crate) fn put_blob(address: &str, repository: &str, bytes: &[u8]) -> String {
    let begin = format!("POST /v2/{repository}/blobs/uploads/ HTTP/1.1\r\n");
    let (head, _) = send(address, &begin, b"");
    let location = head
        .lines()
        .find_map(|line| line.strip_prefix("Location: "));
    let (_, path) = location.unwrap().split_once(address).unwrap();
    let digest = format!("sha256:{}", Digest::of(bytes));
    let kind = "Content-Type: application/octet-stream";
    let put = format!("PUT {path}&digest={digest} HTTP/1.1\r\n{kind}\r\n");
    let (head, body) = send(address, &put, bytes);
    assert!(head.starts_with("HTTP/1.1 201"), "{head} {body}");
    digest
}

/// Puts a manifest into a registry.
pub(crate) fn put_manifest(address: &str, repository: &str, tag: &str, manifest: &Value) {
    let kind = manifest["mediaType"].as_str().unwrap();
    let kind = format!("Content-Type: {kind}");
    let put = format!("PUT /v2/{repository}/manifests/{tag} HTTP/1.1\r\n{kind}\r\n");
    let (head, body) = send(address, &put, manifest.to_string().as_bytes());
    assert!(head.starts_with("HTTP/1.1 201"), "{head} {body}");
}

fn skopeo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("skopeo")
        .arg("--insecure-policy")
        .args(arguments)
        .output();
    let output = output.expect("skopeo (Debian's package) can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    output.stdout
}

/// Writes an OCI layout with one artifact.
fn layout(dir: &Path, config_type: &str, config: &[u8], layers: &[(&str, &[u8], Value)]) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |media_type: &str, bytes: &[u8], annotations: &Value| {
        let digest = Digest::of(bytes).to_string();
        fs::write(blobs.join(&digest), bytes).unwrap();
        json!({
            "mediaType": media_type,
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
            "annotations": annotations,
        })
    };
    let config = put(config_type, config, &json!({}));
    let layers: Vec<_> = layers
        .iter()
        .map(|(kind, bytes, notes)| put(kind, bytes, notes))
        .collect();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers,
    });
    let name = json!({"org.opencontainers.image.ref.name": "v1"});
    let manifest = put(kind, manifest.to_string().as_bytes(), &name);
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

#[tokio::test]
async fn what_another_client_has_put_into_a_registry_is_pulled() {
    let server = Server::plain();
    let (dir, registry) = client(&[&server.address]);
    let component = component(1 << 20);
    // As `oras push` and `wkg oci push` make them.
    let title = json!({"org.opencontainers.image.title": "guest.wasm"});
    let guest = dir.path().join("guest");
    let config = br#"{"architecture":"wasm","os":"wasip2"}"#;
    let wasm = ("application/wasm", component.as_slice(), title);
    layout(
        &guest,
        "application/vnd.wasm.config.v0+json",
        config,
        &[wasm],
    );
    let model = dir.path().join("model");
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let file = |name: &str| json!({"org.opencontainers.image.title": name});
    let files: &[(&str, &[u8], Value)] = &[
        (tar, b"{}", file("config.json")),
        (tar, b"graph", file("model.onnx")),
    ];
    layout(
        &model,
        "application/vnd.unknown.config.v1+json",
        b"{}",
        files,
    );
    for (layout, name) in [(&guest, "guest"), (&model, "model")] {
        let from = format!("oci:{}:v1", layout.display());
        let to = format!("docker://{}/{name}:v1", server.address);
        skopeo(&["copy", "--quiet", "--dest-tls-verify=false", &from, &to]);
    }

    let tagged = reference(&format!("oci://{}/guest:v1", server.address));
    let pinned = registry.resolve(&tagged);
    let pulled = registry
        .pull_guest(&pinned.await.unwrap(), None, MOST)
        .await
        .unwrap();
    assert!(pulled.component == component);
    let tagged = reference(&format!("oci://{}/model:v1", server.address));
    let pinned = registry.resolve(&tagged);
    let pulled = registry
        .pull_model(&pinned.await.unwrap(), None, MOST)
        .await
        .unwrap();
    assert_eq!(fs::read(pulled.dir().join("config.json")).unwrap(), b"{}");
    assert_eq!(fs::read(pulled.dir().join("model.onnx")).unwrap(), b"graph");
}

#[tokio::test]
async fn another_client_reads_what_was_pushed() {
    let server = Server::plain();
    let component = component(1000);
    let guest = push_guest(&server, "guest:v1", &component).await;
    let model = push_model(&server, "model:v1", &[("model.onnx", b"graph")]).await;
    let inspect = |name: &str, what: &[&str]| -> (Digest, Value) {
        let from = format!("docker://{}/{name}:v1", server.address);
        let raw = skopeo(&[&["inspect", "--tls-verify=false"], what, &[&from]].concat());
        (Digest::of(&raw), serde_json::from_slice(&raw).unwrap())
    };
    let (digest, manifest) = inspect("guest", &["--raw"]);
    assert_eq!(digest, guest.digest());
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.wasm.config.v0+json"
    );
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    let layer = format!("sha256:{}", Digest::of(&component));
    assert_eq!(manifest["layers"][0]["digest"], layer.as_str());
    let (_, config) = inspect("guest", &["--raw", "--config"]);
    assert_eq!(config["architecture"], "wasm");
    assert_eq!(config["os"], "wasip2");
    assert_eq!(config["layerDigests"], json!([layer]));
    assert_eq!(config["component"], json!({"imports": [], "exports": []}));

    let (digest, manifest) = inspect("model", &["--raw"]);
    assert_eq!(digest, model.digest());
    assert_eq!(
        manifest["artifactType"],
        "application/vnd.fastsentiment.model.v1"
    );
    let title = &manifest["layers"][0]["annotations"]["org.opencontainers.image.title"];
    assert_eq!(title, "model.onnx");

    // And to copy it changes nothing.
    let copy = server.dir().join("copy");
    let from = format!("docker://{}/guest:v1", server.address);
    let to = format!("oci:{}:v1", copy.display());
    skopeo(&["copy", "--quiet", "--src-tls-verify=false", &from, &to]);
    assert!(
        copy.join("blobs/sha256")
            .join(guest.digest().to_string())
            .exists()
    );
}
