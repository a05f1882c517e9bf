//! What a client gets that asks for what there is.

use super::*;
use serde_json::json;

#[tokio::test]
async fn predictions_come_in_order_with_their_version() {
    let server = Server::start().await;
    for client in [http1(), http2()] {
        let request = client.post(server.url("/predict"));
        let response = request
            .json(&texts(&["ccc", "", "a"]))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["x-fastsentiment-guest"], "abababababab");
        assert_eq!(headers["x-fastsentiment-model"], "121212121212");
        let revision = super::revision().short();
        assert_eq!(headers["x-fastsentiment-revision"], *revision);
        assert!(headers.contains_key("content-length"));
        assert_eq!(
            response.json::<Value>().await.unwrap(),
            json!({"predictions": [
                [{"label": "LENGTH", "score": 3.0}],
                [{"label": "LENGTH", "score": 0.0}],
                [{"label": "LENGTH", "score": 1.0}],
            ]})
        );
    }
}

#[tokio::test]
async fn no_texts_get_no_predictions() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    raw.post("", r#"{"text": []}"#).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, r#"{"predictions":[]}"#);
    assert!(answer.head.contains("x-fastsentiment-guest: abababababab"));
}

#[tokio::test]
async fn scores_are_as_short_as_an_f32_allows() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    raw.post("", r#"{"text": ["0.1", "0.71", "0.99999994", "1"]}"#)
        .await;
    let body = raw.answer().await.body;
    let scores = ["0.1", "0.71", "0.99999994", "1.0"]
        .map(|score| format!(r#"[{{"label":"LENGTH","score":{score}}}]"#));
    assert_eq!(body, format!(r#"{{"predictions":[{}]}}"#, scores.join(",")));
}

#[tokio::test]
async fn what_is_allowed_around_the_texts_is_accepted() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    for headers in [
        "",
        "content-type: application/json\r\n",
        "content-type: Application/JSON; charset=UTF-8\r\n",
        "content-type: application/vnd.api+json\r\n",
    ] {
        raw.post(headers, r#"{"other": {"a": [1]}, "text": ["a"]}"#)
            .await;
        assert_eq!(raw.answer().await.status, 200, "{headers}");
    }
    // A query has no meaning here, and chunks have no length.
    raw.send(
        "POST /predict?a=b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
         6\r\n{\"text\r\n7\r\n\": [\"a\"\r\n2\r\n]}\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(raw.answer().await.status, 200);
}

#[tokio::test]
async fn health_answers_get_and_head() {
    let server = Server::start().await;
    for client in [http1(), http2()] {
        let response = client.get(server.url("/health")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-length"], "15");
        assert_eq!(response.text().await.unwrap(), r#"{"status":"ok"}"#);

        let response = client.head(server.url("/health")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["content-length"], "15");
        assert_eq!(response.text().await.unwrap(), "");
    }
    let mut raw = server.raw().await;
    for _ in 0..2 {
        raw.send("HEAD /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(raw.head().await.starts_with("http/1.1 200 "));
    }
}

#[tokio::test]
async fn a_large_request_is_answered() {
    let server = Server::start().await;
    let many: Vec<String> = (0..1024).map(|i| "x".repeat(i)).collect();
    for client in [http1(), http2()] {
        let request = client.post(server.url("/predict"));
        let response = request.json(&json!({"text": many})).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let answer: Value = response.json().await.unwrap();
        let answers = answer["predictions"].as_array().unwrap();
        assert_eq!(answers.len(), 1024);
        assert_eq!(answers[1023][0]["score"], 1023.0);
    }
}

/// Each request waits for the others, so one after the other never ends.
#[tokio::test]
async fn requests_on_one_http2_connection_run_side_by_side() {
    let server = Server::with(|config, _| config.connections.max_connections = 1).await;
    let client = http2();
    // Opens the only connection there may be.
    client.get(server.url("/health")).send().await.unwrap();
    let requests: Vec<_> = (0..MEETING)
        .map(|_| {
            let request = client.post(server.url("/predict"));
            tokio::spawn(request.json(&texts(&["meet"])).send())
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_body_is_asked_for_when_the_client_waits() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    raw.send(
        "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 13\r\nexpect: 100-continue\r\n\r\n",
    )
    .await;
    let head = raw.head().await;
    assert!(head.starts_with("http/1.1 100 "), "{head}");
    raw.send(r#"{"text":[""]}"#).await;
    assert_eq!(raw.answer().await.status, 200);
}
