//! An answer does not depend on who else was asking: the scores of a text are
//! the same, to the last bit, in whatever company.

use std::path::Path;

use futures_util::future::join_all;
use predictor::Scores;
use serde_json::{Value, json};

use super::ids::config;
use super::recorder::Recorder;
use crate::harness::{copy_of, default_model, fixture, graphs, load_default, wait};
use crate::server_process::ServerProcess;

/// A model whose runs give a text other scores beside other texts.
const QUANTISED: &str = "tiny-int8";

/// Texts of 2 to 512 tokens, of all sorts.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        "a",
        "Loved it.",
        "It is not the worst phone I have owned, but nearly.",
        "\u{5f88}\u{597d}\u{ff01} tr\u{e8}s bien \u{1f600}",
        "!!!! ???? ....",
        "The soup was cold, the bread was stale and the bill was high.",
        "Every page of this book made me want to read the next.",
    ]
    .map(str::to_owned)
    .into();
    for words in [5, 17, 64, 100, 200, 333, 509, 510, 511, 5000] {
        texts.push("terrible ".repeat(words));
        texts.push("a wonderful day ".repeat(words / 3));
    }
    texts
}

/// This model does not depend on the company, and runs texts together.
#[tokio::test]
async fn scores_of_the_default_model_are_the_same_in_any_company() {
    assert_same_in_any_company(&default_model()).await;
}

/// This one does depend on it, as the next test shows, and nothing says so: it
/// has to be found out, and its texts have to be run one by one.
#[tokio::test]
async fn scores_of_a_quantised_model_are_the_same_in_any_company() {
    assert_same_in_any_company(&fixture(QUANTISED)).await;
}

#[test]
fn runs_of_the_quantised_model_depend_on_the_company() {
    let dir = copy_of(QUANTISED);
    let mut config = config(dir.path());
    config["fastsentiment"] = json!({"batch_invariant": true});
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let guest = load_default(dir.path(), graphs(dir.path())).unwrap();
    let texts = texts();
    let together = wait(guest.predict(&texts)).unwrap();
    let differs = |(text, together): (&String, &Scores)| {
        let alone = wait(guest.predict(std::slice::from_ref(text))).unwrap();
        alone[0] != *together
    };
    assert!(texts.iter().zip(&together).any(differs));
}

/// A float model that does not say so is found to be run together safely.
#[test]
fn a_float_model_is_run_together() {
    let recorder = Recorder::new(&fixture("tiny-bert"));
    let runs = recorder.runs(&texts());
    assert!(runs < texts().len() / 2, "{runs} runs");
    let recorder = Recorder::new(&fixture(QUANTISED));
    assert_eq!(recorder.runs(&texts()), texts().len());
}

async fn assert_same_in_any_company(model: &Path) {
    // With a cache, every answer but the first would be the first.
    let server = ServerProcess::with(model, &["--cache-mib", "0"]);
    let texts = texts();
    let mut alone: Vec<Value> = Vec::new();
    for text in &texts {
        alone.extend(server.predict(std::slice::from_ref(text)).await);
    }
    assert_eq!(alone.len(), texts.len());
    // Not all the same anyway.
    assert!(alone.iter().any(|scores| *scores != alone[0]));

    // Together, in orders that give every text other neighbours.
    for step in [1, 5, 11, 27] {
        let order: Vec<usize> = (0..texts.len()).map(|at| at * step % texts.len()).collect();
        assert_company(&server, &texts, &alone, &order).await;
        let turned: Vec<usize> = order.into_iter().rev().collect();
        assert_company(&server, &texts, &alone, &turned).await;
    }
    // Beside itself.
    for at in [2, 9, texts.len() - 1] {
        assert_company(&server, &texts, &alone, &[at; 20]).await;
    }
    // Beside other requests.
    let requests = (0..texts.len()).map(|at| server.predict(std::slice::from_ref(&texts[at])));
    let answers: Vec<Value> = join_all(requests).await.concat();
    assert_eq!(answers, alone);
}

/// Asks for the texts of some places in one request.
async fn assert_company(
    server: &ServerProcess,
    texts: &[String],
    alone: &[Value],
    order: &[usize],
) {
    let asked: Vec<String> = order.iter().map(|at| texts[*at].clone()).collect();
    let found = server.predict(&asked).await;
    assert_eq!(found.len(), order.len());
    for (at, found) in order.iter().zip(&found) {
        let start: String = texts[*at].chars().take(40).collect();
        assert_eq!(*found, alone[*at], "{start:?} among {order:?}");
    }
}
