//! The scores that a server of the real binary answers, against `golden.json`.

use std::path::Path;

use super::golden::{Golden, Scores, assert_close, served, winner};
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

/// The shipped model is quantised to 8 bits, and ONNX Runtime's sums of such
/// products depend on the processor: without VNNI instructions they saturate
/// at 16 bits, and with other vector widths the floats between them are added
/// in another order, which can move a value over the edge to the next of 256.
/// The golden answers are of a processor with AVX-512 VNNI. On others, only
/// the label of an answer that leaves no doubt is the same; there the exact
/// truth is for `reference` to tell, which asks Python on the same machine.
#[tokio::test]
async fn scores_of_the_default_model() {
    let dir = default_model();
    if is_golden_processor() {
        assert_scores(&dir).await;
        return;
    }
    let golden = Golden::read(&dir);
    let mut compared = 0;
    for (answer, scores) in golden.answers.iter().zip(ask(&dir, &golden).await) {
        assert!(scores.keys().eq(answer.scores.keys()), "{}", answer.name);
        let (label, score) = winner(&answer.scores);
        if score > 0.95 {
            assert_eq!(winner(&scores).0, label, "{}: {scores:?}", answer.name);
            compared += 1;
        }
    }
    assert!(compared > 20, "only {compared} answers leave no doubt");
}

fn is_golden_processor() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512vnni");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}
