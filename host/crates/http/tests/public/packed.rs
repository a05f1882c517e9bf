//! Bodies that come packed, and answers that go packed.

use super::*;
use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZstdEncoder};

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

/// Packs parts, of which each can be unpacked as soon as it is there.
async fn parts(coding: &str, parts: &[&[u8]]) -> Vec<Vec<u8>> {
    macro_rules! packed {
        ($encoder:ident) => {{
            let (mut encoder, mut packed) = ($encoder::new(Vec::new()), Vec::new());
            for part in parts {
                encoder.write_all(part).await.unwrap();
                encoder.flush().await.unwrap();
                packed.push(std::mem::take(encoder.get_mut()));
            }
            encoder.shutdown().await.unwrap();
            packed.push(encoder.into_inner());
            packed
        }};
    }
    match coding {
        "gzip" => packed!(GzipEncoder),
        "br" => packed!(BrotliEncoder),
        _ => packed!(ZstdEncoder),
    }
}

async fn packed(coding: &str, bytes: &[u8]) -> Vec<u8> {
    parts(coding, &[bytes]).await.concat()
}

async fn unpacked(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut unpacked = Vec::new();
    let read = match coding {
        "gzip" => GzipDecoder::new(bytes).read_to_end(&mut unpacked).await,
        "br" => BrotliDecoder::new(bytes).read_to_end(&mut unpacked).await,
        _ => ZstdDecoder::new(bytes).read_to_end(&mut unpacked).await,
    };
    read.unwrap();
    unpacked
}

#[tokio::test]
async fn a_packed_document_is_answered_like_any_other() {
    let server = Server::start().await;
    let document = texts(&["ccc", "a"]).to_string();
    let long = texts(&["x"; 1000]).to_string();
    let mut raw = server.raw().await;
    raw.post("", &document).await;
    let plain = raw.answer().await.body;
    for coding in CODINGS {
        let body = packed(coding, document.as_bytes()).await;
        raw.post(&format!("content-encoding: {coding}\r\n"), &body)
            .await;
        let answer = raw.answer().await;
        assert_eq!((answer.status, &answer.body), (200, &plain), "{coding}");
        // By pieces, over both protocols.
        for client in [http1(), http2()] {
            let request = client.post(server.url("/predict"));
            let request = request.header("content-encoding", coding);
            let body = packed(coding, long.as_bytes()).await;
            let response = request.body(body).send().await.unwrap();
            assert_eq!(response.status(), 200);
            let answer: Value = response.json().await.unwrap();
            assert_eq!(answer["predictions"].as_array().unwrap().len(), 1000);
        }
    }
}

/// After each of these the same connection answers the next request.
#[tokio::test]
async fn what_can_not_be_unpacked_is_a_problem_and_the_connection_goes_on() {
    let server = Server::with(|config, _| config.http.max_body_bytes = 1 << 20).await;
    let mut raw = server.raw().await;
    let document = texts(&["secret"]).to_string();
    for coding in ["deflate", "gzip, br", "compress", "gzip, gzip"] {
        for kind in ["application/json", "application/x-ndjson"] {
            let headers = format!("content-type: {kind}\r\ncontent-encoding: {coding}\r\n");
            raw.post(&headers, &document).await;
            let answer = raw.answer().await;
            assert_eq!(answer.status, 415, "{coding}");
            let kind = "urn:fastsentiment:problem:unsupported-content-encoding";
            assert_eq!(answer.json()["type"], kind);
            assert!(answer.head.contains("accept-encoding: br, gzip, zstd\r\n"));
        }
    }
    for coding in CODINGS {
        let headers = format!("content-encoding: {coding}\r\n");
        let whole = packed(coding, document.as_bytes()).await;
        let bomb = packed(coding, &vec![b' '; 256 << 20]).await;
        for (body, status, name) in [
            (document.as_bytes(), 400, "invalid-encoding"),
            (&whole[..whole.len() - 2], 400, "invalid-encoding"),
            (b"", 400, "invalid-encoding"),
            (&bomb, 413, "body-too-large"),
        ] {
            raw.post(&headers, body).await;
            let answer = raw.answer().await;
            assert_eq!(answer.status, status, "{coding}: {}", answer.body);
            let kind = format!("urn:fastsentiment:problem:{name}");
            assert_eq!(answer.json()["type"], kind);
            assert!(!answer.body.contains("secret"));
        }
        raw.post(&headers, &whole).await;
        assert_eq!(raw.answer().await.status, 200);
    }
}

/// A bulk request whose packed parts are sent as chunks, with what has come of its
/// answer.
struct Parts {
    raw: Raw,
    answer: String,
}

impl Parts {
    async fn begin(server: &Server, coding: &str) -> Self {
        let mut raw = server.raw().await;
        raw.send(format!(
            "POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\
             content-type: application/x-ndjson\r\ncontent-encoding: {coding}\r\n\
             accept-encoding: gzip, br, zstd\r\n\r\n"
        ))
        .await;
        let answer = String::new();
        Self { raw, answer }
    }

    async fn send(&mut self, part: &[u8]) {
        // An empty chunk would be the last.
        if !part.is_empty() {
            self.raw.send(format!("{:x}\r\n", part.len())).await;
            self.raw.send(part).await;
            self.raw.send("\r\n").await;
        }
    }

    async fn read_until(&mut self, is_enough: impl Fn(&str) -> bool) {
        while !is_enough(&self.answer) {
            self.answer.push(char::from(self.raw.byte().await));
        }
    }

    fn lines(&self) -> Vec<Value> {
        let lines = self.answer.lines().filter(|line| line.starts_with('{'));
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[tokio::test]
async fn packed_lines_are_answered_as_they_come() {
    let server = Server::start().await;
    let lines: [&[u8]; 3] = [b"\"ccc\"\n", b"\n\n\"a\"\n{\"te", b"xt\": \"bb\"}\n"];
    for coding in CODINGS {
        let parts = parts(coding, &lines).await;
        let mut exchange = Parts::begin(&server, coding).await;
        for (nth, part) in parts.iter().enumerate() {
            exchange.send(part).await;
            // The next part is not sent before these are answered.
            let answers = (nth + 1).min(3);
            let is_answered = |answer: &str| answer.matches("LENGTH").count() == answers;
            exchange.read_until(is_answered).await;
        }
        exchange.raw.send("0\r\n\r\n").await;
        exchange
            .read_until(|answer| answer.ends_with("\r\n0\r\n\r\n"))
            .await;
        assert!(exchange.answer.starts_with("HTTP/1.1 200 "));
        // Lines are not packed: they go as they are made.
        assert!(!exchange.answer.contains("content-encoding"));
        let scores = exchange.lines().into_iter();
        let scores = scores.map(|line| line["predictions"][0]["score"].as_f64().unwrap());
        assert_eq!(scores.collect::<Vec<_>>(), [3.0, 1.0, 2.0], "{coding}");
    }
}

#[tokio::test]
async fn packed_lines_that_break_are_answered_up_to_there() {
    let server = Server::start().await;
    for coding in CODINGS {
        let parts = parts(coding, &[b"\"ccc\"\n\"a\"\n", b"\"secret\"\n"]).await;
        let mut exchange = Parts::begin(&server, coding).await;
        exchange.send(&parts[0]).await;
        exchange
            .read_until(|answer| answer.matches("LENGTH").count() == 2)
            .await;
        exchange.send(b"no part of what was packed").await;
        exchange.raw.send("0\r\n\r\n").await;
        exchange
            .read_until(|answer| answer.ends_with("\r\n0\r\n\r\n"))
            .await;
        let lines = exchange.lines();
        assert_eq!(lines.len(), 3, "{coding}: {}", exchange.answer);
        let error = &lines[2]["error"];
        assert_eq!(error["type"], "urn:fastsentiment:problem:invalid-encoding");
        assert_eq!(error["after_line"], 2);
    }
}

/// Much that unpacks to nothing costs little memory, and no other line.
#[tokio::test]
async fn a_bomb_of_lines_is_read_to_its_end() {
    let server = Server::with(|config, _| config.http.body_memory = 32 << 20).await;
    let mut lines = vec![b'\n'; 64 << 20];
    lines.extend(b"\"ccc\"\n");
    lines.resize(lines.len() + (64 << 20), b'x');
    for coding in CODINGS {
        let request = http1().post(server.url("/predict"));
        let request = request.header("content-type", "application/x-ndjson");
        let request = request.header("content-encoding", coding);
        let body = packed(coding, &lines).await;
        let response = request.body(body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let answer = response.text().await.unwrap();
        let answers: Vec<&str> = answer.lines().collect();
        assert_eq!(answers.len(), 2, "{answer}");
        assert!(answers[0].contains("LENGTH"));
        assert!(answers[1].contains("line-too-long"));
    }
}

#[tokio::test]
async fn long_answers_are_packed_for_those_who_take_it() {
    let server = Server::start().await;
    let client = http1();
    let ask = async |accepted: Option<&str>, count: usize| {
        let request = client.post(server.url("/predict"));
        let request = request.json(&texts(&vec!["x"; count]));
        let request = match accepted {
            Some(accepted) => request.header("accept-encoding", accepted),
            None => request,
        };
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        let body = response.bytes().await.unwrap();
        (headers, body)
    };
    for count in [100, 1024] {
        let (headers, plain) = ask(None, count).await;
        assert_eq!(headers["vary"], "accept-encoding");
        assert!(!headers.contains_key("content-encoding"));
        for (accepted, coding) in [
            ("gzip", "gzip"),
            ("br;q=1, gzip;q=0.5", "br"),
            ("gzip, deflate, br, zstd", "zstd"),
        ] {
            let (headers, body) = ask(Some(accepted), count).await;
            assert_eq!(headers["content-encoding"], coding);
            assert_eq!(headers["vary"], "accept-encoding");
            assert_eq!(headers["content-type"], "application/json");
            assert_eq!(headers["x-fastsentiment-guest"], "abababababab");
            assert!(body.len() * 4 < plain.len(), "{coding}: {}", body.len());
            assert_eq!(unpacked(coding, &body).await, plain);
        }
        for accepted in ["identity", "gzip;q=0", "deflate", ""] {
            let (headers, body) = ask(Some(accepted), count).await;
            assert!(!headers.contains_key("content-encoding"), "{accepted}");
            assert_eq!(body, plain);
        }
    }
    // Short ones are not worth it.
    let (headers, _) = ask(Some("gzip, br, zstd"), 1).await;
    assert!(!headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn documents_and_pages_are_packed_once() {
    let server = Server::start().await;
    let client = http1();
    let page = client.get(server.url("/docs")).send().await.unwrap();
    let page = page.text().await.unwrap();
    let file = |name: &str| {
        let mut quoted = page.split('"');
        let path = quoted.find(|quoted| quoted.ends_with(name)).unwrap();
        format!("/{path}")
    };
    for path in [
        "/openapi.json",
        &file("/swagger-ui-bundle.js"),
        &file("/swagger-ui.css"),
        "/docs",
    ] {
        let plain = client.get(server.url(path)).send().await.unwrap();
        assert!(!plain.headers().contains_key("content-encoding"), "{path}");
        let plain = plain.bytes().await.unwrap();
        for coding in CODINGS {
            let request = client.get(server.url(path));
            let request = request.header("accept-encoding", coding);
            let response = request.send().await.unwrap();
            let headers = response.headers().clone();
            if path == "/docs" && !headers.contains_key("content-encoding") {
                // Too short.
                continue;
            }
            assert_eq!(headers["content-encoding"], coding, "{path}");
            assert_eq!(headers["vary"], "accept-encoding");
            let body = response.bytes().await.unwrap();
            assert_eq!(unpacked(coding, &body).await, plain, "{path}");
        }
    }
}
