//! A server process whose model is changed under it: by the command line, and on the disk.

use serde_json::Value;

use super::swapping::{done, refused};
use crate::harness::{PATIENCE, example_path, fixture};
use crate::server_process::ServerProcess;

/// The labels of `tiny-bert`.
const TWO_LABELS: [&str; 2] = ["bad", "good"];

/// The labels of `tiny-distilbert-5`.
const FIVE_LABELS: [&str; 5] = ["2 ★", "4 ★", "so \"so\"", "très négatif", "很好"];

/// Asserts that the live model has these labels, in answers and in `/info`.
async fn assert_labels(server: &ServerProcess, labels: &[&str]) {
    let answer = server.post(&["Is it?".to_owned()]).await;
    assert_eq!(answer.status, 200, "{}\n{}", answer.body, server.log());
    let scores = answer.json()["predictions"][0].take();
    let scores = scores.as_array().unwrap().iter();
    let mut found: Vec<_> = scores
        .map(|score| score["label"].as_str().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, labels, "{}", server.log());
    let client = testing::client().build().unwrap();
    let info = client.get(server.url("/info")).send().await.unwrap();
    let info: Value = info.json().await.unwrap();
    let mut known: Vec<_> = info["model_type"]["classifier"]["label2id"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    known.sort();
    assert_eq!(known, labels, "of /info");
    let model = answer.headers["x-fastsentiment-model"].to_str().unwrap();
    assert!(info["model_sha"].as_str().unwrap().starts_with(model));
}

#[tokio::test]
async fn a_model_is_swapped_in_and_out_by_the_command_line() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().join("state");
    let options = ["--state", state.to_str().unwrap(), "--keep-models", "2"];
    let server = ServerProcess::with(&fixture("tiny-bert"), &options);
    assert_labels(&server, &TWO_LABELS).await;
    let other = fixture("tiny-distilbert-5");
    let other = other.to_str().unwrap();
    let said = done(&server, &["swap", "--model", other]);
    assert!(said.starts_with("live: "), "{said}");
    assert_labels(&server, &FIVE_LABELS).await;
    let client = testing::client().build().unwrap();
    let models = client
        .get(server.admin_url("/models"))
        .send()
        .await
        .unwrap();
    let models: Value = models.json().await.unwrap();
    assert_eq!(models["models"][0]["origin"]["kind"], "upload");
    assert_eq!(models["models"].as_array().unwrap().len(), 2);

    let said = done(&server, &["swap", "--model", other]);
    assert!(said.contains("(unchanged), already known"), "{said}");
    done(&server, &["rollback"]);
    assert_labels(&server, &TWO_LABELS).await;
    // A guest and a model at once, as a canary of all texts.
    let lexicon = example_path("lexicon");
    let arguments = [
        "swap",
        lexicon.to_str().unwrap(),
        "--model",
        other,
        "--canary",
        "1",
    ];
    let said = done(&server, &arguments);
    assert!(said.starts_with("canary with 100 % of texts: "), "{said}");
    let answer = server.post(&["A wonderful film.".to_owned()]).await;
    let headers = &answer.headers;
    assert!(
        models["models"][0]["model_short"] == headers["x-fastsentiment-model"].to_str().unwrap()
    );
    done(&server, &["end-trial"]);

    // What is no model changes nothing.
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().to_str().unwrap();
    assert!(refused(&server, &["swap", "--model", empty]).contains("has no files"));
    std::fs::write(format!("{empty}/model.onnx"), "x").unwrap();
    let said = refused(&server, &["swap", "--model", empty]);
    let words = "the model was refused: model.onnx cannot be loaded as an ONNX model";
    assert!(said.contains(words), "{said}");
    assert_labels(&server, &TWO_LABELS).await;

    // Live again after a restart.
    done(&server, &["swap", "--model", other]);
    assert_labels(&server, &FIVE_LABELS).await;
    drop(server);
    let server = ServerProcess::with(&fixture("tiny-bert"), &options);
    assert_labels(&server, &FIVE_LABELS).await;
}

#[tokio::test]
async fn a_model_directory_that_is_replaced_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("model");
    let point = |name: &str| {
        let beside = dir.path().join("new");
        std::os::unix::fs::symlink(fixture(name), &beside).unwrap();
        std::fs::rename(&beside, &link).unwrap();
    };
    point("tiny-bert");
    let server = ServerProcess::start(&link);
    assert_labels(&server, &TWO_LABELS).await;
    point("tiny-distilbert-5");
    let swapped = || async {
        let swaps = server
            .metric("fastsentiment_swaps_total{trigger=\"file\"}")
            .await;
        swaps > 0.0
    };
    let begun = std::time::Instant::now();
    while !swapped().await {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_labels(&server, &FIVE_LABELS).await;
    assert!(server.metric("fastsentiment_loaded_models").await > 1.0);
}
