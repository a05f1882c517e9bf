//! Bulk requests: lines of JSON in, a line for each of them out.

use serde_json::json;

use super::*;
use testing::exchange::{Exchange, Next};

async fn open(server: &Server, headers: &str) -> Exchange {
    Exchange::open(&server.address.to_string(), headers).await
}

/// The line of a text of this score.
fn scored(score: f64) -> Value {
    json!({"predictions": [{"label": "LENGTH", "score": score}]})
}

fn problem(line: &Value) -> &str {
    let name = line["error"]["type"].as_str().unwrap();
    name.strip_prefix("urn:fastsentiment:problem:").unwrap()
}

#[tokio::test]
async fn answers_come_in_order_and_as_they_are_made() {
    let server = Server::start().await;
    let mut bulk = open(&server, "").await;
    bulk.send("\"a\"\n").await;
    bulk.started().await;
    assert_eq!(bulk.line().await, scored(1.0));
    // However the body is cut into pieces; and what is quick waits for its turn.
    bulk.send("{\"text\": \"ho").await;
    bulk.send("ld\"}\r\n\n{\"id\": 7, \"text\": \"22\"}\n\"kept\"")
        .await;
    server.fake.held().await;
    bulk.finish().await;
    assert!(
        timeout(SHORT, bulk.from.read()).await.is_err(),
        "out of turn"
    );
    server.fake.release.add_permits(1);
    for score in [4.0, 22.0, 4.0] {
        assert_eq!(bulk.line().await, scored(score));
    }
    assert_eq!(bulk.next().await, Next::End);
    // The connection can be used again.
    bulk.to
        .0
        .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(bulk.from.head().await.0, 200);
}

#[tokio::test]
async fn no_lines_get_none() {
    let server = Server::start().await;
    for body in ["", "\n\r\n \n"] {
        let client = http1().post(server.url("/predict"));
        let client = client.header("content-type", "application/x-ndjson");
        let answer = client.body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.unwrap(), "");
    }
}

#[tokio::test]
async fn a_bad_line_is_named_and_costs_no_other() {
    let server = Server::with(|_, limits| limits.max_text_bytes = 16).await;
    let mut bulk = open(&server, "").await;
    let huge = "x".repeat(100_000);
    bulk.send("\"1\"\n\n[\"secret\"]\nnonsense\n\"longer than sixteen\"\n")
        .await;
    bulk.started().await;
    bulk.send(&format!("{huge}{huge}")).await;
    bulk.send("\n\"7\"\n\"invalid\"\n\"unavailable\"\n{\"text\": 5}\n\"11\"\n\"failed\"\n")
        .await;
    bulk.finish().await;
    assert_eq!(bulk.line().await, scored(1.0));
    for (kind, status, line) in [
        ("invalid-body", 422, 3),
        ("invalid-json", 400, 4),
        ("text-too-long", 422, 5),
        ("line-too-long", 413, 6),
    ] {
        let answer = bulk.line().await;
        assert_eq!(problem(&answer), kind);
        assert_eq!(answer["error"]["status"], status);
        assert_eq!(answer["error"]["line"], line, "{answer}");
        assert!(!answer.to_string().contains("secret"), "{answer}");
    }
    assert_eq!(bulk.line().await, scored(7.0));
    for (kind, line) in [
        ("invalid-text", 8),
        ("unavailable", 9),
        ("invalid-body", 10),
    ] {
        let answer = bulk.line().await;
        assert_eq!(
            (problem(&answer), &answer["error"]["line"]),
            (kind, &json!(line))
        );
        if line != 9 {
            assert_eq!(answer["error"]["errors"][0]["pointer"], "/text");
        }
    }
    assert_eq!(bulk.line().await, scored(11.0));
    let failed = bulk.line().await;
    assert_eq!(problem(&failed), "failed");
    assert!(!failed.to_string().contains("secret"), "{failed}");
    assert_eq!(bulk.next().await, Next::End);
    for (outcome, texts) in [("ok", 3.0), ("text_too_long", 1.0), ("failed", 1.0)] {
        let name = format!("fastsentiment_predict_texts_total{{outcome=\"{outcome}\"}}");
        assert!((server.metric(&name) - texts).abs() < 1e-9, "{name}");
    }
    let name = r#"fastsentiment_predict_requests_total{outcome="ok"}"#;
    assert!((server.metric(name) - 1.0).abs() < 1e-9);
    assert!(server.metric("fastsentiment_bulk_requests_in_flight").abs() < 1e-9);
}

#[tokio::test]
async fn a_panic_ends_no_exchange() {
    let server = Server::start().await;
    let mut bulk = open(&server, "").await;
    bulk.send("\"panic\"\n").await;
    bulk.started().await;
    assert_eq!(problem(&bulk.line().await), "failed");
    bulk.send("\"3\"\n").await;
    assert_eq!(bulk.line().await, scored(3.0));
}

#[tokio::test]
async fn what_is_wrong_before_the_first_answer_is_a_problem() {
    let server = Server::with(|config, _| config.body_timeout(SHORT)).await;
    for (headers, body, status, kind) in [
        (
            "content-encoding: deflate\r\n",
            "\"a\"\n",
            415,
            "unsupported-content-encoding",
        ),
        (
            "x-fastsentiment-timeout-ms: 0\r\n",
            "\"a\"\n",
            400,
            "invalid-header",
        ),
        ("", "\"overloaded\"\n", 503, "overloaded"),
        // Never a whole line.
        ("", "\"a\"", 408, "body-timeout"),
    ] {
        let mut bulk = open(&server, headers).await;
        bulk.send(body).await;
        let (head, problem) = bulk.from.refused(status).await;
        assert!(head.contains("content-type: application/problem+json\r\n"));
        assert_eq!(problem["type"], format!("urn:fastsentiment:problem:{kind}"));
        assert_eq!(head.contains("retry-after: 3\r\n"), kind == "overloaded");
    }
    let name = r#"fastsentiment_predict_requests_total{outcome="overloaded"}"#;
    assert!((server.metric(name) - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn exchanges_take_room_and_give_it_back() {
    let server = Server::with(|config, _| {
        config.http.max_body_bytes = 1024;
        config.http.body_memory = 1 << 20;
    })
    .await;
    let mut bulk = open(&server, "").await;
    bulk.send("\"1\"\n\"hold\"\n").await;
    bulk.started().await;
    server.fake.held().await;
    let mut second = open(&server, "").await;
    second.send("\"a\"\n").await;
    let (_, problem) = second.from.refused(503).await;
    assert_eq!(problem["type"], "urn:fastsentiment:problem:overloaded");
    // One that has nothing in progress takes next to nothing.
    let mut third = open(&server, "").await;
    third.send("\"").await;
    server.fake.release.add_permits(1);
    bulk.finish().await;
    assert_eq!(bulk.line().await, scored(1.0));
    assert_eq!(bulk.line().await, scored(4.0));
    assert_eq!(bulk.next().await, Next::End);
    third.send("a\"\n").await;
    third.started().await;
    assert_eq!(third.line().await, scored(1.0));
    drop(third);
    let taken = async {
        loop {
            let mut third = open(&server, "").await;
            third.send("\"a\"\n").await;
            if third.from.head().await.0 == 200 {
                return;
            }
        }
    };
    timeout(PATIENCE, taken).await.expect("the room is lost");
}

#[tokio::test]
async fn a_client_that_leaves_is_not_worked_for() {
    let server = Server::with(|config, _| config.connections.half_close = SHORT).await;
    let mut bulk = open(&server, "").await;
    bulk.send("\"1\"\n\"hold\"\n\"hold\"\n").await;
    bulk.started().await;
    assert_eq!(bulk.line().await, scored(1.0));
    server.fake.held().await;
    drop(bulk);
    server.ended(1).await;
    let name = r#"fastsentiment_predict_requests_total{outcome="cancelled"}"#;
    let counted = async {
        while server.metric(name) < 1.0 {
            tokio::time::sleep(SHORT / 100).await;
        }
    };
    timeout(PATIENCE, counted).await.unwrap();
    assert!(server.metric("fastsentiment_bulk_requests_in_flight").abs() < 1e-9);
}

#[tokio::test]
async fn no_more_is_read_than_is_under_way() {
    let server = Server::start().await;
    let mut bulk = open(&server, "").await;
    let part = "\"hold\"\n".repeat(1000);
    let sent = bulk.to.fill(&part).await;
    assert!(sent > 1, "{sent}");
    // Chunks of 256 texts, of which four are under way.
    let chunks = server.fake.caching.lock().unwrap().len();
    assert!((1..=4).contains(&chunks), "{chunks}");
}

/// The client sends and does not read; then it reads, and finds all of it.
#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    let server = Server::start().await;
    let mut bulk = open(&server, "").await;
    let part = "\"kept\"\n".repeat(1000);
    let parts = bulk.to.fill(&part).await;
    bulk.started().await;
    for _ in 0..parts * 1000 {
        assert_eq!(bulk.line().await, scored(4.0));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let server = Server::with(|config, _| {
        config.body_timeout(SHORT);
        config.connections.idle_timeout = SHORT;
        config.connections.header_timeout = SHORT;
    })
    .await;
    let mut bulk = open(&server, "").await;
    let part = "\"kept\"\n".repeat(1000);
    while let Ok(Ok(())) = timeout(PATIENCE, bulk.to.send(&part)).await {}
    bulk.started().await;
    // It is told that the answer is not complete.
    let end = loop {
        match bulk.next().await {
            Next::Line(line) => assert_eq!(line, scored(4.0)),
            end => break end,
        }
    };
    assert_eq!(end, Next::Cut);
}

/// The natural call of most HTTP clients sends the whole body before it reads.
#[tokio::test]
async fn a_client_that_sends_everything_first_learns_where_the_answer_ends() {
    let server = Server::with(|config, _| config.body_timeout(SHORT * 4)).await;
    let mut bulk = open(&server, "").await;
    // More than the buffers of both sockets hold.
    let part = "\"kept\"\n".repeat(10_000);
    for _ in 0..500 {
        let sent = timeout(PATIENCE, bulk.to.send(&part)).await;
        sent.expect("the server stopped reading").unwrap();
    }
    bulk.finish().await;
    bulk.started().await;
    let mut answered = 0;
    let last = loop {
        let line = bulk.line().await;
        if line != scored(4.0) {
            break line;
        }
        answered += 1;
    };
    assert_eq!(problem(&last), "answer-not-read");
    assert_eq!(last["error"]["after_line"], answered);
    assert_eq!(bulk.next().await, Next::End);
}

#[tokio::test]
async fn who_waits_for_the_server_is_not_silent() {
    let server = Server::with(|config, _| config.body_timeout(SHORT)).await;
    let mut bulk = open(&server, "").await;
    bulk.send("\"1\"\n\"hold\"\n").await;
    bulk.started().await;
    assert_eq!(bulk.line().await, scored(1.0));
    server.fake.held().await;
    tokio::time::sleep(SHORT * 3).await;
    server.fake.release.add_permits(1);
    assert_eq!(bulk.line().await, scored(4.0));
    // Now it is its turn, and it lets it pass.
    let last = bulk.line().await;
    assert_eq!(problem(&last), "body-timeout");
    assert_eq!(last["error"]["after_line"], 2);
    assert!(last["error"]["line"].is_null());
    assert_eq!(bulk.next().await, Next::End);
}

#[tokio::test]
async fn a_server_that_stops_says_where_it_ended() {
    let mut server = Server::start().await;
    let mut bulk = open(&server, "").await;
    bulk.send("\"1\"\n\n\"hold\"\n\"4\"\n").await;
    bulk.started().await;
    assert_eq!(bulk.line().await, scored(1.0));
    server.fake.held().await;
    server.stop();
    server.refusing().await;
    // The listener closes just before the connections hear of it.
    tokio::time::sleep(SHORT).await;
    bulk.send("\"5\"\n\"6").await;
    server.fake.release.add_permits(1);
    for score in [4.0, 4.0] {
        assert_eq!(bulk.line().await, scored(score));
    }
    let last = bulk.line().await;
    assert_eq!(problem(&last), "draining");
    assert_eq!(last["error"]["status"], 503);
    assert_eq!(last["error"]["after_line"], 4);
    assert_eq!(bulk.next().await, Next::End);
    server.stopped().await;
}

#[tokio::test]
async fn a_broken_body_is_told_if_anybody_listens() {
    let server = Server::with(|config, _| config.connections.half_close = SHORT).await;
    let mut bulk = open(&server, "").await;
    bulk.send("\"1\"\n\"2").await;
    bulk.started().await;
    assert_eq!(bulk.line().await, scored(1.0));
    // No chunk begins like that.
    bulk.to.0.write_all(b"nonsense\r\n").await.unwrap();
    match bulk.next().await {
        Next::Line(last) => {
            assert_eq!(problem(&last), "incomplete-body");
            assert_eq!(last["error"]["after_line"], 1);
        }
        other => assert_eq!(other, Next::Cut),
    }
}

#[tokio::test]
async fn both_versions_of_http_and_all_ways_of_caching() {
    let server = Server::start().await;
    let body = (0..20_000).map(|score| format!("{{\"text\": \"{score}\"}}\n"));
    let body: String = body.collect();
    for client in [http1(), http2()] {
        let request = client.post(server.url("/predict")).body(body.clone());
        let request = request.header("content-type", "application/x-ndjson");
        let request = request.header("cache-control", "no-store");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let answer = answer.text().await.unwrap();
        for (score, line) in answer.lines().enumerate() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["predictions"][0]["score"], json!(score as f64));
        }
        assert_eq!(answer.lines().count(), 20_000);
    }
    let caching = server.fake.caching.lock().unwrap();
    assert!(caching.iter().all(|caching| *caching == Caching::Bypass));
    assert!(caching.len() >= 2 * 20_000 / 256, "{}", caching.len());
}
