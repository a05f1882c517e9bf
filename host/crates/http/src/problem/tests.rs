//! What clients are told.

use super::*;
use http_body_util::BodyExt;
use serde_json::{Value, json};

async fn sent(problem: Problem) -> (axum::http::response::Parts, Value) {
    let mut response = problem.into_response();
    let shape = Shape::of("/predict");
    render(&mut response, &HeaderValue::from_static("an-id"), shape);
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_field_error_points_to_its_field() {
    let kind = ErrorKind::TextTooLong {
        index: 3,
        given: 9,
        allowed: 8,
    };
    let error = PredictError::new(kind, "too long").with_detail("secret");
    let (head, body) = sent(error.into()).await;
    assert_eq!(head.headers[CONTENT_TYPE], "application/problem+json");
    assert_eq!(
        body,
        json!({
            "type": "urn:fastsentiment:problem:text-too-long",
            "title": "Text too long",
            "status": 422,
            "detail": "`/text/3`: too long",
            "errors": [{"pointer": "/text/3", "detail": "`/text/3`: too long"}],
            "request_id": "an-id",
        })
    );
}

#[tokio::test]
async fn clients_of_tei_are_told_in_their_words_too() {
    let tei = async |kind: ErrorKind| {
        let problem = Problem::from(PredictError::new(kind, "a sentence")).for_tei();
        let (_, body) = sent(problem).await;
        assert_eq!(body["error"], body["detail"]);
        body["error_type"].clone()
    };
    let retry_after = Duration::ZERO;
    for (kind, expected) in [
        (ErrorKind::InvalidText { index: 0 }, "Validation"),
        (ErrorKind::Overloaded { retry_after }, "Overloaded"),
        (ErrorKind::Unavailable, "Unhealthy"),
        (ErrorKind::Failed, "Backend"),
        (ErrorKind::TimedOut, "Backend"),
    ] {
        assert_eq!(tei(kind).await, expected);
    }
}

#[tokio::test]
async fn a_failure_tells_nothing() {
    let error = PredictError::new(ErrorKind::Failed, "secret").with_detail("secret");
    let (head, body) = sent(error.into()).await;
    assert_eq!(head.status, 500);
    assert!(!body.to_string().contains("secret"));
}

#[tokio::test]
async fn a_busy_server_says_when_to_come_back() {
    let overloaded = |millis| ErrorKind::Overloaded {
        retry_after: Duration::from_millis(millis),
    };
    for (kind, seconds) in [
        (overloaded(0), "1"),
        (overloaded(1000), "1"),
        (overloaded(1001), "2"),
        (overloaded(60_000), "60"),
        (ErrorKind::Unavailable, "1"),
    ] {
        let (head, _) = sent(PredictError::new(kind, "busy").into()).await;
        assert_eq!(head.status, 503);
        assert_eq!(head.headers[RETRY_AFTER], seconds);
    }
    let (head, _) = sent(PredictError::new(ErrorKind::TimedOut, "late").into()).await;
    assert_eq!(head.status, 504);
}
