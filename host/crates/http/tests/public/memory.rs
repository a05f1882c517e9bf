//! The bodies of all requests together are bounded.

use super::*;

/// A body that takes most of the memory there is.
const LARGE: usize = 40 * 1024;

/// A server with room for one large body and little more.
async fn narrow() -> Server {
    Server::with(|config, _| {
        config.http.body_memory = 64 * 1024;
        config.http.max_body_bytes = 48 * 1024;
        config.body_timeout(PATIENCE);
    })
    .await
}

fn large(text: &str) -> String {
    format!("{:LARGE$}", texts(&[text]).to_string())
}

/// Waits until a large body is taken, which it is not before the room of
/// another one has been given back.
async fn taken(server: &Server) {
    let taken = async {
        let mut raw = server.raw().await;
        loop {
            raw.post("", large("a")).await;
            match raw.answer().await.status {
                200 => return,
                status => assert_eq!(status, 503),
            }
        }
    };
    timeout(PATIENCE, taken).await.expect("the room is lost");
}

#[tokio::test]
async fn what_there_is_no_room_for_is_refused_at_once() {
    let server = narrow().await;
    let mut first = server.raw().await;
    first.post("", large("hold")).await;
    server.fake.held().await;

    // Nothing of the body is ever sent, or asked for.
    for expect in ["", "expect: 100-continue\r\n"] {
        let mut second = server.raw().await;
        second
            .send(format!(
                "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGE}\r\n{expect}\r\n"
            ))
            .await;
        let answer = second.answer().await;
        assert_eq!(answer.status, 503);
        assert!(answer.head.contains("retry-after: 1\r\n"));
        let problem = answer.json();
        assert_eq!(problem["type"], "urn:fastsentiment:problem:overloaded");
    }
    // A body whose length is not announced is refused on the way.
    let mut third = server.raw().await;
    third
        .send("POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    third
        .send(format!("{LARGE:x}\r\n{}\r\n", " ".repeat(LARGE)))
        .await;
    assert_eq!(third.answer().await.status, 503);
    // There is still room for a small one.
    let mut small = server.raw().await;
    small.post("", r#"{"text": ["a"]}"#).await;
    assert_eq!(small.answer().await.status, 200);

    server.fake.release.add_permits(1);
    assert_eq!(first.answer().await.status, 200);
    taken(&server).await;
}

#[tokio::test]
async fn an_announcement_takes_no_room() {
    let server = narrow().await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        let mut raw = server.raw().await;
        raw.send(format!(
            "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGE}\r\n\r\n"
        ))
        .await;
        silent.push(raw);
    }
    taken(&server).await;
}

/// However a request ends, its room is given back.
#[tokio::test]
async fn room_is_given_back_in_all_cases() {
    let server = narrow().await;
    let mut raw = server.raw().await;
    for (body, headers, status) in [
        (large("a"), "", 200),
        (large("panic"), "", 500),
        (large("failed"), "", 500),
        (large("overloaded"), "", 503),
        (large("hold"), "x-fastsentiment-timeout-ms: 50\r\n", 504),
        (format!("{:LARGE$}", "{}"), "", 422),
        (format!("{:LARGE$}", "secret"), "", 400),
        (" ".repeat(49 * 1024), "", 413),
    ] {
        raw.post(headers, body).await;
        assert_eq!(raw.answer().await.status, status);
        // At once: the answer comes after the room is given back.
        raw.post("", large("a")).await;
        assert_eq!(raw.answer().await.status, 200, "after a {status}");
    }

    // A client that leaves while its body is read, and one that leaves while
    // its answer is made.
    let mut raw = server.raw().await;
    raw.send(format!(
        "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGE}\r\n\r\n{}",
        " ".repeat(LARGE - 1)
    ))
    .await;
    drop(raw);
    taken(&server).await;
    let mut raw = server.raw().await;
    raw.post("", large("hold")).await;
    server.fake.held().await;
    drop(raw);
    taken(&server).await;
}
