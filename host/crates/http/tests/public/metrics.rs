//! What the edge and the service tell of themselves.

use super::*;

/// Asserts the values of metrics.
#[track_caller]
fn assert_metrics(server: &Server, expected: &[(&str, u32)]) {
    for (name, value) in expected {
        let name = format!("fastsentiment_{name}");
        let found = server.metric(&name);
        assert!((found - f64::from(*value)).abs() < 1e-9, "{name} {found}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    for text in ["kept", "a", "overloaded", "failed"] {
        raw.post("", texts(&[text, ""]).to_string()).await;
        raw.answer().await;
    }
    // However many paths there are, they have one name together.
    for path in ["/b/", "/a", "/assets/b", "/predict/c", "/health/x"] {
        raw.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
            .await;
        assert_eq!(raw.answer().await.status, 404);
    }
    for path in ["/health", "/health/live", "/predict"] {
        raw.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
            .await;
        raw.answer().await;
    }
    assert_metrics(
        &server,
        &[
            (r#"http_requests_total{route="/predict",status="200"}"#, 2),
            (r#"http_requests_total{route="/predict",status="405"}"#, 1),
            (r#"http_requests_total{route="/predict",status="500"}"#, 1),
            (r#"http_requests_total{route="/predict",status="503"}"#, 1),
            (r#"http_requests_total{route="/health",status="200"}"#, 2),
            (r#"http_requests_total{route="other",status="404"}"#, 5),
            (
                r#"http_request_duration_seconds_count{route="/predict"}"#,
                5,
            ),
            ("http_requests_in_flight", 0),
            ("http_connections", 1),
        ],
    );
}

#[tokio::test]
async fn requests_in_flight_are_counted_and_those_given_up_as_well() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    raw.post("", texts(&["hold"]).to_string()).await;
    server.fake.held().await;
    assert_metrics(
        &server,
        &[("http_requests_in_flight", 1), ("http_connections", 1)],
    );
    drop(raw);
    server.ended(1).await;
    let gone = async {
        while server.metric("fastsentiment_http_connections") > 0.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    assert_metrics(
        &server,
        &[
            ("http_requests_in_flight", 0),
            (r#"predict_requests_total{outcome="cancelled"}"#, 1),
        ],
    );
}

#[tokio::test]
async fn predictions_are_counted_by_outcome() {
    let server = Server::with(|_, limits| {
        limits.max_texts = 4;
        limits.max_text_bytes = 16;
    })
    .await;
    let mut raw = server.raw().await;
    let ask = [
        &["a", "b", "kept"][..],
        &["a", "b"],
        &[],
        &["overloaded"],
        &["a", "invalid"],
        &["unavailable"],
        &["failed"],
        &["a", "b", "c", "d", "e"],
        &["longer than sixteen"],
    ];
    for given in ask {
        raw.post("", texts(given).to_string()).await;
        raw.answer().await;
    }
    raw.post(
        "x-fastsentiment-timeout-ms: 1\r\n",
        texts(&["hold"]).to_string(),
    )
    .await;
    assert_eq!(raw.answer().await.status, 504);
    for (outcome, requests, texts) in [
        ("ok", 3, 5),
        ("overloaded", 1, 1),
        ("invalid_text", 1, 2),
        ("unavailable", 1, 1),
        ("failed", 1, 1),
        ("too_many_texts", 1, 5),
        ("text_too_long", 1, 1),
        ("timed_out", 1, 1),
        ("cancelled", 0, 0),
    ] {
        let name = |of| format!(r#"predict_{of}_total{{outcome="{outcome}"}}"#);
        assert_metrics(&server, &[(&name("requests"), requests)]);
        assert_metrics(&server, &[(&name("texts"), texts)]);
    }
    assert_metrics(
        &server,
        &[
            ("predict_request_texts_count", 10),
            ("predict_request_texts_sum", 17),
            (r#"predict_request_texts_bucket{le="2"}"#, 8),
        ],
    );
}
