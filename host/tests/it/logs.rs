//! The log of a running server: its lines name their request, programs can parse it, and it
//! contains nothing of the texts.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::harness::{PATIENCE, default_model, fixture};
use crate::limits::hostile_path;
use crate::server_process::{Answer, ServerProcess, answer, subcommand};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn client() -> reqwest::Client {
    let client = testing::client();
    client.timeout(PATIENCE).build().unwrap()
}

/// A server whose guest does what the texts say.
fn hostile(options: &[&str]) -> ServerProcess {
    let limits = [
        "--max-texts=8",
        "--max-text-bytes=500",
        "--max-body-bytes=8000",
    ];
    let all = [&limits[..], options].concat();
    ServerProcess::of_guest(&default_model(), hostile_path(), &all)
}

/// The lines of a JSON log.
fn lines(log: &str) -> Vec<Value> {
    let parsed = log.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{line}");
        }
        line
    });
    parsed.collect()
}

/// Waits for a line with this message and request id. Some lines are written just after the
/// response has ended.
async fn line(server: &ServerProcess, message: &str, id: &str) -> Value {
    let found = async {
        loop {
            let log = server.log();
            let whole = log.rfind('\n').map_or("", |end| &log[..end]);
            let mut all = lines(whole).into_iter();
            let wanted = |line: &Value| line["message"] == message && line["request_id"] == id;
            match all.find(wanted) {
                Some(line) => return line,
                None => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let found = timeout(PATIENCE, found).await;
    found.unwrap_or_else(|_| panic!("{message} of {id}: {}", server.log()))
}

async fn post(server: &ServerProcess, id: &str, content_type: &str, body: String) -> Answer {
    let request = client().post(server.url("/predict?q=zq-marker")).body(body);
    let request = request.header("content-type", content_type);
    answer(request.header("x-request-id", id)).await
}

const MARKER: &str = "zq-marker";

/// Sends valid requests, invalid ones, and some that the guest fails on. All contain
/// [`MARKER`].
async fn ask_everything(server: &ServerProcess) {
    let json = "application/json";
    let text = |text: String| json!({ "text": [text] }).to_string();
    let order = |order: &str| text(format!("do {order}{MARKER}"));
    let slow = format!("{MARKER} {}", "x".repeat(600));
    for (body, status) in [
        (
            text(format!("{MARKER} \u{202e}\u{1b}[31m \u{0}\r\n\" ŻÓŁW")),
            200,
        ),
        (text(MARKER.to_owned()), 200),
        (text(MARKER.to_owned()), 200),
        (format!("{{\"text\": [\"{MARKER}\""), 400),
        (format!("{MARKER}\""), 400),
        (format!("{{\"{MARKER}\": 1, \"text\": \"{MARKER}\"}}"), 422),
        (text(slow), 422),
        (json!({ "text": vec![MARKER; 9] }).to_string(), 422),
        (format!("\"{}\"", MARKER.repeat(1000)), 413),
        (order("say: "), 200),
        (order("panic: "), 500),
        (order("no such order "), 500),
        (order("fail with: "), 500),
        (order("refuse with: "), 422),
    ] {
        let answer = post(server, "good.or.bad", json, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
    }
    let wrong = post(server, "type", &format!("text/{MARKER}"), MARKER.to_owned()).await;
    assert_eq!(wrong.status, 415);
    let body = [
        json!(MARKER).to_string(),
        format!("{{\"text\": \"{MARKER}"),
        json!({ "text": { MARKER: MARKER } }).to_string(),
        json!(format!("do panic: {MARKER}")).to_string(),
        json!(format!("do refuse with: {MARKER}")).to_string(),
    ];
    let streamed = post(server, "stream", "application/x-ndjson", body.join("\n")).await;
    assert_eq!(streamed.body.lines().count(), 5, "{}", streamed.body);
    let late = client().post(server.url("/predict"));
    let late = late.header("x-fastsentiment-timeout-ms", "50");
    let late = late.body(json!({"text": [MARKER, "do loop"]}).to_string());
    assert_eq!(answer(late).await.status, 504);
    // Clients may put anything into headers.
    let request = client().post(server.url("/predict"));
    let request = request.header("x-request-id", format!("{MARKER}\"{MARKER}"));
    let request = request.header("traceparent", MARKER);
    let request = request.header("x-fastsentiment-timeout-ms", MARKER);
    assert_eq!(answer(request.body("{}")).await.status, 400);
}

#[tokio::test]
async fn texts_are_never_logged() {
    for options in [
        &["--log-requests"][..],
        &["--log", "debug", "--log-requests"],
        &["--log", "debug", "--log-requests", "--log-format", "json"],
    ] {
        let mut server = hostile(options);
        ask_everything(&server).await;
        server.terminate();
        server.ended();
        let log = server.log();
        assert!(!log.contains(MARKER), "{log}");
        // The failures themselves are logged, with their request.
        assert!(log.contains("a prediction failed"), "{log}");
        assert!(log.contains("the guest trapped: "), "{log}");
        assert!(log.contains("good.or.bad"), "{log}");
        assert!(log.matches("request finished").count() >= 18, "{log}");
    }
}

/// Shows that the test above looks in the right place.
#[tokio::test]
async fn output_of_a_guest_is_logged_at_the_trace_level() {
    let server = hostile(&["--log", "info,fastsentiment::guest::output=trace"]);
    ask_everything(&server).await;
    let said = async {
        while !server.log().contains("a call has failed: zq-marker") {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, said).await.unwrap();
    let log = server.log();
    for line in log.lines().filter(|line| line.contains(MARKER)) {
        assert!(line.contains("fastsentiment::guest::output: "), "{line}");
        // Only one request was in progress.
        assert!(line.contains("request{request_id="), "{line}");
    }
}

#[tokio::test]
async fn every_line_about_a_request_has_its_id() {
    let server = hostile(&[
        "--log",
        "info,fastsentiment_http=debug",
        "--log-format",
        "json",
    ]);
    let failing = json!({"text": ["do abort"]}).to_string();
    let request = client().post(server.url("/predict")).body(failing.clone());
    let request = request.header("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    let answer = answer(request.header("x-request-id", "first")).await;
    assert_eq!(answer.status, 500);
    let failed = line(&server, "a prediction failed", "first").await;
    assert_eq!(failed["level"], "ERROR");
    assert_eq!(
        (&failed["trace_id"], &failed["parent_span_id"]),
        (&json!(TRACE), &json!(PARENT))
    );
    // Without a valid trace header there is no trace id.
    let made = post(&server, "", "application/json", failing).await;
    let made = made.headers["x-request-id"].to_str().unwrap();
    let failed = line(&server, "a prediction failed", made).await;
    assert!(failed.get("trace_id").is_none(), "{failed}");
    // A separate task answers requests of lines.
    let lines = format!("{}\n\"a\"\n", json!("do abort"));
    post(&server, "stream", "application/x-ndjson", lines).await;
    line(&server, "a prediction failed", "stream").await;
    let refused = json!({"text": ["x".repeat(600)]}).to_string();
    post(&server, "refused", "application/json", refused).await;
    let refused = line(&server, "a request was refused", "refused").await;
    assert_eq!(refused["level"], "DEBUG");
    assert!(!server.log().contains("request finished"));
}

/// If the log cannot be written, its lines are lost, and nothing else happens.
#[tokio::test]
async fn a_log_that_cannot_be_written_does_not_stop_the_server() {
    let fifo = tempfile::tempdir().unwrap();
    let fifo = fifo.path().join("log");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    // Opened for reading and writing, which does not block.
    let open = || File::options().read(true).write(true).open(&fifo).unwrap();
    let full = || Stdio::from(File::create("/dev/full").unwrap());
    for reader in ["stalls", "leaves", "is full"] {
        let held = open();
        let stderr = match reader {
            "is full" => full(),
            "leaves" => Stdio::from(File::options().write(true).open(&fifo).unwrap()),
            _ => Stdio::from(open()),
        };
        // More lines than fit into the pipe and the queue.
        let requests = if reader == "stalls" { 6000 } else { 3 };
        let mut server = ServerProcess::spawn_with_log(
            subcommand("serve", &fixture("tiny-bert")).arg("--log-requests"),
            stderr,
        );
        if reader == "leaves" {
            drop(held);
        }
        let (client, url) = (client(), server.url("/health/live"));
        for _ in 0..requests {
            assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
        }
        server.signal("HUP");
        let text = server.predict(&["a text".to_owned()]).await;
        assert_eq!(text.len(), 1);
        if reader != "leaves" {
            let lost = async {
                while server.metric("fastsentiment_log_lost_lines_total").await < 1.0 {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(PATIENCE, lost).await.unwrap();
        }
        server.terminate();
        assert_eq!(server.ended().code(), Some(0), "{reader}");
    }
}

#[test]
fn a_fatal_error_is_logged_in_the_format_of_the_log() {
    let mut command = subcommand("serve", &fixture("no-such-model"));
    let text = command.output().unwrap();
    let stderr = String::from_utf8(text.stderr).unwrap();
    assert!(stderr.starts_with("error: "), "{stderr}");
    let json = command.args(["--log-format", "json"]).output().unwrap();
    assert_eq!((text.status.code(), json.status.code()), (Some(1), Some(1)));
    let stderr = String::from_utf8(json.stderr).unwrap();
    let last = lines(&stderr).pop().unwrap();
    assert_eq!(last["level"], "ERROR");
    assert!(
        last["message"].as_str().unwrap().contains("model"),
        "{stderr}"
    );
    // It is printed even if the log is off.
    let silent = command.args(["--log", "off"]).output().unwrap();
    assert!(silent.stderr.starts_with(b"error: "), "{silent:?}");
    let mut wrong = subcommand("serve", &fixture("no-such-model"));
    let wrong = wrong.args(["--log-format", "xml"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

#[tokio::test]
async fn finished_requests_are_logged_on_demand() {
    let options = ["--log-requests", "true", "--log-format", "json"];
    let mut server = ServerProcess::with(&fixture("tiny-bert"), &options);
    let json = "application/json";
    let texts = json!({"text": ["a", "b"]}).to_string();
    post(&server, "one", json, texts.clone()).await;
    let first = line(&server, "request finished", "one").await;
    post(&server, "two", json, texts).await;
    let second = line(&server, "request finished", "two").await;
    for (line, hits) in [(&first, 0), (&second, 2)] {
        assert_eq!(
            (&line["method"], &line["path"], &line["status"]),
            (&json!("POST"), &json!("/predict"), &json!(200))
        );
        assert_eq!(
            (&line["texts"], &line["cache_hits"]),
            (&json!(2), &json!(hits))
        );
        assert!(line["duration_ms"].as_f64().unwrap() > 0.0, "{line}");
        assert_eq!(line["target"], "fastsentiment::request");
    }
    post(&server, "bad", json, "{".to_owned()).await;
    let bad = line(&server, "request finished", "bad").await;
    assert_eq!((&bad["status"], bad.get("texts")), (&json!(400), None));
    let body = "\"a\"\n5\n\n\"new\"\n".to_owned();
    post(&server, "stream", "application/x-ndjson", body).await;
    let stream = line(&server, "request finished", "stream").await;
    assert_eq!(
        (&stream["status"], &stream["texts"], &stream["cache_hits"]),
        (&json!(200), &json!(2), &json!(1))
    );
    // The admin listener, and a path that is too long for a line.
    for (url, id, status) in [
        (server.admin_url("/health/ready"), "admin", 200),
        (server.url(&format!("/{}", "a".repeat(1000))), "long", 404),
    ] {
        answer(client().get(url).header("x-request-id", id)).await;
        let line = line(&server, "request finished", id).await;
        assert_eq!(line["status"], status);
        assert!(line["path"].as_str().unwrap().len() <= 256, "{line}");
    }
    // A method that fills the head of its request.
    let method = reqwest::Method::from_bytes("M".repeat(60_000).as_bytes()).unwrap();
    let request = client().request(method, server.url("/predict"));
    assert_eq!(
        answer(request.header("x-request-id", "method"))
            .await
            .status,
        405
    );
    let line = line(&server, "request finished", "method").await;
    assert_eq!(line["method"], json!("M".repeat(32)));
    server.terminate();
    server.ended();
    lines(&server.log());
}

#[tokio::test]
async fn a_request_whose_client_has_gone_is_logged_too() {
    let server = hostile(&["--log-requests", "--log-format", "json"]);
    let ended = "request ended before its answer was complete";
    let impatient = |id: &'static str, content_type: &str, body: String| {
        let request = client().post(server.url("/predict")).body(body);
        let request = request.header("content-type", content_type);
        let request = request.header("x-request-id", id);
        request.timeout(Duration::from_millis(500)).send()
    };
    let body = json!({"text": ["do loop"]}).to_string();
    let gone = impatient("gone", "application/json", body).await;
    assert!(gone.unwrap_err().is_timeout());
    let gone = line(&server, ended, "gone").await;
    assert_eq!((gone.get("status"), gone.get("texts")), (None, None));
    // A stream of which only the first line was answered.
    let body = "\"a\"\n\"do loop\"\n".to_owned();
    let begun = impatient("begun", "application/x-ndjson", body).await;
    assert!(begun.unwrap().bytes().await.is_err());
    let begun = line(&server, ended, "begun").await;
    assert_eq!((begun.get("status"), &begun["texts"]), (None, &json!(1)));
}
