//! What the versions API does not do, and that the live version answers after it.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::fake::{FIRST, Server, digest, problem};
use testing::{PATIENCE, answer};

#[tokio::test]
async fn a_guest_that_is_refused_changes_nothing() {
    let server = Server::start().await;
    for query in ["", "?activate=true", "?canary=0.1", "?shadow=1"] {
        let refused = problem(&server.upload(query, "bad one").await, 422, "guest-refused");
        assert_eq!(refused["step"], "contract");
        let detail = refused["detail"].as_str().unwrap();
        assert!(
            detail.contains("`contract`: it exports nothing"),
            "{detail}"
        );
        problem(&server.upload(query, "panic").await, 500, "failed");
        // What the host lacks is no fault of the guest.
        let starved = server.upload(query, "starved one").await;
        problem(&starved, 503, "unavailable");
        assert!(starved.headers.contains_key("retry-after"));
        assert_eq!(server.known(), [digest(FIRST)]);
        assert_eq!(server.get("/versions").await.json()["trial"], json!(null));
        server.assert_live(FIRST).await;
    }
    // The next one is none the worse for it.
    assert_eq!(server.upload("?activate=true", "good 2").await.status, 201);
    server.assert_live("good 2").await;
}

#[tokio::test]
async fn what_does_not_go_together_is_a_conflict() {
    let server = Server::start().await;
    let first = digest(FIRST);
    for answer in [
        server.post("/rollback").await,
        server.post(&format!("/rollback?from={first}")).await,
        server.delete(&format!("/versions/{first}")).await,
        server
            .post(&format!("/versions/{first}/canary?share=0.1"))
            .await,
        server.post(&format!("/versions/{first}/shadow")).await,
        server.upload("?canary=0.1", FIRST).await,
        server.upload("?shadow=1", FIRST).await,
    ] {
        problem(&answer, 409, "conflict");
        server.assert_live(FIRST).await;
    }
    assert_eq!(server.known(), [first]);
}

/// Two components whose digests begin with the same four digits.
fn alike() -> [String; 2] {
    let mut seen = std::collections::HashMap::new();
    for number in 0_u32.. {
        let component = format!("good {number}");
        let begin = digest(&component)[..4].to_owned();
        if let Some(other) = seen.insert(begin, component.clone()) {
            return [other, component];
        }
    }
    unreachable!("some are alike")
}

#[tokio::test]
async fn a_version_is_found_by_what_names_it_alone() {
    let server = Server::start().await;
    let alike = alike();
    for component in &alike {
        server.upload("", component).await;
    }
    let [one, other] = alike.each_ref().map(|component| digest(component));
    let begin = &one[..4];
    for path in [
        format!("/versions/{begin}/activate"),
        format!("/rollback?from={begin}"),
    ] {
        problem(&server.post(&path).await, 409, "conflict");
    }
    problem(
        &server.get(&format!("/versions/{begin}")).await,
        409,
        "conflict",
    );
    assert_eq!(server.get(&format!("/versions/{other}")).await.status, 200);

    let absent = "0".repeat(64);
    let longer = format!("{one}0");
    for id in [
        &absent,
        &absent[..4],
        &one[..3],
        &longer,
        "live",
        "..%2f",
        "%00%ff%20%3f",
    ] {
        let path = format!("/versions/{id}");
        for answer in [
            server.get(&path).await,
            server.delete(&path).await,
            server.post(&format!("{path}/activate")).await,
            server.post(&format!("{path}/canary?share=0.1")).await,
            server.post(&format!("{path}/shadow")).await,
            server.post(&format!("/rollback?from={id}")).await,
        ] {
            problem(&answer, 404, "unknown-version");
        }
    }
    server.assert_live(FIRST).await;
}

#[tokio::test]
async fn a_query_says_what_is_expected_and_nothing_else() {
    let server = Server::start().await;
    server.upload("", "good 2").await;
    let known = server.known();
    let path = format!("/versions/{}", digest("good 2"));
    for path in [
        format!("{path}/activate?force=yes"),
        format!("{path}/activate?force=true&force=true"),
        format!("{path}/activate?focre=true"),
        format!("{path}/canary"),
        format!("{path}/canary?share="),
        format!("{path}/canary?share=0"),
        format!("{path}/canary?share=1.1"),
        format!("{path}/canary?share=NaN"),
        format!("{path}/canary?share=10%25"),
        format!("{path}/shadow?share=-1"),
        format!("{path}/shadow?from=1"),
        "/rollback?form=1234".to_owned(),
        "/reload?now=true".to_owned(),
        "/trial/promote?share=1".to_owned(),
    ] {
        problem(&server.post(&path).await, 400, "invalid-query");
    }
    for query in [
        "?actvate=true",
        "?activate=1",
        "?canary=2",
        "?shadow=0",
        "?activate=true&canary=0.1",
        "?canary=0.1&shadow=0.1",
    ] {
        problem(&server.upload(query, "good 3").await, 400, "invalid-query");
    }
    problem(
        &server.get("/versions?all=true").await,
        400,
        "invalid-query",
    );
    problem(
        &server.delete(&format!("{path}?force=true")).await,
        400,
        "invalid-query",
    );
    assert_eq!(server.known(), known);
    assert_eq!(server.get("/versions").await.json()["trial"], json!(null));
    server.assert_live(FIRST).await;
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let server = Server::start().await;
    let first = digest(FIRST);
    for (path, allowed) in [
        ("/versions".to_owned(), "GET, HEAD, OPTIONS, POST"),
        (format!("/versions/{first}"), "DELETE, GET, HEAD, OPTIONS"),
        (format!("/versions/{first}/activate"), "OPTIONS, POST"),
        (format!("/versions/{first}/canary"), "OPTIONS, POST"),
        (format!("/versions/{first}/shadow"), "OPTIONS, POST"),
        ("/trial".to_owned(), "DELETE, OPTIONS"),
        ("/trial/promote".to_owned(), "OPTIONS, POST"),
        ("/rollback".to_owned(), "OPTIONS, POST"),
        ("/reload".to_owned(), "OPTIONS, POST"),
        ("/version".to_owned(), "GET, HEAD, OPTIONS"),
    ] {
        let options = answer(server.request(Method::OPTIONS, &path)).await;
        assert_eq!((options.status, options.body.as_str()), (204, ""), "{path}");
        assert_eq!(options.headers["allow"], allowed, "{path}");
        for method in ["GET", "POST", "DELETE", "PUT", "PATCH"] {
            if allowed.split(", ").any(|allowed| allowed == method) {
                continue;
            }
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let refused = answer(server.request(method, &path)).await;
            problem(&refused, 405, "method-not-allowed");
            assert_eq!(refused.headers["allow"], allowed, "{path}");
        }
    }
    for path in ["/versions/a/b", "/trial/x", "/versionss"] {
        problem(&server.get(path).await, 404, "not-found");
    }
    server.assert_live(FIRST).await;
}

/// Not even a probe is answered.
#[tokio::test]
async fn a_request_names_one_host() {
    let server = Server::start().await;
    for path in ["/health/live", "/metrics", "/versions"] {
        for (hosts, status) in [
            ("", 400),
            ("host: localhost\r\nhost: localhost\r\n", 400),
            ("host: localhost\r\n", 200),
        ] {
            let mut connection = TcpStream::connect(server.address).await.unwrap();
            let head = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{hosts}\r\n");
            connection.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let read = connection.read_to_string(&mut answer);
            timeout(PATIENCE, read).await.unwrap().unwrap();
            let begin = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&begin), "{path} {hosts:?}: {answer}");
            let named = answer.contains("urn:fastsentiment:problem:invalid-header");
            assert_eq!(named, status == 400, "{answer}");
        }
    }
}
