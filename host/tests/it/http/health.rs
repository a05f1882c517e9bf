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
    server.readiness.set_ready();
    let (status, headers, body) = get("/health/ready").await;
    assert_eq!((status, &body["status"]), (200, &"ready".into()));
    assert_eq!(headers["content-type"], "application/json");
    server.readiness.set_draining();
    unready("draining").await;
    let response = client.post(server.url("/health/ready")).send().await;
    assert_eq!(response.unwrap().status(), 405);
}
