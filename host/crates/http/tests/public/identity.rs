//! What requests are known by, and where their time went.

use super::*;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let mut lines = answer.head.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The id of an answer, which a problem repeats.
fn id(answer: &Answer) -> String {
    let id = header(answer, "x-request-id").expect(&answer.head);
    if answer.status >= 400 && !answer.body.is_empty() {
        assert_eq!(answer.json()["request_id"], id, "{}", answer.body);
    }
    id.to_owned()
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let server = Server::with(|config, limits| {
        config.http.max_body_bytes = 1000;
        limits.max_texts = 4;
    })
    .await;
    let mut raw = server.raw().await;
    let mut ids = std::collections::HashSet::new();
    let requests = [
        ("GET", "/health", "", ""),
        ("HEAD", "/version", "", ""),
        ("OPTIONS", "/predict", "", ""),
        ("GET", "/health/ready", "", ""),
        ("GET", "/nothing", "", ""),
        ("DELETE", "/predict", "", ""),
        ("POST", "/predict", "", r#"{"text": ["a"]}"#),
        ("POST", "/predict", "", r#"{"text": []}"#),
        ("POST", "/predict", "", r#"{"text": ["#),
        ("POST", "/predict", "", r#"{"text": 1}"#),
        ("POST", "/predict", "", r#"{"text": ["", "", "", "", ""]}"#),
        ("POST", "/predict", "content-type: a/b\r\n", "x"),
        (
            "POST",
            "/predict",
            "x-fastsentiment-timeout-ms: x\r\n",
            "{}",
        ),
        (
            "POST",
            "/predict",
            "x-fastsentiment-timeout-ms: 1\r\n",
            r#"{"text": ["hold"]}"#,
        ),
        ("POST", "/predict", "", r#"{"text": ["overloaded"]}"#),
        ("POST", "/predict", "", r#"{"text": ["failed"]}"#),
        ("POST", "/predict", "", r#"{"text": ["panic"]}"#),
        ("POST", "/predict", "", r#"{"text": ["invalid"]}"#),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for (method, path, headers, body) in requests {
        let length = body.len();
        let request = |more: &str| {
            format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\
                 traceparent: {TRACE}\r\n{headers}{more}\r\n{body}"
            )
        };
        // One of its own, a new one, and one for what is no id.
        for (more, own) in [
            ("x-request-id: my:own/1\r\n", Some("my:own/1")),
            ("", None),
            ("x-request-id: <script>\r\n", None),
        ] {
            raw.send(request(more)).await;
            let answer = if method == "HEAD" {
                let head = raw.head().await;
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                let body = String::new();
                Answer { status, head, body }
            } else {
                raw.answer().await
            };
            seen.insert(answer.status);
            let id = id(&answer);
            match own {
                Some(own) => assert_eq!(id, own),
                None => assert!(id.len() == 36 && ids.insert(id), "{}", answer.head),
            }
        }
    }
    let expected = [200, 204, 400, 404, 405, 415, 422, 500, 503, 504];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn lines_and_streams_name_their_request_as_well() {
    let server = Server::start().await;
    for client in [http1(), http2()] {
        let ask = |body: &'static str| {
            let request = client.post(server.url("/predict")).body(body);
            let request = request.header("content-type", "application/x-ndjson");
            request.header("x-request-id", "mine").send()
        };
        for (body, status) in [("\"a\"\n5\n\"failed\"\n", 200), ("\"overloaded\"\n", 503)] {
            let answer = ask(body).await.unwrap();
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()["x-request-id"], "mine");
            assert!(answer.headers().get("server-timing").is_none());
        }
        let get = client.get(server.url("/health")).send().await.unwrap();
        assert_eq!(get.headers()["x-request-id"].len(), 36);
    }
}

#[tokio::test]
async fn an_answer_says_where_its_time_went() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    for (given, expected) in [
        (&["kept"][..], &["read", "parse", "cache", "total"][..]),
        (&[], &["read", "parse", "cache", "total"]),
        (
            &["kept", "worked", "2"],
            &["read", "parse", "cache", "queue", "predict", "total"],
        ),
    ] {
        raw.post("", texts(given).to_string()).await;
        let answer = raw.answer().await;
        let timing = header(&answer, "server-timing").expect(&answer.head);
        let parts: Vec<(&str, f64)> = timing
            .split(", ")
            .map(|part| {
                let (name, duration) = part.split_once(";dur=").expect(timing);
                (name, duration.parse().expect(timing))
            })
            .collect();
        let names: Vec<&str> = parts.iter().map(|part| part.0).collect();
        assert_eq!(names, expected, "{timing}");
        if expected.contains(&"queue") {
            // Of several texts the longest of each.
            assert_eq!(parts[3..5], [("queue", 3000.0), ("predict", 40.5)]);
        }
        let (total, own) = (parts.last().unwrap().1, &parts[..3]);
        let own: f64 = own.iter().map(|part| part.1).sum();
        assert!(own <= total + 0.01, "{timing}");
    }
    for refused in ["failed", "overloaded"] {
        raw.post("", texts(&[refused]).to_string()).await;
        let answer = raw.answer().await;
        assert!(
            header(&answer, "server-timing").is_none(),
            "{}",
            answer.head
        );
    }
}
