//! Whether the server wants requests.

use super::*;

#[tokio::test]
async fn readiness_follows_the_server() {
    let server = Server::start().await;
    let client = http1();
    let get = async |path| {
        let response = client.get(server.url(path)).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body: Value = response.json().await.unwrap();
        (status, headers, body)
    };
    let unready = async |state: &str| {
        let (status, headers, body) = get("/health/ready").await;
        assert_eq!(status, 503);
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(body["type"], format!("urn:fastsentiment:problem:{state}"));
        // It lives all the same.
        for path in ["/health", "/health/live"] {
            let (status, _, body) = get(path).await;
            assert_eq!((status, &body["status"]), (200, &"ok".into()));
        }
    };
    unready("starting").await;
    let missing = async || get("/health/ready").await.2["missing"].clone();
    assert_eq!(missing().await, serde_json::json!(["model", "guest"]));
    server.readiness.set_model_loaded();
    assert_eq!(missing().await, serde_json::json!(["guest"]));
    unready("starting").await;
    server.readiness.set_ready();
    let (status, headers, body) = get("/health/ready").await;
    assert_eq!((status, &body["status"]), (200, &"ready".into()));
    assert_eq!(headers["content-type"], "application/json");
    server.readiness.set_draining();
    unready("draining").await;
    assert_eq!(missing().await, Value::Null);
    let response = client.post(server.url("/health/ready")).send().await;
    assert_eq!(response.unwrap().status(), 405);
}

#[tokio::test]
async fn the_live_version_is_named_in_full() {
    let server = Server::start().await;
    let client = http1();
    let url = server.url("/version");
    let get = client.get(&url).send().await.unwrap();
    assert_eq!(get.status(), 200);
    assert_eq!(get.headers()["content-type"], "application/json");
    let document: Value = get.json().await.unwrap();
    let expected = serde_json::json!({
        "name": "fastsentiment",
        "version": env!("CARGO_PKG_VERSION"),
        "guest": "ab".repeat(32),
        "model": "12".repeat(32),
        "configuration": predictor::Digest::EMPTY.to_string(),
        "revision": super::revision().digest().to_string(),
        "revision_name": null,
    });
    assert_eq!(document, expected);
    let head = client.head(&url).send().await.unwrap();
    let length = head.headers()["content-length"].to_str().unwrap();
    assert_eq!(length, expected.to_string().len().to_string());
    let post = client.post(&url).send().await.unwrap();
    assert_eq!(
        (post.status().as_u16(), &post.headers()["allow"]),
        (405, &"GET, HEAD, OPTIONS".parse().unwrap())
    );
    let other = client.get(server.url("/versions")).send().await.unwrap();
    assert_eq!(other.status(), 404);
    assert!(other.text().await.unwrap().contains("GET /version"));
    assert!(
        (server.metric(r#"fastsentiment_http_requests_total{route="/version",status="200"}"#)
            - 2.0)
            .abs()
            < 1e-9
    );
}
