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

const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn connections_beyond_the_bound_wait_while_all_others_are_busy() {
    let server = Server::with(|config, _| config.connections.max_connections = 1).await;
    let mut first = server.raw().await;
    first.post("", texts(&["hold"]).to_string()).await;
    server.fake.held().await;
    let mut second = server.raw().await;
    second.send(HEALTH).await;
    assert!(timeout(SHORT, second.0.readable()).await.is_err());
    server.fake.release.add_permits(1);
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(second.answer().await.status, 200);
    first.closed().await;
}

#[tokio::test]
async fn the_longest_idle_connection_gives_way_to_a_new_one() {
    let server = Server::with(|config, _| config.connections.max_connections = 4).await;
    let mut busy = server.raw().await;
    busy.post("", texts(&["hold"]).to_string()).await;
    server.fake.held().await;
    let mut silent = server.raw().await;
    let mut kept = server.raw().await;
    kept.send(HEALTH).await;
    assert_eq!(kept.answer().await.status, 200);
    let client = http2();
    let ask = || client.get(server.url("/health")).send();
    assert_eq!(ask().await.unwrap().status(), 200);
    let mut latest = Vec::new();
    for gone in [Some(&mut silent), Some(&mut kept), None] {
        let mut new = server.raw().await;
        new.send(HEALTH).await;
        assert_eq!(new.answer().await.status, 200);
        if let Some(gone) = gone {
            gone.closed().await;
        }
        latest.push(new);
    }
    // It was told, and connects again.
    assert_eq!(ask().await.unwrap().status(), 200);
    latest[0].closed().await;
    server.fake.release.add_permits(1);
    assert_eq!(busy.answer().await.status, 200);
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

/// One byte of each is enough to hold memory for all of them.
#[tokio::test]
async fn bodies_that_do_not_arrive_make_room_for_others() {
    let server = Server::with(|config, _| {
        config.http.body_memory = 8 << 20;
        config.http.max_body_bytes = 4 << 20;
    })
    .await;
    let mut slow = Vec::new();
    for (coding, first) in [
        ("br", 0x0b),
        ("gzip", 0x1f),
        ("zstd", 0x28),
        ("identity", b'{'),
    ] {
        for _ in 0..20 {
            let mut raw = server.raw().await;
            let coding = match coding {
                "identity" => String::new(),
                coding => format!("content-encoding: {coding}\r\n"),
            };
            let head = format!("POST /predict HTTP/1.1\r\nhost: x\r\n{coding}");
            let head = head + "content-length: 100000\r\n\r\n";
            raw.send([head.as_bytes(), &[first]].concat()).await;
            slow.push(raw);
        }
    }
    for _ in 0..60 {
        let mut bulk = server.raw().await;
        bulk.send(
            "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n\
             transfer-encoding: chunked\r\n\r\n1\r\n\"\r\n",
        )
        .await;
        slow.push(bulk);
    }
    tokio::time::sleep(SHORT / 5).await;
    let large = texts(&["a".repeat(100_000).as_str(); 30]).to_string();
    for client in [http1(), http2()] {
        for body in [texts(&["a"]).to_string(), large.clone()] {
            let answer = client.post(server.url("/predict")).body(body);
            assert_eq!(answer.send().await.unwrap().status(), 200);
        }
    }
    // Whoever made room is told so.
    let evicted = slow.iter_mut().map(|raw| async {
        let answer = timeout(SHORT, raw.answer()).await.ok()?;
        assert_eq!(answer.status, 503);
        // Others came when there was no room, and nobody was slow yet.
        Some(answer.body.contains("arrive faster"))
    });
    let evicted = futures_util::future::join_all(evicted).await;
    assert!(evicted.contains(&Some(true)));
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    let long = "y".repeat(128 * 1024);
    raw.send(format!("GET /health HTTP/1.1\r\nx: {long}")).await;
    assert_eq!(raw.answer().await.status, 431);
}

/// So that refusals do not take the cores from what others wait for.
#[tokio::test]
async fn who_asks_again_and_again_though_refused_is_read_later() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    let overloaded = r#"{"text": ["overloaded"]}"#;
    let begun = Instant::now();
    for _ in 0..7 {
        raw.post("", overloaded).await;
        assert_eq!(raw.answer().await.status, 503);
    }
    let pauses = [0, 0, 10, 20, 30, 40, 50].map(Duration::from_millis);
    assert!(
        begun.elapsed() >= pauses.iter().sum::<Duration>(),
        "{begun:?}"
    );
}
