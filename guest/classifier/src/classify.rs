//! Converts logits to ranked labels.
//!
//! This module must not know how logits are computed.

use fastsentiment_config::Activation;

use crate::bindings::{Error, Score};

/// The score of every label, in the model's order.
pub(crate) fn scores(logits: &[f32], activation: Activation) -> Result<Vec<f32>, Error> {
    if let Some(bad) = logits.iter().find(|logit| !logit.is_finite()) {
        return Err(Error::InferenceFailed(format!(
            "the model gave a logit of {bad}"
        )));
    }
    Ok(match activation {
        Activation::Softmax => softmax(logits),
        Activation::Sigmoid => logits.iter().map(|logit| sigmoid(*logit)).collect(),
    })
}

/// Labels with their scores, highest first; labels with equal scores are in the model's
/// order.
///
/// `labels` and `scores` have the same length.
pub(crate) fn rank(labels: &[String], scores: Vec<f32>) -> Vec<Score> {
    let mut ranked: Vec<Score> = labels
        .iter()
        .cloned()
        .zip(scores)
        .map(|(label, score)| Score { label, score })
        .collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranked
}

/// Subtracts the largest logit first, so that no exponential overflows.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(logits: &[f32], activation: Activation) -> Vec<(String, f32)> {
        let labels: Vec<String> = (0..logits.len()).map(|id| format!("L{id}")).collect();
        let scores = scores(logits, activation).expect("finite logits");
        rank(&labels, scores)
            .into_iter()
            .map(|score| (score.label, score.score))
            .collect()
    }

    #[test]
    fn softmax_ranks_and_adds_up_to_one() {
        let scores = ranked(&[1.0, 3.0, 2.0], Activation::Softmax);
        let labels: Vec<&str> = scores.iter().map(|(label, _)| label.as_str()).collect();
        assert_eq!(labels, ["L1", "L2", "L0"]);
        let sum: f32 = scores.iter().map(|(_, score)| score).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert!((scores[0].1 - 0.665_240_96).abs() < 1e-6);
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let scores = ranked(&[1e30, -1e30], Activation::Softmax);
        assert_eq!(scores, [("L0".to_owned(), 1.0), ("L1".to_owned(), 0.0)]);
        let scores = ranked(&[-1e30, 1e30], Activation::Sigmoid);
        assert_eq!(scores, [("L1".to_owned(), 1.0), ("L0".to_owned(), 0.0)]);
    }

    #[test]
    fn ties_keep_the_order_of_the_model() {
        let scores = ranked(&[0.5, 0.5], Activation::Softmax);
        assert_eq!(scores, [("L0".to_owned(), 0.5), ("L1".to_owned(), 0.5)]);
    }

    #[test]
    fn a_logit_that_is_not_finite_is_an_error() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(scores(&[0.0, bad], Activation::Softmax).is_err());
        }
    }
}
