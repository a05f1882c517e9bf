//! Every path of the versions API: what it does.

use predictor::Digest;
use reqwest::Method;
use serde_json::json;

use super::fake::{FIRST, Server, digest, problem, revision};
use testing::answer;

#[tokio::test]
async fn a_version_is_added_made_live_and_left_again() {
    let server = Server::start().await;
    let first = digest(FIRST);
    let listing = server.get("/versions").await.json();
    assert_eq!(listing["live"]["guest"], first);
    assert_eq!(listing["live"]["short"], first[..12]);
    assert_eq!(listing["live"]["model"], "12".repeat(32));
    let configuration = Digest::EMPTY.to_string();
    assert_eq!(listing["live"]["configuration"], configuration);
    let revision = revision(FIRST).digest().to_string();
    assert_eq!(listing["live"]["revision"], revision);
    // It is found by either name.
    for name in [&first, &revision] {
        let found = server.get(&format!("/versions/{name}")).await.json();
        assert_eq!(found["revision"], revision);
    }
    assert_eq!(listing["probation"], json!(null));
    assert_eq!(listing["trial"], json!(null));
    let versions = listing["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 1);
    assert_eq!(versions[0]["standing"], "live");
    let path = server.file().display().to_string();
    assert_eq!(versions[0]["origin"], json!({"kind": "file", "path": path}));
    assert_eq!(versions[0]["size_bytes"], FIRST.len());

    // Added, and no more than that.
    let second = digest("good 2");
    let added = server.upload("", "good 2").await;
    assert_eq!(added.status, 201, "{}", added.body);
    let name = added.json()["version"]["revision"].take();
    let location = format!("/versions/{}", name.as_str().unwrap());
    assert_eq!(added.headers["location"], location.as_str());
    let document = added.json();
    assert_eq!(document["version"]["guest"], second);
    assert_eq!(
        (&document["known"], &document["compiled"]),
        (&json!(false), &json!(true))
    );
    assert!(document["took_ms"].is_u64());
    assert_eq!(
        (&document["change"], &document["trial"]),
        (&json!(null), &json!(null))
    );
    server.assert_live(FIRST).await;

    // By a part of its digest, in any case of letters.
    let id = second[..6].to_uppercase();
    let entry = server.get(&format!("/versions/{id}")).await.json();
    assert_eq!(entry["guest"], second);
    assert_eq!(entry["standing"], "ready");
    assert_eq!(entry["origin"], json!({"kind": "upload"}));
    assert_eq!(entry["activated"], json!(null));
    let time = entry["added"].as_str().unwrap();
    assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");

    for changed in [true, false] {
        let change = server.post(&format!("/versions/{second}/activate")).await;
        assert_eq!(change.status, 200);
        let change = change.json();
        assert_eq!(change["live"]["guest"], second);
        assert_eq!(change["changed"], changed);
        server.assert_live("good 2").await;
    }
    let entry = server.get(&format!("/versions/{second}")).await.json();
    assert_eq!(entry["standing"], "live");
    assert!(entry["activated"].is_string());

    let back = server
        .post(&format!("/rollback?from={}", &second[..8]))
        .await;
    assert_eq!(back.status, 200, "{}", back.body);
    assert_eq!(back.json()["live"]["guest"], first);
    assert_eq!(back.json()["before"]["guest"], second);
    // Asked again, it does not go back again.
    let again = server.post(&format!("/rollback?from={second}")).await;
    let detail = problem(&again, 409, "conflict")["detail"].take();
    assert!(
        detail.as_str().unwrap().contains(&revision[..12]),
        "{detail}"
    );
    server.assert_live(FIRST).await;

    let gone = server.delete(&format!("/versions/{second}")).await;
    assert_eq!(
        (gone.status, &gone.json()["version"]["guest"]),
        (200, &json!(second))
    );
    problem(
        &server.get(&format!("/versions/{second}")).await,
        404,
        "unknown-version",
    );
    assert_eq!(server.known(), [first]);
}

#[tokio::test]
async fn an_upload_can_be_made_live_or_tried_at_once() {
    let server = Server::start().await;
    let swapped = server.upload("?activate=true", "good 2").await;
    assert_eq!(swapped.status, 201);
    assert_eq!(swapped.json()["change"]["live"]["guest"], digest("good 2"));
    assert_eq!(swapped.json()["change"]["before"]["guest"], digest(FIRST));
    server.assert_live("good 2").await;

    // The same again: known, and nothing changes.
    let again = server.upload("?activate=true", "good 2").await;
    assert_eq!(again.status, 200);
    assert_eq!(again.json()["known"], true);
    assert_eq!(again.json()["compiled"], false);
    assert_eq!(again.json()["change"]["changed"], false);

    for (query, component, standing, share) in [
        ("?canary=0.25", "good 3", "canary", 0.25),
        ("?shadow=1", "good 4", "shadow", 1.0),
        // Known, but not as this.
        ("?activate=false&canary=0.5", "good 4", "canary", 0.5),
    ] {
        let tried = server.upload(query, component).await.json();
        assert_eq!(tried["change"], json!(null));
        assert_eq!(tried["trial"]["guest"], digest(component));
        assert_eq!(tried["trial"]["standing"], standing);
        let trial = server.get("/versions").await.json()["trial"].take();
        assert_eq!(trial["guest"], digest(component));
        assert_eq!(
            (&trial["standing"], &trial["share"]),
            (&json!(standing), &json!(share))
        );
        server.assert_live("good 2").await;
    }
}

#[tokio::test]
async fn a_trial_is_begun_dropped_and_promoted() {
    let server = Server::start().await;
    server.upload("", "good 2").await;
    let path = format!("/versions/{}", digest("good 2"));
    for (trial, standing, share) in [
        ("canary?share=0.1", "canary", 0.1),
        ("shadow?share=0.5", "shadow", 0.5),
        ("shadow", "shadow", 1.0),
    ] {
        let begun = server.post(&format!("{path}/{trial}")).await;
        assert_eq!(begun.status, 200, "{}", begun.body);
        let begun = begun.json();
        assert_eq!(
            (&begun["standing"], &begun["share"]),
            (&json!(standing), &json!(share))
        );
        let listed = server.get("/versions").await.json()["trial"].take();
        assert_eq!(listed["guest"], digest("good 2"));
        assert_eq!(listed["share"], share);
    }
    let ended = server.delete("/trial").await;
    assert_eq!(ended.json()["version"]["guest"], digest("good 2"));
    assert_eq!(server.get("/versions").await.json()["trial"], json!(null));
    for none in [
        server.delete("/trial").await,
        server.post("/trial/promote").await,
    ] {
        problem(&none, 409, "conflict");
    }
    server.assert_live(FIRST).await;

    server.post(&format!("{path}/canary?share=1")).await;
    let promoted = server.post("/trial/promote").await.json();
    assert_eq!(promoted["live"]["guest"], digest("good 2"));
    assert_eq!(promoted["changed"], true);
    assert_eq!(server.get("/versions").await.json()["trial"], json!(null));
    server.assert_live("good 2").await;
}

#[tokio::test]
async fn the_configured_guest_is_read_again() {
    let server = Server::start().await;
    let same = server.post("/reload").await.json();
    assert_eq!(
        (&same["known"], &same["change"]["changed"]),
        (&json!(true), &json!(false))
    );
    std::fs::write(server.file(), "good 2").unwrap();
    let other = server.post("/reload").await.json();
    assert_eq!(other["version"]["guest"], digest("good 2"));
    assert_eq!(
        (&other["known"], &other["change"]["changed"]),
        (&json!(false), &json!(true))
    );
    server.assert_live("good 2").await;

    std::fs::write(server.file(), "bad").unwrap();
    let refused = problem(&server.post("/reload").await, 422, "guest-refused");
    assert_eq!(refused["step"], "contract");
    std::fs::remove_file(server.file()).unwrap();
    problem(&server.post("/reload").await, 500, "guest-unreadable");
    server.assert_live("good 2").await;
}

#[tokio::test]
async fn head_is_get_without_the_document() {
    let server = Server::start().await;
    let first = digest(FIRST);
    for path in ["/versions", &format!("/versions/{first}"), "/version"] {
        let get = server.get(path).await;
        let head = answer(server.request(Method::HEAD, path)).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(head.headers["content-type"], "application/json");
        assert_eq!(head.headers["content-length"], get.body.len().to_string());
    }
}

#[tokio::test]
async fn the_live_version_is_named_in_full() {
    let server = Server::start().await;
    for component in [FIRST, "good 2"] {
        server.upload("?activate=true", component).await;
        let expected = json!({
            "name": "fastsentiment",
            "version": env!("CARGO_PKG_VERSION"),
            "guest": digest(component),
            "model": "12".repeat(32),
            "configuration": Digest::EMPTY.to_string(),
            "revision": revision(component).digest().to_string(),
            "revision_name": null,
        });
        assert_eq!(server.get("/version").await.json(), expected);
    }
}

#[tokio::test]
async fn while_there_is_no_version_the_server_is_starting() {
    let server = Server::with(|settings| settings.loaded = false).await;
    for answer in [
        server.get("/version").await,
        server.get("/versions").await,
        server.upload("?activate=true", "good 2").await,
        server.post("/rollback").await,
        server.delete("/trial").await,
    ] {
        problem(&answer, 503, "starting");
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(server.get("/health").await.status, 200);
    assert_eq!(server.get("/metrics").await.status, 200);
    server.loaded();
    assert_eq!(server.get("/version").await.status, 200);
    assert_eq!(server.upload("?activate=true", "good 2").await.status, 201);
    server.assert_live("good 2").await;
}
