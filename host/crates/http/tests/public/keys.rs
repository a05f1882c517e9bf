//! API keys: who may have texts scored, and how much.

use std::sync::Arc;

use api_keys::{ApiKeys, entries};
use prometheus::Registry;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::*;

const FILE: &str = r#"
    [[key]]
    name = "web"
    sha256 = "@web"

    [[key]]
    name = "few"
    sha256 = "@few"
    requests-per-minute = 3
    tokens-per-minute = 20

    [[key]]
    name = "lines"
    sha256 = "@lines"
    tokens-per-minute = 6000

    [[key]]
    name = "old"
    sha256 = "@old"
    revoked = true
"#;

/// Keys whose secrets are their names.
fn keys(registry: &Registry) -> Arc<ApiKeys> {
    let names = ["web", "few", "lines", "old"];
    let file = names.iter().fold(FILE.to_owned(), |file, name| {
        let digest = Digest::of(name.as_bytes()).to_string();
        file.replace(&format!("@{name}"), &digest)
    });
    let entries = entries(file.as_bytes()).unwrap();
    Arc::new(ApiKeys::new(entries, registry).unwrap())
}

async fn server() -> Server {
    let keys = keys(&Registry::new());
    Server::with(|settings, _| settings.api_keys = Some(keys)).await
}

async fn document(server: &Server) -> Value {
    let answer = http1().get(server.url("/openapi.json")).send().await;
    answer.unwrap().json().await.unwrap()
}

/// Sends a body with a secret to a path.
async fn post(server: &Server, path: &str, secret: &str, kind: &str, body: String) -> Response {
    let request = http1().post(server.url(path)).bearer_auth(secret);
    let request = request.header("content-type", kind).body(body);
    request.send().await.unwrap()
}

async fn ask(server: &Server, secret: &str, texts: &[&str]) -> Response {
    let body = json!({ "text": texts }).to_string();
    post(server, "/predict", secret, "application/json", body).await
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn texts_are_scored_for_keys_only() {
    let server = server().await;
    let answer = ask(&server, "web", &["a"]).await;
    assert_eq!(answer.status(), 200);
    // It has no quota.
    assert_eq!(header(&answer, "ratelimit-limit"), "");
    let infer = json!({"inputs": [
        {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    ]});
    for (path, body) in [
        ("/predict", json!({"text": ["a"]})),
        ("/", json!({"inputs": "a"})),
        ("/tei/predict", json!({"inputs": "a"})),
        ("/v2/models/fake/infer", infer),
        ("/classify", json!({"input": "a"})),
        ("/v1/classify", json!({"input": "a"})),
    ] {
        let body = body.to_string();
        let post =
            async |secret| post(&server, path, secret, "application/json", body.clone()).await;
        assert_eq!(post("web").await.status(), 200, "{path}");
        let wrong = post("Web").await;
        assert_eq!(wrong.status(), 401, "{path}");
        assert_eq!(header(&wrong, "www-authenticate"), "Bearer");
        let problem = wrong.text().await.unwrap();
        assert!(problem.contains("the API key is wrong"), "{problem}");
        let revoked = post("old").await;
        assert_eq!(revoked.status(), 403, "{path}");
        let problem = revoked.text().await.unwrap();
        assert!(problem.contains("`old` was revoked"), "{problem}");
    }
    let bare = http1()
        .post(server.url("/predict"))
        .json(&json!({"text": ["a"]}));
    let missing = bare.try_clone().unwrap().send().await.unwrap();
    assert_eq!(missing.status(), 401);
    let problem = missing.text().await.unwrap();
    assert!(problem.contains("`Authorization: Bearer KEY`"), "{problem}");
    let other = bare
        .header("authorization", "Basic d2ViOg==")
        .send()
        .await
        .unwrap();
    let problem = other.text().await.unwrap();
    assert!(problem.contains("header has no API key"), "{problem}");
}

#[tokio::test]
async fn what_scores_no_text_needs_no_key() {
    let server = server().await;
    for path in [
        "/health",
        "/version",
        "/info",
        "/",
        "/docs",
        "/openapi.json",
        "/v2",
        "/v1/models",
    ] {
        let answer = http1().get(server.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn quotas_are_told_and_kept() {
    let server = server().await;
    // Four estimated tokens.
    let answer = ask(&server, "few", &["a b"]).await;
    assert_eq!(answer.status(), 200);
    // Of requests two thirds are left, and more of tokens.
    let told = |answer: &Response| {
        ["limit", "remaining"].map(|name| header(answer, &format!("ratelimit-{name}")).to_owned())
    };
    assert_eq!(told(&answer), ["3", "2"]);
    let reset: u64 = header(&answer, "ratelimit-reset").parse().unwrap();
    assert!((1..=60).contains(&reset), "{reset}");
    assert_eq!(
        header(&answer, "ratelimit-policy"),
        "3;w=60;comment=\"requests\", 20;w=60;comment=\"tokens\""
    );
    // More tokens than are left.
    let answer = ask(&server, "few", &["a b c d e f g h i j k l m n o p"]).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(told(&answer), ["20", "0"]);
    let again: u64 = header(&answer, "retry-after").parse().unwrap();
    assert!((1..=60).contains(&again), "{again}");
    assert_eq!(header(&answer, "ratelimit-reset"), again.to_string());
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], "urn:fastsentiment:problem:rate-limited");
    assert_eq!(
        problem["detail"],
        "your API key allows 20 tokens a minute; try again later"
    );
    // Whatever is wrong with a request, it counts.
    let answer = post(
        &server,
        "/predict",
        "few",
        "application/json",
        "{".to_owned(),
    )
    .await;
    assert_eq!(answer.status(), 400);
    assert_eq!(told(&answer), ["3", "0"]);
    let answer = ask(&server, "few", &["a"]).await;
    assert_eq!(answer.status(), 429);
    assert_eq!(told(&answer), ["3", "0"]);
    // Others have quotas of their own.
    assert_eq!(ask(&server, "web", &["a"]).await.status(), 200);
}

#[tokio::test]
async fn a_request_that_no_quota_ever_allows_is_told_so() {
    let server = server().await;
    let text = "word ".repeat(30);
    let answer = ask(&server, "few", &[&text]).await;
    assert_eq!(answer.status(), 429);
    assert_eq!(header(&answer, "retry-after"), "");
    let problem: Value = answer.json().await.unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("more than the 20 tokens"), "{detail}");
}

#[tokio::test]
async fn lines_wait_for_their_quota() {
    let registry = Registry::new();
    let keys = keys(&registry);
    let server = Server::with(|settings, _| {
        settings.api_keys = Some(keys);
        // Shorter than the wait, during which it is not the client that is silent.
        settings.body_timeout(SHORT);
    });
    let server = server.await;
    // Together they have 12 * 512 estimated tokens, and 100 more are allowed each second.
    let line = format!("{}\n", json!("word ".repeat(600)));
    let ndjson = "application/x-ndjson";
    let answer = post(&server, "/predict", "lines", ndjson, line.repeat(12)).await;
    assert_eq!(answer.status(), 200);
    let answer = answer.text().await.unwrap();
    let scored = answer
        .lines()
        .filter(|line| line.starts_with("{\"predictions\""));
    assert_eq!(scored.count(), 12, "{answer}");
    let metrics = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
    let metrics = metrics.unwrap();
    let value = |name: &str| metric(&metrics, &format!("fastsentiment_api_key_{name}"));
    assert_eq!(value("tokens_total{key=\"lines\"}"), Some(12.0 * 512.0));
    let waited = value("refused_total{key=\"lines\",quota=\"tokens\"}");
    assert_eq!(waited, Some(1.0));
    let wrong = post(&server, "/predict", "x", ndjson, line).await;
    assert_eq!(wrong.status(), 401);
}

#[tokio::test]
async fn the_document_says_that_a_key_is_needed() {
    let server = server().await;
    let document = document(&server).await;
    assert_eq!(
        document["components"]["securitySchemes"]["key"]["scheme"],
        "bearer"
    );
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let is_needed = method == "post";
            assert_eq!(
                operation["security"].is_array(),
                is_needed,
                "{method} {path}"
            );
            for status in ["401", "403", "429"] {
                let is_said = operation["responses"][status].is_object();
                assert_eq!(is_said, is_needed, "{method} {path} {status}");
            }
            operations += u32::from(is_needed);
        }
    }
    assert!(operations >= 7, "{operations}");
    let open = Server::start().await;
    let document = self::document(&open).await;
    assert!(document["components"]["securitySchemes"].is_null());
}
