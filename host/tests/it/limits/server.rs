//! A server whose guest does all the harm it can, while others are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{hostile_path, number};
use crate::harness::{PATIENCE, artifacts, default_model, onnxruntime};
use crate::server_process::{ServerProcess, bare};

/// What the guest is told, the outcome that is counted, and the status that
/// its client gets.
const ORDERS: [(&str, &str, u16); 40] = [
    ("loop", "timed_out", 504),
    ("sleep", "timed_out", 504),
    ("print for ever", "timed_out", 504),
    ("print lines for ever", "timed_out", 504),
    ("compute often and much", "timed_out", 504),
    ("take memory", "out_of_memory", 500),
    ("recurse", "trapped", 500),
    ("panic: at the disco", "trapped", 500),
    ("abort", "trapped", 500),
    ("exit: 0", "exited", 500),
    ("answer once more", "bad_answer", 500),
    ("score: NaN", "bad_answer", 500),
    ("score: inf", "bad_answer", 500),
    ("score: -1", "bad_answer", 500),
    ("label: 1025", "bad_answer", 500),
    ("labels: 1001", "bad_answer", 500),
    ("label: 10000000", "trapped", 500),
    ("labels: 100000", "trapped", 500),
    ("refuse: 100000", "invalid_text", 422),
    ("fail: 100000", "failed", 500),
    ("many random bytes", "trapped", 500),
    ("print zeroes", "trapped", 500),
    ("keep timers", "trapped", 500),
    ("keep tensors", "trapped", 500),
    ("keep graphs", "trapped", 500),
    ("keep contexts", "trapped", 500),
    ("keep errors", "trapped", 500),
    ("read a file", "ok", 200),
    ("read the environment", "ok", 200),
    ("connect", "ok", 200),
    ("listen", "ok", 200),
    ("bind udp", "ok", 200),
    ("load a graph", "ok", 200),
    ("compute wrong names", "ok", 200),
    ("compute wrong types", "ok", 200),
    ("compute wrong shapes", "ok", 200),
    ("compute zero dimensions", "ok", 200),
    ("compute dimensions that overflow", "ok", 200),
    ("compute too many tokens", "ok", 200),
    ("make many tensors", "ok", 200),
];

/// This one takes so much longer beside others than alone that it may time out.
const LARGEST: &str = "compute as much as is allowed";

/// Orders under way at once: one worker fewer than there are.
const AT_ONCE: usize = 3;
const ROUNDS: usize = 3;
const CLIENTS: usize = 4;

/// Everything, and what the guest prints, which is logged at the lowest level only.
const LOG: &str = "fastsentiment=debug,fastsentiment::guest::output=trace";

fn start() -> ServerProcess {
    let mut command = bare();
    command
        .args(["serve", "--log", LOG])
        .args(["--workers", "4", "--batch-tokens", "1"])
        .args(["--cache-mib", "0", "--guest-memory-mib", "64"])
        .args(["--guest-timeout-ms", "6000", "--deadline-ms", "240000"])
        .arg("--model")
        .arg(default_model())
        .arg("--guest")
        .arg(hostile_path())
        .arg("--onnxruntime")
        .arg(onnxruntime())
        .arg("--artifacts")
        .arg(artifacts());
    ServerProcess::spawn(&mut command)
}

/// The memory of a process that is present, in MiB.
#[cfg(target_os = "linux")]
pub(crate) fn resident_mib(id: u32) -> Option<u64> {
    memory_mib(id, "VmRSS:")
}

/// An amount of memory of a process, by its name in `/proc`, in MiB.
#[cfg(target_os = "linux")]
pub(super) fn memory_mib(id: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name));
    let kib: u64 = line.unwrap().split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn resident_mib(_: u32) -> Option<u64> {
    None
}

/// Asks for one text after the other until it is told to stop, and holds every
/// answer to what it has to be. Gives their number.
async fn ask(server: Arc<ServerProcess>, client: usize, stop: Arc<AtomicBool>) -> u64 {
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        let texts = [0, 1].map(|text| format!("text {text} of request {asked} of {client}"));
        let predictions = server.predict(&texts).await;
        for (text, scores) in texts.iter().zip(&predictions) {
            assert_eq!(scores[0]["label"], "GOOD", "{text}: {scores}");
            let expected = f64::from(number(text)) / 1000.0;
            let score = scores[0]["score"].as_f64().unwrap();
            assert!((score - expected).abs() < 1e-6, "{text}: {scores}");
        }
        asked += 1;
    }
    asked
}

/// Gives every order once; the largest run of the model comes last. Tells
/// whether that was in time.
async fn round(server: &Arc<ServerProcess>) -> bool {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut orders = JoinSet::new();
    for (order, _, status) in ORDERS {
        let (server, turns) = (Arc::clone(server), Arc::clone(&turns));
        orders.spawn(async move {
            let _turn = turns.acquire_owned().await.unwrap();
            let answer = server.post(&[format!("do {order}")]).await;
            assert_eq!(answer.status, status, "{order}: {}", answer.body);
            // What a client is told is short, and names nothing of the inside.
            assert!(answer.body.len() < 4000, "{order}: {}", answer.body);
            for inside in ["wasm", "panicked", "disco"] {
                assert!(!answer.body.contains(inside), "{order}: {}", answer.body);
            }
        });
    }
    while let Some(order) = orders.join_next().await {
        order.unwrap();
    }
    let answer = server.post(&[format!("do {LARGEST}")]).await;
    assert!([200, 504].contains(&answer.status), "{}", answer.body);
    answer.status == 200
}

#[tokio::test]
async fn whatever_a_guest_does_others_are_served_and_memory_returns() {
    let server = Arc::new(start());
    let outcome = |outcome: &str| {
        let name = format!("fastsentiment_guest_calls_total{{outcome=\"{outcome}\"}}");
        let server = Arc::clone(&server);
        async move { server.metric(&name).await }
    };
    let answered = Arc::new(AtomicU64::new(0));
    let mut in_time = 0;
    let mut memory = Vec::new();
    let before = outcome("ok").await;
    for _ in 0..ROUNDS {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(ask(Arc::clone(&server), client, Arc::clone(&stop)));
        }
        in_time += usize::from(round(&server).await);
        stop.store(true, Ordering::Relaxed);
        while let Some(asked) = clients.join_next().await {
            let asked = asked.unwrap();
            assert!(asked > 0, "a client was not served");
            answered.fetch_add(asked, Ordering::Relaxed);
        }
        memory.extend(resident_mib(server.id()));
    }

    // Everything was counted, as what it was.
    let good = answered.load(Ordering::Relaxed) as f64 * 2.0;
    for (_, name, _) in ORDERS {
        let orders = ORDERS.iter().filter(|order| order.1 == name).count() * ROUNDS;
        let expected = match name {
            "ok" => before + good + (orders + in_time) as f64,
            "timed_out" => (orders + ROUNDS - in_time) as f64,
            _ => orders as f64,
        };
        assert!((outcome(name).await - expected).abs() < 0.5, "{name}");
    }
    println!(
        "{} requests served; MiB after each round: {memory:?}",
        good / 2.0
    );
    // Threads and instances keep a little for their next call, and not each of
    // them has met everything in the first round. What one order takes while it
    // runs is up to ten times this much.
    if let (Some(first), Some(last)) = (memory.first(), memory.last()) {
        assert!(*last <= first + 48, "{memory:?}");
    }

    // What the guest prints is in the log, a little of it, and nowhere else. It
    // may have printed too much of late.
    let printed = async {
        while !server.log().contains(r"\u{1b}[31mred") {
            let said = server
                .post(&["do say: \x1b[31mred\nforged".to_owned()])
                .await;
            assert_eq!(said.status, 200, "{}", said.body);
        }
    };
    tokio::time::timeout(PATIENCE, printed).await.unwrap();
    let log = server.log();
    assert!(log.contains("fastsentiment::guest::output: "), "{log}");
    assert!(!log.contains('\x1b'), "{log}");
    assert!(log.contains("at the disco"), "{log}");
    assert!(log.len() < 1 << 20, "{} bytes of log", log.len());
    let mut server = Arc::into_inner(server).unwrap();
    server.terminate();
    assert_eq!(server.ended().code(), Some(0), "{}", server.log());
    assert_eq!(server.rest_of_output(), "");
}
