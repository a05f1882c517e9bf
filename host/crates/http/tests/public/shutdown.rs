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

/// Requests that the server has not even accepted when it is told to stop.
#[tokio::test]
async fn a_request_on_its_way_is_answered() {
    use std::io::{Read, Write};
    let mut server = Server::start().await;
    // The server runs on this thread, and so not before the first `await`.
    let waiting: Vec<_> = (0..16)
        .map(|_| {
            let mut client = std::net::TcpStream::connect(server.address).unwrap();
            let get = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
            client.write_all(get).unwrap();
            client
        })
        .collect();
    server.stop();
    server.stopped().await;
    for mut client in waiting {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
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

/// Before connections are closed, each answer says that it is the last one, and new
/// connections are accepted.
#[tokio::test]
async fn clients_are_asked_to_leave_before_the_server_does() {
    let mut server = Server::with(|config, _| config.connections.drain_delay = PATIENCE * 10).await;
    let get = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut kept = server.raw().await;
    kept.send(get).await;
    assert!(!kept.answer().await.head.contains("connection: close"));
    let http2 = http2();
    http2.get(server.url("/health")).send().await.unwrap();
    server.stop();
    // The server runs on this thread, and hears of it first.
    tokio::task::yield_now().await;
    for mut client in [kept, server.raw().await] {
        client.send(get).await;
        assert!(client.answer().await.head.contains("connection: close\r\n"));
        client.closed().await;
    }
    // HTTP/2 has no such header.
    let answer = http2.get(server.url("/health")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key("connection"));
}

/// A client whose connection is kept sends its next request when it likes: that is
/// answered, too, for a while after the server has begun to close.
#[tokio::test]
async fn a_request_that_crosses_the_end_is_answered() {
    let mut server = Server::with(|config, _| config.connections.close_grace = PATIENCE * 10).await;
    let get = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut kept = server.raw().await;
    kept.send(get).await;
    kept.answer().await;
    server.stop();
    server.refusing().await;
    kept.send(get).await;
    assert!(kept.answer().await.head.contains("connection: close\r\n"));
    server.stopped().await;
}

#[tokio::test]
async fn idle_and_silent_connections_are_closed_soon() {
    // Nothing but the shutdown itself closes them within this test's patience.
    let mut server = Server::with(|config, _| {
        config.connections.drain = PATIENCE * 10;
        config.connections.header_timeout = PATIENCE * 10;
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
        let mut server = Server::with(|config, _| config.connections.drain = SHORT).await;
        let request = client.post(server.url("/predict")).json(&texts(&["hold"]));
        let response = tokio::spawn(request.send());
        server.fake.held().await;
        server.stop();
        server.stopped().await;
        assert!(response.await.unwrap().is_err());
        server.ended(1).await;
    }
}

/// A client of HTTP/2 is told to go before its connection is closed, so that
/// it sends its next request elsewhere and loses none.
#[tokio::test]
async fn an_http2_connection_is_told_to_go_away() {
    const GOAWAY: u8 = 7;
    const SETTINGS: u8 = 4;
    let mut server = Server::start().await;
    let mut raw = server.raw().await;
    raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    assert_eq!(raw.frame().await, SETTINGS);
    server.stop();
    let told = async { while raw.frame().await != GOAWAY {} };
    timeout(PATIENCE, told).await.unwrap();
    drop(raw);
    server.stopped().await;
}

impl Raw {
    /// The type of the next frame of HTTP/2, whose contents are dropped.
    async fn frame(&mut self) -> u8 {
        let mut head = [0; 9];
        let read = timeout(PATIENCE, self.0.read_exact(&mut head)).await;
        read.unwrap().unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.unwrap();
        head[3]
    }
}
