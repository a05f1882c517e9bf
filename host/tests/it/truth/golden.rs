//! `golden.json`, and how answers are held against it. `model/tools/golden.py`
//! describes the file.

use std::collections::BTreeMap;
use std::path::Path;

use predictor::Digest;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

#[derive(Deserialize)]
pub(super) struct Golden {
    model: Described,
    pub(super) tolerance: f64,
    pub(super) answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Described {
    sha256: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) name: String,
    text: Option<String>,
    repeat: Option<(String, usize)>,
    pub(super) ids: Vec<u32>,
    pub(super) scores: Scores,
}

/// Every label and its score.
pub(super) type Scores = BTreeMap<String, f64>;

impl Golden {
    /// The golden answers of a model directory.
    pub(super) fn read(dir: &Path) -> Self {
        let file = std::fs::read(dir.join("golden.json")).unwrap();
        let golden: Self = serde_json::from_slice(&file).unwrap();
        for (name, digest) in &golden.model.sha256 {
            let bytes = std::fs::read(dir.join(name)).unwrap();
            let found = Digest(Sha256::digest(&bytes).into()).to_string();
            assert_eq!(
                found,
                *digest,
                "{} has changed since golden.json was written; see model/tools/golden.py",
                dir.join(name).display()
            );
        }
        assert!(golden.model.sha256.contains_key("model.onnx"));
        assert!(
            golden.answers.len() > 100,
            "{} answers",
            golden.answers.len()
        );
        golden
    }

    pub(super) fn texts(&self) -> Vec<String> {
        self.answers.iter().map(Answer::text).collect()
    }
}

impl Answer {
    pub(super) fn text(&self) -> String {
        match (&self.text, &self.repeat) {
            (Some(text), None) => text.clone(),
            (None, Some((unit, count))) => unit.repeat(*count),
            _ => panic!("{} has either a text or a repetition", self.name),
        }
    }
}

/// The served scores of a text, after a look at what holds for every answer:
/// each label once, highest score first.
pub(super) fn served(name: &str, prediction: &Value) -> Scores {
    let list: Vec<(String, f64)> = prediction
        .as_array()
        .unwrap()
        .iter()
        .map(|score| {
            assert_eq!(score.as_object().unwrap().len(), 2, "{name}: {score}");
            (
                score["label"].as_str().unwrap().to_owned(),
                score["score"].as_f64().unwrap(),
            )
        })
        .collect();
    assert!(
        list.is_sorted_by(|a, b| a.1 >= b.1),
        "{name}: not in order: {list:?}"
    );
    let scores: Scores = list.iter().cloned().collect();
    assert_eq!(scores.len(), list.len(), "{name}: a label twice: {list:?}");
    scores
}

/// Asserts that scores have the expected labels, and numbers within
/// `tolerance`. Gives the largest difference.
pub(super) fn assert_close(name: &str, found: &Scores, expected: &Scores, tolerance: f64) -> f64 {
    assert!(
        found.keys().eq(expected.keys()),
        "{name}: {found:?}, not {expected:?}"
    );
    let difference = found
        .iter()
        .map(|(label, score)| (score - expected[label]).abs())
        .fold(0.0, f64::max);
    assert!(
        difference <= tolerance,
        "{name}: {found:?}, not {expected:?}: {difference:.2e} apart"
    );
    difference
}

/// The label of the highest score, and the score.
pub(super) fn winner(scores: &Scores) -> (&str, f64) {
    let highest = scores.iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    (highest.0, *highest.1)
}
