//! What clients of Hugging Face's servers get: the form `inputs`, and `/info`.

use super::*;
use serde_json::json;

fn length(score: f32) -> Value {
    json!({"label": "LENGTH", "score": score})
}

#[tokio::test]
async fn an_answer_has_the_shape_of_the_inputs() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    let (one, two) = (json!([length(3.0)]), json!([length(1.0)]));
    for (document, expected) in [
        (json!({"inputs": "ccc"}), json!([one])),
        (json!({"inputs": ["ccc"]}), json!([one])),
        // In TEI, these two are a pair.
        (json!({"inputs": ["ccc", "a"]}), json!([one, two])),
        (json!({"inputs": [["ccc"], ["a"]]}), json!([one, two])),
        (json!({"inputs": [["ccc"], "a"]}), json!([one, two])),
        (json!({"inputs": []}), json!([])),
        (json!({"inputs": ""}), json!([[length(0.0)]])),
        (
            json!({"inputs": "ccc", "raw_scores": false, "truncate": true,
                   "truncation_direction": "Right", "other": {"text": 1}}),
            json!([one]),
        ),
        (
            json!({"inputs": "ccc", "raw_scores": null, "truncate": null, "parameters": null}),
            json!([one]),
        ),
        // As `huggingface_hub` sends it.
        (json!({"inputs": "ccc", "parameters": {}}), json!([one])),
        (
            json!({"inputs": "ccc", "parameters": {"top_k": 5.0, "function_to_apply": "softmax"}}),
            json!([one]),
        ),
    ] {
        raw.post("", document.to_string()).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json(), expected, "{document}");
        let named = "x-fastsentiment-guest: abababababab";
        assert!(answer.head.contains(named), "{}", answer.head);
    }
}

/// There, only one text is answered differently.
#[tokio::test]
async fn at_a_path_of_its_own_one_text_is_answered_as_tei_does() {
    let server = Server::start().await;
    let (one, two) = (json!([length(3.0)]), json!([length(1.0)]));
    for (document, expected) in [
        (json!({"inputs": "ccc"}), one.clone()),
        (json!({"inputs": "ccc", "truncate": true}), one.clone()),
        (
            json!({"inputs": "ccc", "parameters": {"top_k": 1}}),
            one.clone(),
        ),
        (json!({"inputs": ["ccc"]}), json!([one])),
        (json!({"inputs": [["ccc"], ["a"]]}), json!([one, two])),
        (json!({"text": ["ccc"]}), json!({"predictions": [one]})),
    ] {
        let request = http1().post(server.url("/tei/predict")).json(&document);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer, expected, "{document}");
    }
}

/// As TEI and Hugging Face's endpoints are asked by who has their address alone.
#[tokio::test]
async fn the_root_predicts_like_its_path() {
    let server = Server::start().await;
    for client in [http1(), http2()] {
        let request = client.post(server.url("/"));
        let request = request.json(&json!({"inputs": "ccc", "parameters": {}}));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer, json!([[length(3.0)]]));
        let request = client.post(server.url("/"));
        let request = request.header("content-type", "application/x-ndjson");
        let response = request.body("\"ccc\"\n\"a\"\n").send().await.unwrap();
        assert_eq!(response.text().await.unwrap().lines().count(), 2);
    }
}

/// Documents, how each is refused, where, and in which words.
const REFUSED: [(&str, &str, &str, &str); 16] = [
    (
        r#"{"inputs": 5}"#,
        "invalid-body",
        "/inputs",
        "a string or an array",
    ),
    (
        r#"{"inputs": {"a": "secret"}}"#,
        "invalid-body",
        "/inputs",
        "found an object",
    ),
    (
        r#"{"inputs": ["a", 1]}"#,
        "invalid-body",
        "/inputs/1",
        "found a number",
    ),
    (
        r#"{"inputs": [["secret", "secret"]]}"#,
        "invalid-body",
        "/inputs/0",
        "pairs of texts cannot be scored",
    ),
    (
        r#"{"inputs": ["a", []]}"#,
        "invalid-body",
        "/inputs/1",
        "an array of 0",
    ),
    (
        r#"{"inputs": [[1]]}"#,
        "invalid-body",
        "/inputs/0/0",
        "must be a string",
    ),
    (
        r#"{"text": ["a"], "inputs": "secret"}"#,
        "invalid-body",
        "/inputs",
        "only one of",
    ),
    (
        r#"{"raw_scores": true, "inputs": "a"}"#,
        "invalid-body",
        "/raw_scores",
        "must be false",
    ),
    (
        r#"{"inputs": "a", "truncation_direction": "left"}"#,
        "invalid-body",
        "/truncation_direction",
        "must be \"right\"",
    ),
    (
        r#"{"inputs": "a", "parameters": {"top_k": 0}}"#,
        "invalid-body",
        "/parameters/top_k",
        "at least 1",
    ),
    (
        r#"{"inputs": "a", "parameters": {"function_to_apply": "none"}}"#,
        "invalid-body",
        "/parameters/function_to_apply",
        "softmax",
    ),
    (
        r#"{"inputs": "a", "parameters": {"secret": true}}"#,
        "invalid-body",
        "/parameters",
        "nothing else",
    ),
    (
        r#"{"inputs": ["", "", "", ""]}"#,
        "too-many-texts",
        "/inputs",
        "at most 3",
    ),
    (
        r#"{"inputs": ["", "secretsecret"]}"#,
        "text-too-long",
        "/inputs/1",
        "at most 11",
    ),
    (
        r#"{"inputs": "secretsecret"}"#,
        "text-too-long",
        "/inputs",
        "at most 11",
    ),
    (
        r#"{"inputs": ["a", "invalid"]}"#,
        "invalid-text",
        "/inputs/1",
        "a sentence",
    ),
];

#[tokio::test]
async fn what_can_not_be_had_is_a_clear_error_in_both_languages() {
    let server = Server::with(|_, limits| {
        limits.max_texts = 3;
        limits.max_text_bytes = 11;
    })
    .await;
    let mut raw = server.raw().await;
    for (document, name, pointer, words) in REFUSED {
        raw.post("", document).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, 422, "{document}");
        let problem = answer.json();
        let kind = format!("urn:fastsentiment:problem:{name}");
        assert_eq!(problem["type"], kind, "{document}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{document}");
        assert!(
            problem["detail"].as_str().unwrap().contains(words),
            "{problem}"
        );
        assert_eq!(problem["error"], problem["detail"]);
        assert_eq!(problem["error_type"], "Validation");
        assert!(!answer.body.contains("secret"), "{}", answer.body);
    }
}

#[tokio::test]
async fn options_matter_in_their_own_form_only() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    raw.post("", r#"{"text": ["a"], "truncate": false, "parameters": 5}"#)
        .await;
    assert_eq!(raw.answer().await.status, 200);
    raw.post("", r#"{"inputs": [1], "truncate": false, "raw_scores": 1}"#)
        .await;
    let problem = raw.answer().await.json();
    assert_eq!(problem["errors"].as_array().unwrap().len(), 1);
    raw.post("", r#"{"inputs": "a", "inputs": "a"}"#).await;
    let problem = raw.answer().await.json();
    assert_eq!(problem["status"], 400);
    assert!(
        problem["error"]
            .as_str()
            .unwrap()
            .contains("duplicate field")
    );
}

#[tokio::test]
async fn what_fails_below_is_told_in_both_languages() {
    let server = Server::with(|_, limits| limits.deadline = SHORT).await;
    let mut raw = server.raw().await;
    for (text, status, error_type) in [
        ("overloaded", 503, "Overloaded"),
        ("unavailable", 503, "Unhealthy"),
        ("failed", 500, "Backend"),
        ("hold", 504, "Backend"),
    ] {
        raw.post("", json!({"inputs": [text]}).to_string()).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, status, "{text}");
        assert_eq!(answer.json()["error_type"], error_type);
        assert_eq!(answer.json()["error"], answer.json()["detail"]);
        assert!(!answer.body.contains("secret"), "{}", answer.body);
        raw.post("", texts(&[text]).to_string()).await;
        assert_eq!(raw.answer().await.json().get("error"), None);
    }
}

#[tokio::test]
async fn info_tells_what_is_served() {
    let server = Server::with(|config, limits| {
        limits.max_texts = 7;
        config.http.body_memory = 64 << 20;
    })
    .await;
    let info = http1().get(server.url("/info")).send().await.unwrap();
    assert_eq!(info.status(), 200);
    assert_eq!(
        info.json::<Value>().await.unwrap(),
        json!({
            "model_id": "fake",
            "model_sha": "12".repeat(32),
            "model_dtype": "float32",
            "served_model_name": "fake",
            "model_type": {"classifier": {
                "id2label": {"0": "LENGTH", "1": "DEPTH"},
                "label2id": {"LENGTH": 0, "DEPTH": 1},
            }},
            "max_concurrent_requests": 16384,
            "max_input_length": 512,
            "max_batch_tokens": 512,
            "max_batch_requests": 32,
            "max_client_batch_size": 7,
            "auto_truncate": true,
            "tokenization_workers": 3,
            "version": env!("CARGO_PKG_VERSION"),
            "sha": null,
            "docker_label": null,
        })
    );
}
