//! Long texts in windows, against the windows of Transformers' tokenizers.

use serde_json::json;

use super::golden::{Golden, Scores, assert_close, served};
use super::reference::{TOLERANCE, Truth, ask_python_with, python};
use crate::harness::{copy_of, fixture};
use crate::server_process::ServerProcess;

/// How many windows a text may have.
const WINDOWS: usize = 8;

/// Texts of every number of windows up to eleven, with one token for a word or two.
fn texts(name: &str) -> Vec<String> {
    let words = [
        "the", "good", "film", "and", "that", "funny", "movie", "with",
    ];
    let of = |count: usize| {
        let words = words.iter().cycle().take(count);
        words.copied().collect::<Vec<_>>().join(" ")
    };
    let golden = Golden::read(&fixture(name)).texts().into_iter();
    let golden = golden.filter(|text| text.len() < 1000);
    golden.chain((20..=260).step_by(8).map(of)).collect()
}

/// Compares a fixture's server with Python. `pool` makes the score of a label from those of
/// the windows.
fn assert_windows(name: &str, how: &str, pool: fn(&[f64]) -> f64) {
    let Some(python) = python() else { return };
    // Its answers are those to truncated texts.
    let dir = copy_of(name);
    std::fs::remove_file(dir.path().join("golden.json")).unwrap();
    let texts = texts(name);
    let truth: Vec<Vec<Truth>> = ask_python_with(&["--windows"], &python, dir.path(), &texts);
    assert!(truth.iter().any(|windows| windows.len() == WINDOWS));
    assert!(truth.iter().any(|windows| windows.len() > WINDOWS));
    let known = texts.into_iter().zip(truth);
    let (known, too_long): (Vec<_>, Vec<_>) =
        known.partition(|(_, windows)| windows.len() <= WINDOWS);
    let texts: Vec<String> = known.iter().map(|(text, _)| text.clone()).collect();
    let sockets = tokio::runtime::Runtime::new().unwrap();
    let (answers, refused) = sockets.block_on(async {
        let server = ServerProcess::with(dir.path(), &["--long-texts", how]);
        let answers = server.predict(&texts).await;
        (answers, server.post(&[too_long[0].0.clone()]).await)
    });
    for ((text, windows), answer) in known.iter().zip(&answers) {
        let labels = windows[0].scores.keys();
        let pooled = labels.map(|label| {
            let scores: Vec<f64> = windows.iter().map(|window| window.scores[label]).collect();
            (label.clone(), pool(&scores))
        });
        let pooled: Scores = pooled.collect();
        assert_close(text, &served(text, answer), &pooled, TOLERANCE);
    }
    assert_eq!(refused.status, 422, "{}", refused.body);
    let windows = &too_long[0].1;
    // Special tokens, and what a window shares with the one before, count once.
    let (special, overlap) = (2, 7);
    let given = windows.iter().map(|window| window.ids.len()).sum::<usize>()
        - (windows.len() - 1) * (special + overlap);
    let reason = format!("`/text/0`: the text has {given} tokens; at most 193 are allowed");
    let error = json!({"pointer": "/text/0", "detail": reason});
    assert_eq!(refused.json()["errors"], json!([error]));
}

#[test]
fn windows_are_those_of_transformers_and_their_scores_have_a_mean() {
    let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
    assert_windows("tiny-bert", "window", mean);
}

#[test]
fn or_the_largest_of_each_label_is_taken() {
    let max = |scores: &[f64]| scores.iter().copied().fold(0.0, f64::max);
    assert_windows("tiny-multilabel", "window-max", max);
}
