//! A request says which host it is for, and says so once.

use super::*;

#[tokio::test]
async fn a_request_without_one_host_is_refused_and_the_connection_goes_on() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    for hosts in [
        "",
        "host: a\r\nhost: b\r\n",
        "host: a\r\nHost: a\r\n",
        "host: a, b\r\n",
        "host: user@a\r\n",
        "host: a/b\r\n",
        "host: a:b\r\n",
    ] {
        for path in [
            "/health",
            "/health/live",
            "/predict",
            "/nothing",
            "//health/",
        ] {
            raw.send(format!("GET {path} HTTP/1.1\r\n{hosts}\r\n"))
                .await;
            let answer = raw.answer().await;
            assert_eq!(answer.status, 400, "{path} {hosts:?}: {}", answer.body);
            let problem = answer.json();
            assert_eq!(problem["type"], "urn:fastsentiment:problem:invalid-header");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("`Host`"), "{detail}");
        }
    }
    // Nor is the text scored.
    let body = r#"{"text": ["hold"]}"#;
    let length = body.len();
    raw.send(format!(
        "POST /predict HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{body}"
    ))
    .await;
    assert_eq!(raw.answer().await.status, 400);
    assert_eq!(server.fake.holding.available_permits(), 0);
    for host in ["x", "", "sentiment.example.com:8000", "[::1]:8000"] {
        raw.send(format!("GET /health HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        assert_eq!(raw.answer().await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn older_and_newer_clients_need_no_such_header() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    raw.send("GET /health HTTP/1.0\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 200);
    let mut raw = server.raw().await;
    raw.send("GET /health HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n")
        .await;
    assert_eq!(raw.answer().await.status, 400);
    // HTTP/2 has the host in another place.
    let request = http2().get(server.url("/health"));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    let two = http2().get(server.url("/health"));
    let two = two.header("host", "a").header("host", "b");
    assert_eq!(two.send().await.unwrap().status(), 400);
}
