//! Models on their way in, and versions that are made with them.

use std::time::Duration;

use predictor::Digest;
use reqwest::Method;
use serde_json::json;
use testing::{Answer, answer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::fake::{FIRST, MODEL, Server, digest, problem};

async fn server() -> Server {
    Server::with(|settings| settings.state = true).await
}

/// A model of one file; it is known by what that says.
fn archive(weights: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(weights.len() as u64);
    let appended = archive.append_data(&mut header, "weights", weights.as_bytes());
    appended.unwrap();
    archive.into_inner().unwrap()
}

async fn upload(server: &Server, archive: Vec<u8>) -> Answer {
    let request = server.request(Method::POST, "/models").body(archive);
    answer(request.header("content-type", "application/x-tar")).await
}

#[tokio::test]
async fn a_model_is_uploaded_and_versions_are_made_with_it() {
    let server = server().await;
    let model = Digest::of(b"second").to_string();
    for (status, known) in [(201, false), (200, true)] {
        let uploaded = upload(&server, archive("second")).await;
        assert_eq!(uploaded.status, status, "{}", uploaded.body);
        let expected = json!({"model": model, "model_short": model[..12], "known": known});
        assert_eq!(uploaded.json(), expected);
    }
    let added = server
        .post(&format!("/versions?guest={}&model={model}", digest(FIRST)))
        .await;
    assert_eq!(added.status, 201, "{}", added.body);
    let version = added.json()["version"].take();
    assert_eq!(
        (&version["guest"], &version["model"]),
        (&digest(FIRST).into(), &model.clone().into())
    );
    let revision = version["revision"].as_str().unwrap();
    assert_eq!(added.headers["location"], format!("/versions/{revision}"));
    // The guest has two versions now.
    let path = format!("/versions/{}/activate", digest(FIRST));
    problem(&server.post(&path).await, 409, "conflict");
    assert_eq!(
        server
            .post(&format!("/versions/{revision}/activate"))
            .await
            .status,
        200
    );

    let listed = server.get("/models").await.json();
    let origin = |at: usize| listed["models"][at]["origin"]["kind"].clone();
    assert_eq!((origin(0), origin(1)), ("upload".into(), "file".into()));
    assert_eq!(listed["models"][0]["versions"], json!([revision]));
    let entry = server.get(&format!("/versions/{revision}")).await.json();
    assert_eq!(entry["model_origin"], json!({"kind": "upload"}));

    // A new guest has the live model, unless another one is named.
    let live = server.upload("", "good 2").await.json();
    assert_eq!(live["version"]["model"], model);
    let first = MODEL.to_string();
    let named = server
        .upload(&format!("?model={}", &first[..8]), "good 2")
        .await;
    assert_eq!(named.json()["version"]["model"], first);
}

#[tokio::test]
async fn parts_that_are_not_known_are_refused() {
    let server = server().await;
    for (path, status, name) in [
        ("/versions?guest=0000", 404, "unknown-version"),
        ("/versions?guest=0000&model=1212", 404, "unknown-version"),
        ("/versions?model=0000&guest=0000", 404, "unknown-model"),
        ("/versions?guest=no", 400, "invalid-query"),
        ("/versions?model=", 400, "invalid-query"),
    ] {
        problem(&server.post(path).await, status, name);
    }
    let both = server
        .upload(&format!("?guest={}", digest(FIRST)), "good 2")
        .await;
    problem(&both, 400, "invalid-query");
    server.assert_live(FIRST).await;
    assert_eq!(server.known(), [digest(FIRST)]);
}

#[tokio::test]
async fn what_is_no_model_is_refused() {
    let server = server().await;
    for (body, words) in [
        (b"not a tar archive".to_vec(), "not a whole tar archive"),
        (Vec::new(), "has no files"),
        (archive("second")[..520].to_vec(), "not a whole tar archive"),
        (
            archive(&"x".repeat((1 << 20) + 1)),
            "larger than 1048576 bytes",
        ),
    ] {
        let refused = problem(&upload(&server, body).await, 422, "model-refused");
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{detail}");
    }
    let request = server
        .request(Method::POST, "/models")
        .body(archive("second"));
    let text = answer(request.header("content-type", "text/plain")).await;
    problem(&text, 415, "unsupported-media-type");
    let request = server
        .request(Method::POST, "/models")
        .body(archive("second"));
    let packed = answer(request.header("content-encoding", "gzip")).await;
    problem(&packed, 415, "unsupported-media-type");

    let without_state = Server::start().await;
    let refused = problem(
        &upload(&without_state, archive("second")).await,
        409,
        "conflict",
    );
    assert!(refused["detail"].as_str().unwrap().contains("--state"));
}

#[tokio::test]
async fn a_model_that_breaks_off_or_does_not_come_leaves_nothing() {
    let server = Server::with(|settings| {
        settings.state = true;
        settings.patience = Duration::from_millis(200);
    })
    .await;
    let head = "POST /models HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100000\r\n\r\n";
    let whole = archive(&"x".repeat(50_000));
    for waits in [true, false] {
        let mut connection = TcpStream::connect(server.address).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(&whole[..10_000]).await.unwrap();
        if waits {
            let mut status = [0; "HTTP/1.1 408".len()];
            tokio::io::AsyncReadExt::read_exact(&mut connection, &mut status)
                .await
                .unwrap();
            assert_eq!(&status, b"HTTP/1.1 408");
        }
        drop(connection);
    }
    let models = server.file().with_file_name("state").join("models");
    let begun = std::time::Instant::now();
    while std::fs::read_dir(&models).is_ok_and(|mut models| models.next().is_some()) {
        assert!(begun.elapsed() < testing::PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        server.get("/models").await.json()["models"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
