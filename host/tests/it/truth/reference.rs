//! The whole truth about the shipped model: what Transformers' tokenizer and
//! Python's ONNX Runtime say on this machine, of every golden text and of the
//! development set of SST-2.
//!
//! Python is `FASTSENTIMENT_REFERENCE_PYTHON`, or that of `model/.venv-test`,
//! with the packages of `model/requirements-test.txt`; the data is the
//! directory `FASTSENTIMENT_SST2`, or `../shared/data/sst2` beside the
//! repository. What is not there is skipped, and said so on standard error; in CI, Python has
//! to be there.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::golden::{Golden, Scores, assert_close, served, winner};
use super::recorder::Recorder;
use crate::harness::{default_model, repository};
use crate::server_process::ServerProcess;

/// The largest difference of a score.
pub(super) const TOLERANCE: f64 = 1e-5;

/// Texts for one request.
const REQUEST: usize = 500;

#[test]
fn answers_are_those_of_python() {
    let Some(python) = python() else { return };
    let dir = default_model();
    let mut texts = Golden::read(&dir).texts();
    let golden = texts.len();
    let dev = dev_set().unwrap_or_default();
    texts.extend(dev.iter().map(|example| example.text.clone()));
    let truth = ask_python(&python, &dir, &texts);

    let recorder = Recorder::new(&dir);
    for (text, truth) in texts.iter().zip(&truth) {
        assert_eq!(recorder.row(text).ids, truth.ids, "{text:?}");
    }
    // Not before: a guest is not to be called on a thread that serves sockets.
    let sockets = tokio::runtime::Runtime::new().unwrap();
    let answers = sockets.block_on(ask_server(&dir, &texts));
    let mut largest = 0.0_f64;
    for ((text, found), truth) in texts.iter().zip(&answers).zip(&truth) {
        largest = largest.max(assert_close(text, found, &truth.scores, TOLERANCE));
    }
    say(&format!(
        "compared with Python: {golden} golden texts and {} of the development set; scores \
         differ by {largest:.1e} at most",
        dev.len()
    ));
}

#[tokio::test]
async fn the_development_set_is_served_with_90_percent_accuracy() {
    let Some(dev) = dev_set() else { return };
    let texts: Vec<String> = dev.iter().map(|example| example.text.clone()).collect();
    let answers = ask_server(&default_model(), &texts).await;
    let right = dev
        .iter()
        .zip(&answers)
        .filter(|(example, scores)| (winner(scores).0 == "POSITIVE") == example.positive)
        .count();
    let accuracy = right as f64 / dev.len() as f64;
    say(&format!(
        "accuracy on the development set as served: {accuracy:.4}"
    ));
    assert!(accuracy >= 0.90, "{right} of {} are right", dev.len());
}

/// Past the capture of the test harness, which shows nothing of what passes.
fn say(what: &str) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(std::io::stderr().lock(), "{what}");
}

pub(super) fn python() -> Option<PathBuf> {
    const NAME: &str = "FASTSENTIMENT_REFERENCE_PYTHON";
    if let Some(path) = std::env::var_os(NAME) {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "{NAME} names {}, which is not there",
            path.display()
        );
        return Some(path);
    }
    let path = repository().join("model/.venv-test/bin/python");
    if path.is_file() {
        return Some(path);
    }
    let missing = format!("there is no {}, and {NAME} is not set", path.display());
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!is_ci, "{missing}");
    say(&format!("SKIPPED: the comparison with Python: {missing}"));
    None
}

/// A sentence of SST-2 and what people said of it.
struct Example {
    text: String,
    positive: bool,
}

fn dev_set() -> Option<Vec<Example>> {
    const NAME: &str = "FASTSENTIMENT_SST2";
    let named = std::env::var_os(NAME).map(PathBuf::from);
    let must_exist = named.is_some();
    let dir = named.unwrap_or_else(|| repository().join("../shared/data/sst2"));
    let file = dir.join("dev.tsv");
    if !must_exist && !file.is_file() {
        say(&format!(
            "SKIPPED: the development set of SST-2: there is no {}, and {NAME} is not set",
            file.display()
        ));
        return None;
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("sentence\tlabel"));
    let examples: Vec<Example> = lines
        .map(|line| {
            let (text, label) = line.rsplit_once('\t').unwrap();
            assert!(["0", "1"].contains(&label), "{line}");
            Example {
                text: text.to_owned(),
                positive: label == "1",
            }
        })
        .collect();
    assert!(examples.len() > 800, "{} examples", examples.len());
    Some(examples)
}

#[derive(Deserialize)]
pub(super) struct Truth {
    pub(super) ids: Vec<i64>,
    pub(super) scores: Scores,
}

pub(super) fn ask_python(python: &Path, model: &Path, texts: &[String]) -> Vec<Truth> {
    ask_python_with(&[], python, model, texts)
}

/// Asks for another kind of answer.
pub(super) fn ask_python_with<T: DeserializeOwned>(
    options: &[&str],
    python: &Path,
    model: &Path,
    texts: &[String],
) -> Vec<T> {
    let mut child = Command::new(python)
        .arg(repository().join("model/tools/reference.py"))
        .arg("--model")
        .arg(model)
        .args(options)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            for text in texts {
                writeln!(stdin, "{}", serde_json::to_string(text).unwrap()).unwrap();
            }
        });
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "reference.py failed");
    let lines = String::from_utf8(output.stdout).unwrap();
    let truth: Vec<T> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(truth.len(), texts.len());
    truth
}

pub(super) async fn ask_server(model: &Path, texts: &[String]) -> Vec<Scores> {
    let server = ServerProcess::start(model);
    let mut answers = Vec::new();
    for texts in texts.chunks(REQUEST) {
        let predictions = server.predict(texts).await;
        assert_eq!(predictions.len(), texts.len());
        let scores = texts.iter().zip(&predictions);
        answers.extend(scores.map(|(text, prediction)| served(text, prediction)));
    }
    answers
}
