//! Clients that close their side of the connection: some of them still read.

use super::*;

impl Raw {
    /// Says that nothing more is sent.
    async fn finish(&mut self) {
        self.0.shutdown().await.unwrap();
    }
}

/// Nothing but the end of the request closes these connections within a test.
fn patient(config: &mut Settings, _: &mut Limits) {
    config.connections.half_close = PATIENCE * 10;
    config.connections.idle_timeout = PATIENCE * 10;
}

#[tokio::test]
async fn a_client_that_sends_no_more_gets_its_answer() {
    let server = Server::with(patient).await;
    let mut raw = server.raw().await;
    raw.post("", r#"{"text": ["hold"]}"#).await;
    raw.finish().await;
    server.fake.held().await;
    // Time in which the server could notice and give up.
    tokio::time::sleep(SHORT).await;
    server.fake.release.add_permits(1);
    assert_eq!(raw.answer().await.status, 200);
    raw.closed().await;

    // The same for what is answered at once, and for two requests in a row.
    let mut raw = server.raw().await;
    raw.post("", r#"{"text": ["kept"]}"#).await;
    raw.post("", r#"{"text": ["a"]}"#).await;
    raw.finish().await;
    assert_eq!(raw.answer().await.status, 200);
    assert_eq!(raw.answer().await.status, 200);
    raw.closed().await;
}

#[tokio::test]
async fn a_large_answer_is_sent_to_its_end() {
    let server = Server::with(|config, limits| {
        patient(config, limits);
        limits.max_texts = 500_000;
    })
    .await;
    let mut raw = server.raw().await;
    raw.post("", texts(&vec!["kept"; 500_000]).to_string())
        .await;
    raw.finish().await;
    // Until all buffers between the two are full.
    tokio::time::sleep(SHORT).await;
    let answer = raw.answer().await;
    assert!(answer.body.len() > 15_000_000);
    assert!(answer.body.ends_with("]]}"));
    raw.closed().await;
}

#[tokio::test]
async fn a_client_that_has_gone_is_not_worked_for() {
    let server = Server::with(|config, _| config.connections.half_close = SHORT).await;
    let mut raw = server.raw().await;
    raw.post("", r#"{"text": ["hold"]}"#).await;
    server.fake.held().await;
    raw.finish().await;
    server.ended(1).await;
    raw.closed().await;
}

#[tokio::test]
async fn an_unfinished_request_is_not_waited_for() {
    let server = Server::with(|config, limits| {
        patient(config, limits);
        config.connections.header_timeout = PATIENCE * 10;
        config.connections.half_close = SHORT;
        config.body_timeout(PATIENCE * 10);
    })
    .await;
    let body = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{";
    for begun in ["", "P", "GET /health HTTP/1.1\r\nho", body] {
        let mut raw = server.raw().await;
        raw.send(begun).await;
        raw.finish().await;
        raw.closed().await;
    }
}

#[tokio::test]
async fn a_client_that_neither_sends_nor_reads_is_cut_off() {
    let server = Server::with(|config, limits| {
        config.connections.header_timeout = SHORT;
        config.connections.idle_timeout = SHORT;
        limits.max_texts = 500_000;
    })
    .await;
    let mut raw = server.raw().await;
    raw.post("", texts(&vec!["kept"; 500_000]).to_string())
        .await;
    raw.finish().await;
    let open = async |connections: f64| {
        let name = "fastsentiment_http_connections";
        while (server.metric(name) - connections).abs() > 1e-9 {
            tokio::time::sleep(SHORT / 100).await;
        }
    };
    timeout(PATIENCE, open(1.0)).await.unwrap();
    timeout(PATIENCE, open(0.0)).await.unwrap();
}
