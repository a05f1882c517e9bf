//! The Open Inference Protocol and classification: what is the same as for `POST /predict`,
//! and how errors are worded. Real clients of both are in `host/tests/api`.

use super::*;
use serde_json::json;

/// A request of the protocol.
fn tensor(texts: &[&str]) -> Value {
    let tensor = json!({
        "name": "text",
        "datatype": "BYTES",
        "shape": [texts.len()],
        "data": texts,
    });
    json!({"id": "7", "inputs": [tensor]})
}

async fn post(server: &Server, path: &str, body: &Value) -> (reqwest::StatusCode, Value) {
    let answer = http1().post(server.url(path)).json(body).send().await;
    let answer = answer.unwrap();
    assert_eq!(
        answer.headers()["content-type"],
        "application/json",
        "{path}"
    );
    (answer.status(), answer.json().await.unwrap())
}

async fn get(server: &Server, path: &str) -> (reqwest::StatusCode, Value) {
    let answer = http1().get(server.url(path)).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test]
async fn texts_are_scored_under_every_name_of_the_model() {
    let server = Server::start().await;
    let version = revision().short();
    for path in [
        "/v2/models/fake/infer".to_owned(),
        "/v2/models/fastsentiment/infer".to_owned(),
        format!("/v2/models/fake/versions/{version}/infer"),
        format!("/v2/models/fake/versions/{}/infer/", revision().digest()),
    ] {
        let (status, answer) = post(&server, &path, &tensor(&["aa", "kept"])).await;
        assert_eq!(status, 200, "{path}");
        assert_eq!(answer["model_version"], version);
        assert_eq!(answer["id"], "7");
        assert_eq!(
            answer["outputs"],
            json!([
                {"name": "labels", "datatype": "BYTES", "shape": [2, 1], "data": ["LENGTH", "LENGTH"]},
                {"name": "scores", "datatype": "FP32", "shape": [2, 1], "data": [2.0, 4.0]},
            ])
        );
    }
    let (_, answer) = post(&server, "/classify", &json!({"input": ["aa"]})).await;
    assert_eq!(answer["data"][0]["probs"], json!([2.0]));
    // It is a prediction like any other.
    let name = r#"fastsentiment_http_requests_total{route="/predict",status="200"}"#;
    assert!((server.metric(name) - 5.0).abs() < 1e-9);
    assert!(
        (server.metric(r#"fastsentiment_predict_requests_total{outcome="ok"}"#) - 5.0).abs() < 1e-9
    );
}

#[tokio::test]
async fn binary_outputs_follow_the_json() {
    let server = Server::start().await;
    let mut request = tensor(&["aa", "b"]);
    request["outputs"] = json!([
        {"name": "scores", "parameters": {"binary_data": true}},
        {"name": "labels", "parameters": {"binary_data": true}},
    ]);
    let answer = http1().post(server.url("/v2/models/fake/infer"));
    let answer = answer.json(&request).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let head = answer.headers().clone();
    assert_eq!(head["content-type"], "application/octet-stream");
    assert_eq!(head["x-fastsentiment-cache-hits"], "0");
    let length = head["inference-header-content-length"].to_str().unwrap();
    let body = answer.bytes().await.unwrap();
    let (json, binary) = body.split_at(length.parse().unwrap());
    let json: Value = serde_json::from_slice(json).unwrap();
    let sizes = json["outputs"].as_array().unwrap().iter();
    let sizes: Vec<_> = sizes
        .map(|output| &output["parameters"]["binary_data_size"])
        .collect();
    assert_eq!(sizes, [8, 20]);
    let label = b"\x06\0\0\0LENGTH";
    let scores = [2.0_f32.to_le_bytes(), 1.0_f32.to_le_bytes()].concat();
    assert_eq!(binary, [&scores[..], label, label].concat());
}

#[tokio::test]
async fn the_limits_are_those_of_predictions() {
    let server = Server::with(|config, limits| {
        config.http.max_body_bytes = 4000;
        limits.max_texts = 2;
        limits.max_text_bytes = 100;
    })
    .await;
    let long = "x".repeat(101);
    let huge = "x".repeat(4001);
    for (texts, status, expected) in [
        (
            &["a", "b", "c"][..],
            400,
            "the request holds 3 texts; at most 2 are allowed",
        ),
        (
            &["a", &long],
            400,
            "`/inputs/0/data/1`: the text is 101 bytes long in UTF-8",
        ),
        (
            &[&huge],
            413,
            "the body is larger than the 4000 bytes that are allowed",
        ),
        (
            &["a", "invalid"],
            400,
            "`/inputs/0/data/1`: a sentence for the client",
        ),
        (
            &["failed"],
            500,
            "the request failed; the server's log says why",
        ),
        (&["overloaded"], 503, "try again later"),
    ] {
        let (found, answer) = post(&server, "/v2/models/fake/infer", &tensor(texts)).await;
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(expected), "{error}");
        assert_eq!(found, status, "{error}");
        assert_eq!(answer.as_object().unwrap().len(), 1);
    }
    let answer = http1().post(server.url("/v2/models/fake/infer"));
    let answer = answer.json(&tensor(&["overloaded"])).send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "3");
    let (status, answer) = post(&server, "/v1/classify", &json!({"input": ["a", "b", "c"]})).await;
    assert_eq!(status, 400);
    assert_eq!(answer["error"]["type"], "BadRequestError");
    assert_eq!(
        (&answer["error"]["param"], &answer["error"]["code"]),
        (&json!("input"), &json!(400))
    );
}

#[tokio::test]
async fn a_request_may_say_how_long_its_client_waits() {
    let server = Server::start().await;
    let mut request = tensor(&["hold"]);
    request["parameters"] = json!({"timeout": 1000});
    let (status, answer) = post(&server, "/v2/models/fake/infer", &request).await;
    assert_eq!(status, 504);
    assert_eq!(answer["error"], "the answer was not ready within 1ms");
    // And that it wants nothing kept.
    let answer = http1().post(server.url("/v2/models/fake/infer"));
    let answer = answer
        .header("cache-control", "no-store")
        .json(&tensor(&["a"]));
    assert_eq!(answer.send().await.unwrap().status(), 200);
    let caching = server.fake.caching.lock().unwrap().last().copied();
    assert_eq!(caching, Some(Caching::Bypass));
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_words_of_the_protocol() {
    let server = Server::start().await;
    for (path, expected) in [
        (
            "/v2/models/secret/infer",
            "there is no model of this name: it is `fake`, or",
        ),
        (
            "/v2/models/fake/versions/secret/infer",
            "this version answers no texts: only the live",
        ),
        ("/v2/models/%ff/infer", "there is no model of this name"),
        ("/v2/secret", "there is nothing at this path"),
    ] {
        let (status, answer) = post(&server, path, &tensor(&["a"])).await;
        let error = answer["error"].as_str().unwrap();
        assert_eq!(status, 404, "{path}");
        assert!(
            error.contains(expected) && !error.contains("secret"),
            "{error}"
        );
    }
    let request = http1().post(server.url("/v2/models/fake/infer"));
    let request = request.header("inference-header-content-length", "999");
    let answer = request.json(&tensor(&["a"])).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let answer: Value = answer.json().await.unwrap();
    let error = answer["error"].as_str().unwrap();
    assert!(
        error.starts_with("`inference-header-content-length` is 999, and the body"),
        "{error}"
    );
    let (status, answer) = post(&server, "/classify", &json!({"input": "a", "model": "x"})).await;
    assert_eq!(
        (status.as_u16(), &answer["error"]["code"]),
        (404, &json!(404))
    );
    assert_eq!(answer["error"]["type"], "NotFoundError");
}

#[tokio::test]
async fn the_model_is_described_and_ready_with_the_server() {
    let server = Server::start().await;
    let version = revision().short();
    let paths = [
        "/v2/health/ready".to_owned(),
        "/v2/models/fake/ready".to_owned(),
        format!("/v2/models/fake/versions/{version}/ready"),
    ];
    for path in &paths {
        let (status, answer) = get(&server, path).await;
        let error = answer["error"].as_str().unwrap();
        assert_eq!(status, 503, "{path}");
        assert!(error.contains("is still being loaded"), "{error}");
    }
    server.readiness.set_ready();
    for path in &paths {
        let (status, answer) = get(&server, path).await;
        assert_eq!(
            (status.as_u16(), &answer["ready"]),
            (200, &json!(true)),
            "{path}"
        );
    }
    assert_eq!(
        get(&server, "/v2/health/live").await.1,
        json!({"live": true})
    );
    let (_, described) = get(&server, "/v2").await;
    assert_eq!(described["extensions"], json!(["binary_tensor_data"]));
    let (_, model) = get(&server, "/v2/models/fake").await;
    assert_eq!(model["versions"], json!([version]));
    let (status, same) = get(&server, &format!("/v2/models/fake/versions/{version}")).await;
    assert_eq!((status.as_u16(), same), (200, model));
    assert_eq!(get(&server, "/v1/models").await.1["data"][0]["id"], "fake");
}
