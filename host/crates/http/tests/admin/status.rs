//! The status, and what a rollout file forbids.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::PATIENCE;

use super::fake::{FIRST, Server, digest, problem};

const DECLARED: &str = "generation = 7\n[live]\nguest = \"guest.wasm\"\n";

async fn declared() -> Server {
    Server::with(|settings| settings.rollout = Some(DECLARED)).await
}

fn condition<'a>(status: &'a Value, kind: &str) -> (&'a str, &'a str) {
    let mut conditions = status["conditions"].as_array().unwrap().iter();
    let found = conditions.find(|condition| condition["type"] == kind);
    let found = found.unwrap();
    assert!(found["since"].as_str().unwrap().ends_with('Z'), "{found}");
    let text = |key: &str| found[key].as_str().unwrap();
    (text("status"), text("reason"))
}

/// The status, once what `is_so`.
async fn status(server: &Server, is_so: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = server.get("/status").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let status = answer.json();
        if is_so(&status) {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "{status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn without_a_rollout_file_the_status_is_of_what_is_configured() {
    let server = Server::start().await;
    let status = status(&server, |_| true).await;
    assert_eq!(status["in_sync"], true);
    assert_eq!(status["live"]["guest"], digest(FIRST));
    assert_eq!(status["rollout"], Value::Null);
    assert_eq!(condition(&status, "Ready"), ("True", "Serving"));
    assert_eq!(condition(&status, "Progressing").0, "False");
    assert_eq!(condition(&status, "Degraded"), ("False", "AsConfigured"));
    let server = Server::with(|settings| settings.loaded = false).await;
    problem(&server.get("/status").await, 503, "starting");
}

#[tokio::test]
async fn what_is_declared_is_reported_before_anything_is_loaded() {
    let server = Server::with(|settings| {
        (settings.rollout, settings.loaded) = (Some(DECLARED), false);
    })
    .await;
    let before = status(&server, |_| true).await;
    assert_eq!(
        (&before["in_sync"], &before["live"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(condition(&before, "Ready"), ("False", "Starting"));
    assert_eq!(condition(&before, "Progressing").0, "True");
    assert_eq!(before["rollout"]["generation"], 7);
    server.loaded();
    let after = status(&server, |status| status["in_sync"] == true).await;
    assert_eq!(condition(&after, "Ready"), ("True", "Serving"));
    let declared = &after["rollout"]["declared"];
    assert_eq!(declared.as_array().unwrap().len(), 1, "{declared}");
    assert_eq!(declared[0]["role"], "live");
    assert_eq!(declared[0]["revision"], after["live"]["revision"]);
    assert_eq!(declared[0]["model"], Value::Null);
    let guest = declared[0]["guest"].as_str().unwrap();
    assert!(guest.ends_with("/guest.wasm"), "{guest}");
}

#[tokio::test]
async fn a_change_by_hand_is_refused_unless_it_overrides_the_file() {
    let server = declared().await;
    let added = server.upload("", "good second").await;
    assert_eq!(added.status, 201, "{}", added.body);
    let second = digest("good second");
    let changes = [
        format!("/versions/{second}/activate"),
        format!("/versions/{second}/canary?share=0.5"),
        format!("/versions/{second}/shadow"),
        "/rollback".to_owned(),
        "/trial/promote".to_owned(),
    ];
    for change in &changes {
        let refused = problem(&server.post(change).await, 409, "conflict");
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains("rollout.toml decides"), "{detail}");
    }
    problem(&server.delete("/trial").await, 409, "conflict");
    problem(
        &server.upload("?activate=true", "good third").await,
        409,
        "conflict",
    );
    server.assert_live(FIRST).await;
    assert_eq!(status(&server, |_| true).await["in_sync"], true);

    let path = format!("/versions/{second}/activate?override=true");
    assert_eq!(server.post(&path).await.status, 200);
    server.assert_live("good second").await;
    let overridden = status(&server, |status| status["in_sync"] == false).await;
    assert_eq!(condition(&overridden, "Degraded"), ("True", "Overridden"));
    assert!(overridden["rollout"]["overridden_since"].is_string());

    let reloaded = server.post("/reload").await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.body);
    assert_eq!(reloaded.json()["change"]["changed"], true);
    server.assert_live(FIRST).await;
    let back = status(&server, |status| status["in_sync"] == true).await;
    assert_eq!(back["rollout"]["overridden_since"], Value::Null);
}
