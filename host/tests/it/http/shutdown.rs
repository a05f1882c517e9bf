//! What becomes of requests and connections when the server stops.

use super::*;

#[tokio::test]
async fn a_request_in_flight_is_answered() {
    for client in [http1(), http2()] {
        let mut server = Server::start().await;
        let request = client.post(server.url("/predict")).json(&texts(&["hold"]));
        let response = tokio::spawn(request.send());
        server.fake.held().await;
        server.stop();
        // Nobody new is let in meanwhile.
        server.refusing().await;
        assert!(!server.task.is_finished());
        server.fake.release.add_permits(1);
        assert_eq!(response.await.unwrap().unwrap().status(), 200);
        server.stopped().await;
    }
}

#[tokio::test]
async fn the_last_answer_says_that_it_is_the_last() {
    let mut server = Server::start().await;
    let mut raw = server.raw().await;
    raw.post("", r#"{"text": ["hold"]}"#).await;
    server.fake.held().await;
    server.stop();
    server.refusing().await;
    // The listener closes just before the connections hear of it.
    tokio::time::sleep(SHORT).await;
    server.fake.release.add_permits(1);
    assert!(raw.answer().await.head.contains("connection: close\r\n"));
    raw.closed().await;
}

#[tokio::test]
async fn idle_and_silent_connections_are_closed_at_once() {
    // Nothing but the shutdown itself closes them within this test's patience.
    let mut server = Server::with(|config, _| {
        config.drain = PATIENCE * 10;
        config.header_timeout = PATIENCE * 10;
    })
    .await;
    let mut idle = server.raw().await;
    idle.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(idle.answer().await.status, 200);
    let mut silent = server.raw().await;
    let http2 = http2();
    http2.get(server.url("/health")).send().await.unwrap();
    server.stop();
    idle.closed().await;
    silent.closed().await;
    // The HTTP/2 connection is still held by its client.
    server.stopped().await;
}

#[tokio::test]
async fn draining_has_an_end() {
    for client in [http1(), http2()] {
        let mut server = Server::with(|config, _| config.drain = SHORT).await;
        let request = client.post(server.url("/predict")).json(&texts(&["hold"]));
        let response = tokio::spawn(request.send());
        server.fake.held().await;
        server.stop();
        server.stopped().await;
        assert!(response.await.unwrap().is_err());
        server.ended(1).await;
    }
}
