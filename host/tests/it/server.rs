//! The server as a process: started, used over sockets, and stopped by a signal.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, default_model, fixture};
use crate::server_process::{ServerProcess, answer};

#[tokio::test]
async fn a_fresh_server_answers_the_first_example() {
    let server = ServerProcess::start(&default_model());
    let client = testing::client().build().unwrap();
    let health = answer(client.get(server.url("/health"))).await;
    assert_eq!(
        (health.status, health.json()),
        (200, json!({"status": "ok"}))
    );

    let texts = ["I love this!", "I hate that."].map(str::to_owned);
    let predicted = server.post(&texts).await;
    assert_eq!(predicted.status, 200);
    assert_eq!(predicted.headers["content-type"], "application/json");
    let predictions = predicted.json();
    let predictions = predictions["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 2);
    for (scores, label) in predictions.iter().zip(["POSITIVE", "NEGATIVE"]) {
        assert_eq!(scores[0]["label"], label);
        assert!(scores[0]["score"].as_f64().unwrap() > 0.9, "{scores}");
        let sum = scores[0]["score"].as_f64().unwrap() + scores[1]["score"].as_f64().unwrap();
        assert!((sum - 1.0).abs() < 1e-6, "{scores}");
    }
    let nothing = server.post(&[]).await;
    assert_eq!(nothing.status, 200);
    assert_eq!(nothing.body, r#"{"predictions":[]}"#);

    // Every response names the guest and the model, as the banner does.
    for answer in [&predicted, &nothing] {
        for header in ["x-fastsentiment-guest", "x-fastsentiment-model"] {
            let version = answer.headers[header].to_str().unwrap();
            assert_eq!(version.len(), 12);
            assert!(server.greeting.contains(version), "{}", server.greeting);
        }
    }
}

#[tokio::test]
async fn http2_without_an_upgrade_is_answered() {
    let server = ServerProcess::start(&fixture("tiny-bert"));
    let client = testing::client();
    let client = client.http2_prior_knowledge().build().unwrap();
    let request = client.post(server.url("/predict"));
    let response = request.json(&json!({"text": ["Loved it."]})).send().await;
    let response = response.unwrap();
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    assert_eq!(response.status(), 200);
    let document: serde_json::Value = response.json().await.unwrap();
    let same = server.predict(&["Loved it.".to_owned()]).await;
    assert_eq!(document["predictions"][0], same[0]);
}

#[tokio::test]
async fn the_limits_of_the_command_line_hold() {
    let limits = [
        "--max-texts",
        "2",
        "--max-text-bytes",
        "8",
        "--max-body-bytes",
        "256",
    ];
    let server = ServerProcess::with(&fixture("tiny-bert"), &limits);
    let texts =
        |texts: &[&str]| -> Vec<String> { texts.iter().map(|text| (*text).to_owned()).collect() };
    assert_eq!(server.post(&texts(&["12345678", ""])).await.status, 200);
    for refused in [
        texts(&["a", "b", "c"]),
        texts(&["123456789"]),
        vec!["x".repeat(300)],
    ] {
        let status = server.post(&refused).await.status;
        assert!((400..500).contains(&status), "{status}");
    }
    assert_eq!(server.post(&texts(&["a"])).await.status, 200);
}

/// When the signal arrives, the server has received the head of a request, and has asked for
/// its body.
#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_server_ends() {
    let mut server = ServerProcess::start(&fixture("tiny-bert"));
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    let body = r#"{"text": ["Loved it."]}"#;
    let head = format!(
        "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut asked = vec![0; go_on.len()];
    let read = timeout(PATIENCE, connection.read_exact(&mut asked)).await;
    read.unwrap().unwrap();
    assert_eq!(asked, go_on);

    server.terminate();
    let refused = async {
        while TcpStream::connect(server.address()).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, refused)
        .await
        .expect("it still accepts connections");

    connection.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, connection.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(r#"{"predictions":[["#), "{answer}");
    assert_eq!(server.ended().code(), Some(0));
    assert_eq!(server.rest_of_output(), "");
}

#[tokio::test]
async fn an_idle_server_stops_at_once() {
    let mut server = ServerProcess::start(&fixture("tiny-bert"));
    // An idle connection does not keep the server running.
    server.predict(&["a".to_owned()]).await;
    server.terminate();
    assert_eq!(server.ended().code(), Some(0));
    assert!(server.log().contains("stopping"), "{}", server.log());
}
