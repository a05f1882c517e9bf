//! The admin listener of a server process: metrics, and the state of the server
//! from its start to its end; and what it is for, the versions.

mod models;
mod names;
mod own_token;
pub(crate) mod swapping;
mod terminal;
mod tokens;

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, copy_of, fixture, guest_path, onnxruntime};
use crate::limits::hostile_path;
use crate::server_process::{Answer, ServerProcess, answer, subcommand_with, terminate};

fn client() -> reqwest::Client {
    let client = testing::client().timeout(PATIENCE);
    client.build().unwrap()
}

async fn get(url: String) -> Answer {
    answer(client().get(url)).await
}

/// Waits until the readiness at an address is as described, in words of its
/// answer.
async fn ready(url: &str, status: u16, words: &str) {
    let ready = async {
        loop {
            let answer = get(url.to_owned()).await;
            if answer.status == status && answer.body.contains(words) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = timeout(PATIENCE, ready).await;
    waited.unwrap_or_else(|_| panic!("{url} does not become {words}"));
}

/// A request whose body the server has asked for, and so is in flight.
async fn begin(server: &ServerProcess, body: &str) -> TcpStream {
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    let read = timeout(PATIENCE, connection.read_exact(&mut asked)).await;
    read.unwrap().unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100 "));
    connection
}

#[tokio::test]
async fn metrics_count_what_the_server_does() {
    let server = ServerProcess::start(&fixture("tiny-bert"));
    assert!(server.greeting.contains(&server.admin_url("/metrics")));
    let texts = ["a", "b", "c"].map(str::to_owned);
    server.predict(&texts).await;
    for (name, value) in [
        (r#"http_requests_total{route="/predict",status="200"}"#, 1.0),
        (r#"predict_texts_total{outcome="ok"}"#, 3.0),
        (r#"predict_requests_total{outcome="cancelled"}"#, 0.0),
        ("queue_texts", 0.0),
    ] {
        let found = server.metric(&format!("fastsentiment_{name}")).await;
        assert!((found - value).abs() < 1e-9, "{name}: {found}");
    }
    let metrics = get(server.admin_url("/metrics")).await;
    let format = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(metrics.headers["content-type"], format);
    // The main listener does not tell them.
    assert_eq!(get(server.url("/metrics")).await.status, 404);
}

#[tokio::test]
async fn the_admin_listener_answers_as_the_main_one_does() {
    let server = ServerProcess::start(&fixture("tiny-bert"));
    for (path, status) in [
        ("/health", 200),
        ("/health/live", 200),
        ("/health/ready", 200),
        ("/predict", 404),
        ("/", 404),
    ] {
        let answer = get(server.admin_url(path)).await;
        assert_eq!(answer.status, status, "{path}");
        let kind = answer.headers["content-type"].to_str().unwrap();
        assert_eq!(kind == "application/problem+json", status == 404);
    }
    let post = answer(client().post(server.admin_url("/metrics")).body("x")).await;
    assert_eq!(post.status, 405);
    assert_eq!(post.headers["allow"], "GET, HEAD, OPTIONS");
    let head = answer(client().head(server.admin_url("/metrics"))).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn the_admin_listener_can_be_switched_off() {
    let mut server = ServerProcess::with(&fixture("tiny-bert"), &["--admin-listen", ""]);
    assert!(server.greeting.contains("  metrics      off\n"));
    server.predict(&["a".to_owned()]).await;
    server.terminate();
    assert_eq!(server.ended().code(), Some(0));
}

/// From the signal to the end: not ready at once, work in flight finished, and
/// the admin listener there until it is.
#[tokio::test]
async fn a_server_that_drains_says_so_and_finishes_its_work() {
    let mut server = ServerProcess::start(&fixture("tiny-bert"));
    let ready_url = server.admin_url("/health/ready");
    ready(&ready_url, 200, "ready").await;
    let body = r#"{"text": ["Loved it."]}"#;
    let mut request = begin(&server, body).await;
    server.terminate();
    ready(&ready_url, 503, "problem:draining").await;
    let refused = async {
        while TcpStream::connect(server.address()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    // With the main listener gone, this one still answers.
    assert_eq!(get(server.admin_url("/health/live")).await.status, 200);
    assert_eq!(get(ready_url).await.status, 503);
    assert!((server.metric("fastsentiment_http_requests_in_flight").await - 1.0).abs() < 1e-9);

    request.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, request.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(server.ended().code(), Some(0));
}

#[tokio::test]
async fn a_drain_can_wait_for_load_balancers_and_be_cut_short() {
    let delay = ["--drain-delay-ms", "3600000"];
    let mut server = ServerProcess::with(&fixture("tiny-bert"), &delay);
    server.terminate();
    // Both listeners say it, and requests are still taken.
    ready(&server.admin_url("/health/ready"), 503, "draining").await;
    ready(&server.url("/health/ready"), 503, "draining").await;
    server.predict(&["a".to_owned()]).await;
    server.terminate();
    assert_eq!(server.ended().code(), Some(1));
    assert!(server.log().contains("stopping at once"));
}

/// The guest sleeps in `prepare`.
#[tokio::test]
async fn a_server_that_loads_is_starting_and_can_be_stopped() {
    let dir = copy_of("tiny-bert");
    std::fs::write(dir.path().join("order"), "do sleep").unwrap();
    let log = NamedTempFile::new().unwrap();
    let mut command = subcommand_with("serve", dir.path(), hostile_path(), &onnxruntime());
    command.args(["--log", "info,fastsentiment=debug"]);
    command.stdout(Stdio::piped()).stderr(log.reopen().unwrap());
    let mut child = command.spawn().unwrap();
    let address = async {
        loop {
            let log = std::fs::read_to_string(log.path()).unwrap();
            let found = log.lines().find_map(|line| {
                let (_, url) = line.split_once("metrics and health are at ")?;
                Some(url.trim().to_owned())
            });
            match found {
                Some(url) => return url,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let url = timeout(PATIENCE, address).await.unwrap();
    let missing = r#""missing":["guest"]"#;
    ready(&format!("{url}/health/ready"), 503, missing).await;
    ready(&format!("{url}/health/ready"), 503, "problem:starting").await;
    let live: Value = get(format!("{url}/health/live")).await.json();
    assert_eq!(live["status"], "ok");
    assert_eq!(get(format!("{url}/metrics")).await.status, 200);
    for path in ["/version", "/versions"] {
        let answer = get(format!("{url}{path}")).await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(answer.json()["type"], "urn:fastsentiment:problem:starting");
    }
    let file = guest_path().to_str().unwrap();
    let swap = swapping::command(&["swap", file, "--admin", &url]).output();
    let swap = swap.unwrap();
    assert_eq!(swap.status.code(), Some(1));
    let said = String::from_utf8(swap.stderr).unwrap();
    assert!(said.contains("still being loaded"), "{said}");

    // A step of the load is not interrupted, unless the server is told again.
    terminate(&child);
    ready(&format!("{url}/health/ready"), 503, "problem:draining").await;
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut greeting = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "");
}
