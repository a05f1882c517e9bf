//! Configurations on their way in, and versions that are made with them.

use predictor::Digest;
use reqwest::Method;
use serde_json::{Value, json};
use testing::{Answer, answer};

use super::fake::{FIRST, Server, digest, problem};

async fn send(server: &Server, query: &str, body: &Value) -> Answer {
    let path = format!("/configurations{query}");
    let request = server.request(Method::POST, &path).body(body.to_string());
    answer(request.header("content-type", "application/json")).await
}

#[tokio::test]
async fn a_configuration_is_sent_and_versions_are_made_with_it() {
    let server = Server::start().await;
    let body = json!({"margin": 0.3, "api_key": "abc", "fast": true, "gone": null});
    let mut name = Value::Null;
    for (status, known) in [(201, false), (200, true)] {
        let sent = send(&server, "", &body).await;
        assert_eq!(sent.status, status, "{}", sent.body);
        let mut sent = sent.json();
        name = sent["configuration"].take();
        let settings = json!({"api_key": null, "fast": "true", "margin": "0.3"});
        assert_eq!(sent["settings"], settings);
        assert_eq!(sent["known"], known);
    }
    let configuration = name.as_str().unwrap();
    let query = format!("?guest={}&configuration={configuration}", digest(FIRST));
    let added = server
        .post(&format!("/versions{query}&activate=true"))
        .await;
    assert_eq!(added.status, 201, "{}", added.body);
    let live = added.json()["version"].take();
    assert_eq!(live["configuration"], name);
    let revision = live["revision"].as_str().unwrap();
    let entry = server.get(&format!("/versions/{revision}")).await;
    assert_eq!(entry.json()["settings"]["margin"], "0.3");
    assert!(!entry.body.contains("abc"), "{}", entry.body);

    // A new guest has the configuration of the live version, unless another one is named.
    let next = server.upload("", "good 2").await.json();
    assert_eq!(next["version"]["configuration"], name);
    let none = Digest::EMPTY.to_string();
    let bare = server
        .upload(&format!("?configuration={}", &none[..8]), "good 2")
        .await;
    assert_eq!(bare.json()["version"]["configuration"], none);

    // Single keys are changed on top of what a version has.
    let changed = send(
        &server,
        &format!("?base={revision}"),
        &json!({"margin": "0.4", "fast": null}),
    )
    .await;
    let settings = json!({"api_key": null, "margin": "0.4"});
    assert_eq!(changed.json()["settings"], settings);
}

#[tokio::test]
async fn what_is_no_configuration_is_refused_without_its_values() {
    let server = Server::start().await;
    for (body, status, name) in [
        (json!(["s3cret"]), 422, "invalid-body"),
        (json!({"a": ["s3cret"]}), 422, "invalid-body"),
        (json!({"a b": "s3cret"}), 422, "invalid-body"),
        (json!({"a": "s3cret".repeat(3000)}), 422, "invalid-body"),
        (json!({"a": "s3cret".repeat(30_000)}), 413, "body-too-large"),
    ] {
        let refused = send(&server, "", &body).await;
        problem(&refused, status, name);
        assert!(!refused.body.contains("s3cret"), "{}", refused.body);
    }
    let request = server
        .request(Method::POST, "/configurations")
        .body("{\"a\": s3");
    problem(
        &answer(request.header("content-type", "application/json")).await,
        400,
        "invalid-json",
    );
    let request = server.request(Method::POST, "/configurations").body("{}");
    problem(
        &answer(request.header("content-type", "text/plain")).await,
        415,
        "unsupported-media-type",
    );
    problem(
        &send(&server, "?base=0000", &json!({})).await,
        404,
        "unknown-version",
    );
    problem(
        &send(&server, "?base=x", &json!({})).await,
        400,
        "invalid-query",
    );
    let path = format!("/versions?configuration=0000&guest={}", digest(FIRST));
    problem(&server.post(&path).await, 404, "unknown-configuration");
}
