//! What browsers are told that ask for pages of other origins.

use super::*;
use reqwest::Method;
use reqwest::header::HeaderMap;

const PAGE: &str = "https://example.org";

async fn server(origins: &[&str]) -> Server {
    let origins = origins.iter().map(|origin| origin.parse().unwrap());
    let origins = origins.collect();
    Server::with(|config, _| config.cors_origins = origins).await
}

/// Asks as a browser does for a page of this origin, first whether it may.
async fn ask(server: &Server, origin: &str, path: &str) -> [HeaderMap; 2] {
    let client = http1();
    let request = client.request(Method::OPTIONS, server.url(path));
    let request = request
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let before = request.send().await.unwrap();
    assert_eq!(before.status(), 204);
    let request = client.post(server.url(path)).header("origin", origin);
    let answer = request.json(&texts(&["a"])).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    [before.headers().clone(), answer.headers().clone()]
}

#[tokio::test]
async fn a_page_of_an_origin_that_is_named_may_ask() {
    let server = server(&["http://localhost:3000", PAGE]).await;
    let [before, answer] = ask(&server, PAGE, "/predict").await;
    for headers in [&before, &answer] {
        assert_eq!(headers["access-control-allow-origin"], PAGE);
        assert_eq!(headers["vary"], "origin");
    }
    assert_eq!(before["access-control-allow-methods"], "OPTIONS, POST");
    assert_eq!(before["access-control-max-age"], "7200");
    let sent = before["access-control-allow-headers"].to_str().unwrap();
    assert!(sent.contains("content-type") && sent.contains("x-fastsentiment-timeout-ms"));
    let seen = answer["access-control-expose-headers"].to_str().unwrap();
    for name in answer.keys() {
        let own = name.as_str().starts_with("x-fastsentiment-");
        assert!(!own || seen.contains(name.as_str()), "{name}");
    }
    assert!(seen.contains("retry-after"));

    // Problems and lines are for pages, too.
    let request = http1().post(server.url("/predict")).header("origin", PAGE);
    let problem = request.body("nonsense").send().await.unwrap();
    assert_eq!(problem.status(), 400);
    assert_eq!(problem.headers()["access-control-allow-origin"], PAGE);
    let request = http1().post(server.url("/predict")).header("origin", PAGE);
    let request = request.header("content-type", "application/x-ndjson");
    let lines = request.body("\"a\"\n").send().await.unwrap();
    assert_eq!(lines.headers()["access-control-allow-origin"], PAGE);
    assert_eq!(lines.headers()["vary"], "origin");
}

#[tokio::test]
async fn others_are_told_nothing() {
    let named = server(&[PAGE]).await;
    let off = Server::start().await;
    for (server, origin, vary) in [
        (&named, "https://example.org.evil.test", true),
        (&named, "http://example.org", true),
        (&named, "null", true),
        (&off, PAGE, false),
    ] {
        for headers in ask(server, origin, "/predict").await {
            let told = headers
                .keys()
                .any(|name| name.as_str().starts_with("access-control-"));
            assert!(!told, "{headers:?}");
            assert_eq!(headers.contains_key("vary"), vary);
        }
    }
    // Nobody but a browser says where it comes from.
    let response = http1().get(named.url("/health")).send().await.unwrap();
    assert_eq!(response.headers()["vary"], "origin");
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-origin")
    );
}

#[tokio::test]
async fn all_may_ask_if_that_is_wished() {
    let server = server(&["*"]).await;
    for headers in ask(&server, "null", "/predict").await {
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert!(!headers.contains_key("access-control-allow-credentials"));
        assert!(!headers.contains_key("vary"));
    }
}
