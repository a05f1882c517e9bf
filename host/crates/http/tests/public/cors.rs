//! CORS: which pages of other origins may read answers.

use super::*;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName};

const PAGE: &str = "https://example.org";

async fn server(origins: &[&str]) -> Server {
    let origins = origins.iter().map(|origin| origin.parse().unwrap());
    let origins = origins.collect();
    Server::with(|config, _| config.http.cors_origins = origins).await
}

/// Sends a preflight request and a request, as a browser does for a page of this origin.
async fn ask(server: &Server, origin: &str, path: &str) -> [HeaderMap; 2] {
    let client = http1();
    let request = client.request(Method::OPTIONS, server.url(path));
    let request = request
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let before = request.send().await.unwrap();
    assert_eq!(before.status(), 200);
    let request = client.post(server.url(path)).header("origin", origin);
    let answer = request.json(&texts(&["a"])).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    [before.headers().clone(), answer.headers().clone()]
}

#[tokio::test]
async fn pages_of_named_origins_may_read_answers() {
    let server = server(&["http://localhost:3000", PAGE]).await;
    let [before, answer] = ask(&server, PAGE, "/predict").await;
    for headers in [&before, &answer] {
        assert_eq!(headers["access-control-allow-origin"], PAGE);
        assert!(headers["vary"].to_str().unwrap().starts_with("origin"));
    }
    assert_eq!(before["access-control-allow-methods"], "GET,HEAD,POST");
    assert_eq!(before["access-control-max-age"], "7200");
    let sent = before["access-control-allow-headers"].to_str().unwrap();
    assert!(sent.contains("content-type") && sent.contains("x-fastsentiment-timeout-ms"));
    let seen = answer["access-control-expose-headers"].to_str().unwrap();
    for name in answer.keys() {
        let own = name.as_str().starts_with("x-fastsentiment-");
        assert!(!own || seen.contains(name.as_str()), "{name}");
    }
    assert!(seen.contains("retry-after"));

    // Problems and lines as well.
    let request = http1().post(server.url("/predict")).header("origin", PAGE);
    let problem = request.body("nonsense").send().await.unwrap();
    assert_eq!(problem.status(), 400);
    assert_eq!(problem.headers()["access-control-allow-origin"], PAGE);
    let request = http1().post(server.url("/predict")).header("origin", PAGE);
    let request = request.header("content-type", "application/x-ndjson");
    let lines = request.body("\"a\"\n").send().await.unwrap();
    assert_eq!(lines.headers()["access-control-allow-origin"], PAGE);
    assert!(
        lines.headers()["vary"]
            .to_str()
            .unwrap()
            .starts_with("origin")
    );
}

#[tokio::test]
async fn other_origins_are_not_allowed() {
    let named = server(&[PAGE]).await;
    for origin in [
        "https://example.org.evil.test",
        "http://example.org",
        "null",
    ] {
        for headers in ask(&named, origin, "/predict").await {
            assert!(!headers.contains_key("access-control-allow-origin"));
            assert!(headers["vary"].to_str().unwrap().starts_with("origin"));
        }
    }
    // Only browsers send an origin.
    let response = http1().get(named.url("/health")).send().await.unwrap();
    let headers = response.headers();
    assert!(!headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn nothing_is_allowed_by_default() {
    let server = Server::start().await;
    let request = http1().post(server.url("/predict")).header("origin", PAGE);
    let answer = request.json(&texts(&["a"])).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let is_cors = |name: &&str| name.starts_with("access-control-") || *name == "vary";
    let names = answer.headers().keys().map(HeaderName::as_str);
    assert_eq!(names.filter(is_cors).count(), 0);
}

#[tokio::test]
async fn all_origins_can_be_allowed() {
    let server = server(&["*"]).await;
    for headers in ask(&server, "null", "/predict").await {
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert!(!headers.contains_key("access-control-allow-credentials"));
    }
}
