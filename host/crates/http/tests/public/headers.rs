//! What a client can ask for in headers, and what it is told in them.

use super::*;

#[tokio::test]
async fn cache_directives_reach_the_cache() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    let cases = [
        ("", Caching::Use),
        ("cache-control: max-age=3600\r\n", Caching::Use),
        ("cache-control: no-cache\r\n", Caching::Renew),
        ("Cache-Control: Max-Age=0\r\n", Caching::Renew),
        ("cache-control: no-store\r\n", Caching::Bypass),
        ("cache-control: no-cache, no-store\r\n", Caching::Bypass),
        (
            "cache-control: no-store\r\ncache-control: no-cache\r\n",
            Caching::Bypass,
        ),
    ];
    for (headers, _) in cases {
        raw.post(headers, r#"{"text": ["a"]}"#).await;
        assert_eq!(raw.answer().await.status, 200);
    }
    let seen = server.fake.caching.lock().unwrap().clone();
    assert_eq!(seen, cases.map(|(_, caching)| caching));
}

#[tokio::test]
async fn every_answer_tells_how_many_texts_were_kept() {
    let server = Server::start().await;
    for client in [http1(), http2()] {
        for (given, hits) in [
            (&[][..], "0"),
            (&["a", "b"], "0"),
            (&["kept", "a", "shared", "kept"], "3"),
        ] {
            let request = client.post(server.url("/predict")).json(&texts(given));
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["x-fastsentiment-cache-hits"], hits);
        }
    }
}

#[tokio::test]
async fn a_client_can_say_how_long_it_waits() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    raw.post(
        "x-fastsentiment-timeout-ms: 50\r\n",
        r#"{"text": ["hold"]}"#,
    )
    .await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 504, "{}", answer.body);
    assert!(answer.body.contains("50ms"), "{}", answer.body);
    // The work is not done for nobody.
    server.ended(1).await;
    assert_eq!(server.fake.release.available_permits(), 0);
}

#[tokio::test]
async fn a_client_can_not_wait_longer_than_is_allowed() {
    let server = Server::with(|_, limits| limits.deadline = SHORT).await;
    let mut raw = server.raw().await;
    let headers = "x-fastsentiment-timeout-ms: 99999999999999999999\r\n";
    raw.post(headers, r#"{"text": ["hold"]}"#).await;
    assert_eq!(raw.answer().await.status, 504);
    server.ended(1).await;
}

#[tokio::test]
async fn a_malformed_wait_is_refused_and_the_connection_goes_on() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    for value in ["0", "soon", "-1", "1.5", "1000 ms", ""] {
        let headers = format!("x-fastsentiment-timeout-ms: {value}\r\n");
        raw.post(&headers, r#"{"text": ["a"]}"#).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, 400, "{value}");
        let problem = answer.json();
        assert_eq!(problem["type"], "urn:fastsentiment:problem:invalid-header");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("x-fastsentiment-timeout-ms"), "{detail}");
        assert!(detail.contains("milliseconds, at least 1"), "{detail}");
    }
    raw.post(
        "x-fastsentiment-timeout-ms: 20000\r\n",
        r#"{"text": ["a"]}"#,
    )
    .await;
    assert_eq!(raw.answer().await.status, 200);
}
