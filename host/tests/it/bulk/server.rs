//! Bulk requests to a server process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::harness::fixture;
use crate::limits::resident_mib;
use crate::server_process::ServerProcess;
use testing::exchange::{Body, Exchange, Next};

fn start() -> ServerProcess {
    ServerProcess::with(&fixture("tiny-bert"), &["--cache-mib", "1"])
}

/// A long line with a short text, so that many bytes are little work.
fn line(number: usize) -> String {
    let padding = "x".repeat(1500);
    format!("{{\"padding\": \"{padding}\", \"text\": \"film {number}\"}}\n")
}

/// Sends lines until the server closes the connection.
fn flood(mut to: Body) -> Arc<AtomicUsize> {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    tokio::spawn(async move {
        for number in 0.. {
            if to.send(&line(number)).await.is_err() {
                return;
            }
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    sent
}

fn is_prediction(line: &Value) -> bool {
    line["predictions"][0]["label"].is_string()
}

#[tokio::test]
async fn memory_does_not_grow_with_the_number_of_lines() {
    const LINES: usize = 30_000;
    let server = start();
    let Exchange { mut to, mut from } = Exchange::open(server.address(), "").await;
    let sending = tokio::spawn(async move {
        for number in 0..LINES {
            to.send(&line(number % 20_000)).await.unwrap();
        }
        to.finish().await;
        to
    });
    from.started().await;
    let mut warm = None;
    for number in 0..LINES {
        let answer = from.line().await;
        assert!(is_prediction(&answer), "{number}: {answer}");
        if number == LINES / 10 {
            warm = resident_mib(server.id());
        }
    }
    assert_eq!(from.next().await, Next::End);
    sending.await.unwrap();
    // All lines together are 45 MiB.
    let Some((warm, after)) = warm.zip(resident_mib(server.id())) else {
        return;
    };
    assert!(after < warm + 24, "{warm} MiB became {after} MiB");
}

#[tokio::test]
async fn other_requests_are_answered_meanwhile() {
    let server = start();
    let Exchange { to, mut from } = Exchange::open(server.address(), "").await;
    flood(to);
    from.started().await;
    let mut seen = Vec::new();
    let mut answered = 0;
    for round in 0..30 {
        let asked = [format!("film {round}"), format!("asked {round}")];
        let answers = server.predict(&asked).await;
        // A client that reads slowly delays only itself.
        if round % 3 == 0 {
            let bulk = from.line().await;
            if answered == round {
                assert_eq!(bulk["predictions"], answers[0]);
            }
            answered += 1;
        }
        seen.push(answers);
    }
    while answered < 30 {
        let answer = from.line().await;
        assert_eq!(answer["predictions"], seen[answered][0]);
        answered += 1;
    }
    let in_flight = "fastsentiment_bulk_requests_in_flight";
    assert!((server.metric(in_flight).await - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_stopping_server_ends_the_answer_after_a_line() {
    let mut server = start();
    let Exchange { to, mut from } = Exchange::open(server.address(), "").await;
    let sent = flood(to);
    from.started().await;
    for _ in 0..100 {
        assert!(is_prediction(&from.line().await));
    }
    server.terminate();
    let mut answered = 100;
    let last = loop {
        let answer = from.line().await;
        if !is_prediction(&answer) {
            break answer;
        }
        answered += 1;
    };
    assert_eq!(last["error"]["type"], "urn:fastsentiment:problem:draining");
    assert_eq!(last["error"]["after_line"], json!(answered));
    assert_eq!(from.next().await, Next::End);
    assert!(sent.load(Ordering::Relaxed) >= answered);
    drop(from);
    assert_eq!(server.ended().code(), Some(0));
}
