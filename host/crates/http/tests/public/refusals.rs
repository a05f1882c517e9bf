//! What a client gets that asks for what there is not.

use super::*;
use bytes::Bytes;
use std::future::poll_fn;

/// Asserts that an answer is a problem of this status and name.
fn assert_problem(answer: &Answer, status: u16, name: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert!(
        answer
            .head
            .contains("content-type: application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:fastsentiment:problem:{name}"));
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string());
    assert!(problem["detail"].is_string());
    assert!(!answer.body.contains("secret"), "{}", answer.body);
}

/// After each of these the same connection answers the next request.
#[tokio::test]
async fn a_bad_document_is_refused_and_the_connection_goes_on() {
    let server = Server::with(|_, limits| {
        limits.max_texts = 3;
        limits.max_text_bytes = 11;
    })
    .await;
    let mut raw = server.raw().await;
    let deep = format!(r#"{{"text": {}{}}}"#, "[".repeat(500), "]".repeat(500));
    let cases: &[(&[u8], u16, &str, &str)] = &[
        (b"", 400, "invalid-json", "-"),
        (b"secret", 400, "invalid-json", "-"),
        (br#"{"text": ["a"]} secret"#, 400, "invalid-json", "-"),
        (br#"{"text": ["secret"#, 400, "invalid-json", "-"),
        (b"{\"text\": [\"secret\xff\"]}", 400, "invalid-json", "-"),
        (br#"{"text": ["\ud800"]}"#, 400, "invalid-json", "-"),
        (br#"{"text": [], "text": []}"#, 400, "invalid-json", "-"),
        (deep.as_bytes(), 400, "invalid-json", "-"),
        (br#"["secret"]"#, 422, "invalid-body", ""),
        (br#""secret""#, 422, "invalid-body", ""),
        (b"7", 422, "invalid-body", ""),
        (b"null", 422, "invalid-body", ""),
        (b"{}", 422, "invalid-body", "/text"),
        (br#"{"text": null}"#, 422, "invalid-body", "/text"),
        (br#"{"text": "secret"}"#, 422, "invalid-body", "/text"),
        (
            br#"{"text": ["secret", 1]}"#,
            422,
            "invalid-body",
            "/text/1",
        ),
        (
            br#"{"text": ["secret", null]}"#,
            422,
            "invalid-body",
            "/text/1",
        ),
        (
            br#"{"text": ["", "", "", ""]}"#,
            422,
            "too-many-texts",
            "/text",
        ),
        (
            br#"{"text": ["", "secretsecret"]}"#,
            422,
            "text-too-long",
            "/text/1",
        ),
        (br#"{"text": ["invalid"]}"#, 422, "invalid-text", "/text/0"),
    ];
    for (document, status, name, pointer) in cases {
        raw.post("", document).await;
        let answer = raw.answer().await;
        assert_problem(&answer, *status, name);
        let errors = &answer.json()["errors"];
        match *pointer {
            "-" => assert!(errors.is_null(), "{}", answer.body),
            pointer => {
                assert_eq!(errors[0]["pointer"], pointer, "{}", answer.body);
                assert!(errors[0]["detail"].is_string());
            }
        }
    }
    raw.post("", r#"{"text": ["a"]}"#).await;
    assert_eq!(raw.answer().await.status, 200);
}

/// The same for what goes wrong below, and a panic is no different.
#[tokio::test]
async fn a_failure_below_costs_its_request_only() {
    let server = Server::with(|_, limits| limits.deadline = SHORT).await;
    let mut raw = server.raw().await;
    for (text, status, name) in [
        ("overloaded", 503, "overloaded"),
        ("unavailable", 503, "unavailable"),
        ("failed", 500, "failed"),
        ("panic", 500, "failed"),
        ("hold", 504, "timed-out"),
    ] {
        raw.post("", texts(&[text]).to_string()).await;
        let answer = raw.answer().await;
        assert_problem(&answer, status, name);
        let seconds = if text == "overloaded" { 3 } else { 1 };
        let retry = format!("retry-after: {seconds}\r\n");
        assert_eq!(answer.head.contains(&retry), status == 503);

        let request = http2().post(server.url("/predict"));
        let response = request.json(&texts(&[text])).send().await.unwrap();
        assert_eq!(response.status(), status);
    }
    raw.post("", r#"{"text": ["a"]}"#).await;
    assert_eq!(raw.answer().await.status, 200);
}

#[tokio::test]
async fn what_is_not_there_is_refused_and_the_connection_goes_on() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    for (method, path, status, name, allow) in [
        (
            "GET",
            "/predict",
            405,
            "method-not-allowed",
            "options, post",
        ),
        (
            "DELETE",
            "/predict",
            405,
            "method-not-allowed",
            "options, post",
        ),
        (
            "POST",
            "/health",
            405,
            "method-not-allowed",
            "get, head, options",
        ),
        (
            "TRACE",
            "/docs",
            405,
            "method-not-allowed",
            "get, head, options",
        ),
        ("GET", "/index.html", 404, "not-found", ""),
        ("GET", "/assets/", 404, "not-found", ""),
        ("GET", "/assets/0/page.css", 404, "not-found", ""),
        (
            "PUT",
            "/",
            405,
            "method-not-allowed",
            "get, head, options, post",
        ),
        ("POST", "/%70redict", 404, "not-found", ""),
        ("POST", "/PREDICT", 404, "not-found", ""),
    ] {
        raw.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}"
        ))
        .await;
        let answer = raw.answer().await;
        assert_problem(&answer, status, name);
        let allowed = format!("allow: {allow}\r\n");
        assert_eq!(answer.head.contains(&allowed), status == 405);
    }
    raw.send("HEAD /predict HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(raw.head().await.starts_with("http/1.1 405 "));
    raw.post("", r#"{"text": ["a"]}"#).await;
    assert_eq!(raw.answer().await.status, 200);
}

#[tokio::test]
async fn slashes_too_many_do_not_matter() {
    let server = Server::start().await;
    for path in ["/predict/", "/predict//", "//predict", "/tei/predict/"] {
        let request = http1().post(server.url(path)).json(&texts(&["a"]));
        assert_eq!(request.send().await.unwrap().status(), 200, "{path}");
    }
    for path in [
        "/health/",
        "/health/live/?a=b/",
        "/docs/",
        "/info/",
        "/version/",
        "//",
    ] {
        let answer = http1().get(server.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    for (path, status) in [("/predict/", 405), ("/nothing/", 404), ("/predict/x/", 404)] {
        let answer = http1().get(server.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    let name = r#"fastsentiment_http_requests_total{route="/predict",status="200"}"#;
    assert!((server.metric(name) - 4.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_path_says_which_methods_it_takes() {
    let server = Server::start().await;
    let document = http1().get(server.url("/openapi.json")).send().await;
    let document: Value = document.unwrap().json().await.unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.contains_key("/predict"));
    let mut raw = server.raw().await;
    for (path, item) in paths {
        let mut path = path.clone();
        for parameter in item["options"]["parameters"]
            .as_array()
            .into_iter()
            .flatten()
        {
            // The first of the values that it may have, if they can be listed.
            let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
            let value = parameter["schema"]["enum"][0].as_str();
            path = path.replace(&name, value.unwrap_or("any"));
        }
        raw.send(format!("OPTIONS {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
            .await;
        let head = raw.head().await;
        assert!(head.starts_with("http/1.1 204 "), "{path}: {head}");
        let methods: Vec<_> = item.as_object().unwrap().keys().cloned().collect();
        let allow = format!("allow: {}\r\n", methods.join(", "));
        assert!(head.contains(&allow), "{path}: {head}");
    }
}

#[tokio::test]
async fn the_document_tells_the_limits_of_the_server() {
    let server = Server::with(|config, limits| {
        config.http.max_body_bytes = 4567;
        limits.max_texts = 1;
        limits.max_text_bytes = 11;
    })
    .await;
    let document = http1().get(server.url("/openapi.json")).send().await;
    let document: Value = document.unwrap().json().await.unwrap();
    let text = &document["components"]["schemas"]["PredictRequest"]["properties"]["text"];
    assert_eq!(text["maxItems"], 1);
    assert_eq!(text["items"]["maxLength"], 11);
    let body = &document["paths"]["/predict"]["post"]["requestBody"];
    assert!(body["description"].as_str().unwrap().contains("4567"));
    let examples = &body["content"]["application/json"]["examples"];
    let example = &examples["default"]["value"];
    assert_eq!(example["text"].as_array().unwrap().len(), 1);
    let inputs = &document["components"]["schemas"]["Inputs"]["oneOf"];
    assert_eq!(inputs[0]["maxLength"], 11);
    assert_eq!(inputs[1]["maxItems"], 1);
}

#[tokio::test]
async fn another_media_type_is_refused_with_what_to_send() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    for header in [
        "content-type: application/x-www-form-urlencoded",
        "content-type: text/plain",
        "content-type: application/json; charset=latin1",
    ] {
        raw.post(&format!("{header}\r\n"), r#"{"text": ["a"]}"#)
            .await;
        let answer = raw.answer().await;
        assert_problem(&answer, 415, "unsupported-media-type");
        if header.contains("form") {
            assert!(answer.body.contains("-H 'Content-Type: application/json'"));
        }
    }
    raw.post("", r#"{"text": ["a"]}"#).await;
    assert_eq!(raw.answer().await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_refused_unread() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    // Nothing of the body is ever sent.
    raw.send("POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 8388609\r\n\r\n")
        .await;
    assert_problem(&raw.answer().await, 413, "body-too-large");

    // Nor is it asked for; the same holds for another reason to refuse.
    for (header, status) in [("x: y", 413), ("content-type: text/plain", 415)] {
        let mut raw = server.raw().await;
        raw.send(format!(
            "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 8388609\r\n\
             expect: 100-continue\r\n{header}\r\n\r\n"
        ))
        .await;
        assert_eq!(raw.answer().await.status, status);
        raw.closed().await;
    }
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_refused_on_the_way() {
    let server = Server::with(|config, _| config.http.max_body_bytes = 64).await;
    let mut raw = server.raw().await;
    raw.send("POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..3 {
        raw.send(format!("20\r\n{}\r\n", " ".repeat(32))).await;
    }
    // Answered before the end, and the end makes room for another request.
    assert_problem(&raw.answer().await, 413, "body-too-large");
    raw.send("0\r\n\r\n").await;
    raw.post("", format!("{:64}", r#"{"text": ["a"]}"#)).await;
    assert_eq!(raw.answer().await.status, 200);
}

/// A client that sends everything first must still get to see the answer.
#[tokio::test]
async fn a_large_upload_sees_its_refusal() {
    let server = Server::with(|config, _| config.http.max_body_bytes = 1024).await;
    for client in [http1(), http2()] {
        let request = client.post(server.url("/predict"));
        let response = request.body(vec![b' '; 16 << 20]).send().await.unwrap();
        assert_eq!(response.status(), 413);
    }
}

/// Some clients take a reset of their stream for an error, and lose the answer.
#[tokio::test]
async fn over_http2_a_refusal_does_not_reset_the_upload() {
    let server = Server::with(|config, _| config.http.max_body_bytes = 1 << 20).await;
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    for (path, header, announced, status) in [
        ("/nothing", "application/json", None, 404),
        ("/health", "application/json", None, 405),
        ("/predict", "text/plain", None, 415),
        ("/predict", "application/json", Some(3 << 20), 413),
        // It is refused when it has turned out to be too large.
        ("/predict", "application/json", None, 413),
        (
            "/predict",
            "application/x-ndjson; charset=latin1",
            None,
            415,
        ),
    ] {
        let request = axum::http::Request::post(format!("http://x{path}"));
        let mut request = request.header("content-type", header);
        if let Some(length) = announced {
            request = request.header("content-length", length);
        }
        let request = request.body(()).unwrap();
        let (answer, mut upload) = client.send_request(request, false).unwrap();
        for part in 0..3_u8 {
            let mut rest = Bytes::from(vec![b'x'; 1 << 20]);
            while !rest.is_empty() {
                upload.reserve_capacity(rest.len());
                let room = timeout(PATIENCE, poll_fn(|context| upload.poll_capacity(context)));
                let room = room.await.expect("nothing is read").unwrap().unwrap();
                let now = rest.split_to(room.min(rest.len()));
                upload.send_data(now, part == 2 && rest.is_empty()).unwrap();
            }
        }
        let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    drop(client);
    timeout(PATIENCE, connection)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_client_that_vanishes_costs_nothing() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    raw.send("POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{\"te")
        .await;
    drop(raw);
    let mut raw = server.raw().await;
    raw.send("not http at all\r\n\r\n").await;
    raw.closed().await;
    let response = http1().get(server.url("/health")).send().await.unwrap();
    assert_eq!(response.status(), 200);
}
