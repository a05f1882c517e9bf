//! The scores that a server of the real binary answers, against `golden.json`.

use std::path::Path;

use super::golden::{Golden, Scores, assert_close, served};
use crate::harness::{default_model, fixture};
use crate::server_process::ServerProcess;

/// What a server says of every golden text, asked in one request.
async fn ask(dir: &Path, golden: &Golden) -> Vec<Scores> {
    let server = ServerProcess::start(dir);
    let predictions = server.predict(&golden.texts()).await;
    assert_eq!(predictions.len(), golden.answers.len());
    let answers = golden.answers.iter().zip(&predictions);
    answers
        .map(|(answer, prediction)| served(&answer.name, prediction))
        .collect()
}

async fn assert_scores(dir: &Path) {
    let golden = Golden::read(dir);
    for (answer, scores) in golden.answers.iter().zip(ask(dir, &golden).await) {
        assert_close(&answer.name, &scores, &answer.scores, golden.tolerance);
    }
}

macro_rules! scores_are_golden {
    ($($test:ident: $fixture:literal;)*) => {$(
        #[tokio::test]
        async fn $test() {
            assert_scores(&fixture($fixture)).await;
        }
    )*};
}

scores_are_golden! {
    scores_of_tiny_bert: "tiny-bert";
    scores_of_tiny_roberta: "tiny-roberta";
    scores_of_tiny_distilbert_5: "tiny-distilbert-5";
    scores_of_tiny_multilabel: "tiny-multilabel";
    scores_of_tiny_fp16: "tiny-fp16";
    scores_of_tiny_int32: "tiny-int32";
    scores_of_tiny_f32: "tiny-f32";
    scores_of_tiny_albert: "tiny-albert";
    scores_of_tiny_deberta_v2: "tiny-deberta-v2";
    scores_of_tiny_modernbert: "tiny-modernbert";
    scores_of_tiny_mpnet: "tiny-mpnet";
    scores_of_tiny_xlnet: "tiny-xlnet";
}

/// The included model rounds activations to 8 bits. Processors add the floats between
/// them in different orders, which now and then moves a value to the next of 256 levels:
/// hence the tolerance that its `golden.json` states. On one machine nothing may differ;
/// that is for `reference` to tell.
#[tokio::test]
async fn scores_of_the_default_model() {
    assert_scores(&default_model()).await;
}
