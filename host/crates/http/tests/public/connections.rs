//! Slow, silent and vanished clients: each is bounded.

use super::*;

fn impatient(config: &mut Settings, _: &mut Limits) {
    config.connections.header_timeout = SHORT;
    config.connections.idle_timeout = SHORT;
    config.body_timeout(SHORT);
}

/// The preface of HTTP/2 and empty settings, which is all a client must say.
const HTTP2_HELLO: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn a_client_that_does_not_ask_is_let_go() {
    let server = Server::with(impatient).await;
    for hello in ["", "P", "PRI", "GET /hea", HTTP2_HELLO] {
        let mut raw = server.raw().await;
        raw.send(hello).await;
        raw.closed().await;
    }
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let server = Server::with(impatient).await;
    let mut raw = server.raw().await;
    raw.send("GET /health HTTP/1.1\r\nx: ").await;
    raw.drip(b"y").await;
    // The head of a second request is bounded as well.
    let mut raw = server.raw().await;
    raw.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 200);
    raw.send("GET /health HTTP/1.1\r\nx: ").await;
    raw.drip(b"y").await;
}

#[tokio::test]
async fn a_slow_body_is_cut_off() {
    let server = Server::with(impatient).await;
    let mut raw = server.raw().await;
    let head = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    raw.send(head).await;
    raw.drip(b" ").await;

    let mut raw = server.raw().await;
    raw.send(head).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 408);
    assert!(answer.head.contains("connection: close\r\n"));
    raw.closed().await;

    // The rest of a body that was refused is not waited for either.
    let mut raw = server.raw().await;
    raw.send(head.replace("/predict", "/nothing")).await;
    assert_eq!(raw.answer().await.status, 404);
    raw.drip(b" ").await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = Server::with(|config, _| config.connections.idle_timeout = SHORT).await;
    let mut raw = server.raw().await;
    raw.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 200);
    raw.closed().await;
}

/// A request may take longer than a connection may be idle.
#[tokio::test]
async fn a_request_in_flight_is_not_idle() {
    let server = Server::with(impatient).await;
    for client in [http1(), http2()] {
        let request = client.post(server.url("/predict")).json(&texts(&["hold"]));
        let response = tokio::spawn(request.send());
        server.fake.held().await;
        tokio::time::sleep(SHORT * 3).await;
        server.fake.release.add_permits(1);
        assert_eq!(response.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn work_ends_with_the_client_that_wanted_it() {
    let server = Server::start().await;
    for (done, client) in [http1(), http2()].into_iter().enumerate() {
        let request = client.post(server.url("/predict")).json(&texts(&["hold"]));
        let response = tokio::spawn(request.send());
        server.fake.held().await;
        response.abort();
        drop(client);
        server.ended(done + 1).await;
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_their_turn() {
    let server = Server::with(|config, _| config.connections.max_connections = 1).await;
    let health = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut first = server.raw().await;
    first.send(health).await;
    assert_eq!(first.answer().await.status, 200);
    let mut second = server.raw().await;
    second.send(health).await;
    assert!(timeout(SHORT, second.0.readable()).await.is_err());
    drop(first);
    assert_eq!(second.answer().await.status, 200);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let server = Server::with(impatient).await;
    let mut raw = server.raw().await;
    let many = texts(&["a"; 1024]).to_string();
    let head = format!(
        "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        many.len()
    );
    let request = head + &many;
    // Ends once the answers fill all buffers and the server gives up.
    let flood = async { while raw.0.write_all(request.as_bytes()).await.is_ok() {} };
    timeout(PATIENCE, flood).await.unwrap();
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    let long = "y".repeat(128 * 1024);
    raw.send(format!("GET /health HTTP/1.1\r\nx: {long}")).await;
    assert_eq!(raw.answer().await.status, 431);
}
