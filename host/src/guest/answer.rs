//! Holding what a guest answers to the contract: nothing of it is trusted.

use std::sync::{Arc, OnceLock};

use super::bindings::{Error, Score as GuestScore};
use super::error::CallError;
use super::output::fit;
use crate::predictor::{Score, Scores};

/// The labels of a guest's first answer. Later answers share them, so that an
/// answer that is kept is small.
pub(super) type Labels = OnceLock<Vec<Arc<str>>>;

/// The longest label, in bytes. The contract names it.
const MAX_LABEL: usize = 1024;

/// The most labels of a text. The contract names it.
const MAX_LABELS: usize = 1000;

/// The most bytes of the labels of one text together. The contract names it. A
/// request may have a thousand texts, whose answers are all in memory at once.
const MAX_LABELS_BYTES: usize = 16 * 1024;

/// How many labels answers share: those of most models, and few enough to be
/// looked through for each score.
const MAX_SHARED_LABELS: usize = 32;

/// The longest reason that a guest can give, in bytes. The contract names it.
const MAX_REASON: usize = 1024;

/// Brings a guest's own report into the host's terms.
pub(super) fn reported(error: Error, texts: usize) -> CallError {
    match error {
        Error::InvalidText(text) if (text.index as usize) < texts => CallError::InvalidText {
            index: text.index as usize,
            reason: fit(text.reason, MAX_REASON),
        },
        Error::InvalidText(text) => CallError::BadAnswer(format!(
            "it refuses text {} of {texts}, counted from 0",
            text.index
        )),
        Error::ModelMissing(why) | Error::ModelUnsuitable(why) => {
            CallError::Model(fit(why, MAX_REASON))
        }
        Error::InferenceFailed(why) => CallError::Inference(fit(why, MAX_REASON)),
        Error::Internal(why) => CallError::Internal(fit(why, MAX_REASON)),
    }
}

/// Holds an answer to the contract: a guest is not trusted with the shape of
/// what the host sends out.
pub(super) fn check(
    texts: usize,
    answer: Vec<Vec<GuestScore>>,
    labels: &Labels,
) -> Result<Vec<Scores>, CallError> {
    let bad = |what: String| Err(CallError::BadAnswer(what));
    if answer.len() != texts {
        return bad(format!("{} answers to {texts} texts", answer.len()));
    }
    for (index, scores) in answer.iter().enumerate() {
        if scores.is_empty() {
            return bad(format!("no label for text {index}"));
        }
        if scores.len() > MAX_LABELS {
            let labels = scores.len();
            return bad(format!(
                "{labels} labels for text {index}; there may be {MAX_LABELS}"
            ));
        }
        let bytes: usize = scores.iter().map(|score| score.label.len()).sum();
        if bytes > MAX_LABELS_BYTES {
            return bad(format!(
                "labels of {bytes} bytes for text {index}; there may be {MAX_LABELS_BYTES}"
            ));
        }
        for score in scores {
            // One of these takes six bytes in JSON, and none of them is seen.
            if score.label.contains(char::is_control) {
                return bad("a label with a control character".to_owned());
            }
            if score.label.is_empty() || score.label.len() > MAX_LABEL {
                return bad(format!("a label of {} bytes", score.label.len()));
            }
            if !(0.0..=1.0).contains(&score.score) {
                return bad(format!("a score of {}", score.score));
            }
        }
        if !scores.is_sorted_by(|a, b| a.score >= b.score) {
            return bad(format!("the labels of text {index} are not in order"));
        }
    }
    if let Some(first) = answer.first() {
        labels.get_or_init(|| {
            let labels = first.iter().map(|score| score.label.as_str().into());
            labels.take(MAX_SHARED_LABELS).collect()
        });
    }
    let shared = |label: String| {
        let mut known = labels.get().into_iter().flatten();
        let known = known.find(|known| ***known == *label);
        known.map_or_else(|| label.into(), Arc::clone)
    };
    let scores = |scores: Vec<GuestScore>| {
        scores
            .into_iter()
            .map(|GuestScore { label, score }| Score {
                label: shared(label),
                score,
            })
            .collect()
    };
    Ok(answer.into_iter().map(scores).collect())
}

#[cfg(test)]
mod tests {
    use super::super::bindings::InvalidText;
    use super::*;

    fn score(label: &str, score: f32) -> GuestScore {
        GuestScore {
            label: label.to_owned(),
            score,
        }
    }

    #[test]
    fn an_answer_that_keeps_the_contract_passes() {
        let answer = vec![
            vec![score("a", 1.0), score("b", 0.0)],
            vec![score("a", 0.5)],
        ];
        assert!(check(2, answer, &Labels::new()).is_ok());
        assert!(check(0, Vec::new(), &Labels::new()).is_ok());
        let longest = "x".repeat(MAX_LABEL);
        let long = vec![score(&longest, 0.5); MAX_LABELS_BYTES / MAX_LABEL];
        let many = vec![score("sixteen letters.", 0.5); MAX_LABELS];
        assert!(check(2, vec![long, many], &Labels::new()).is_ok());
    }

    #[test]
    fn an_answer_that_breaks_the_contract_is_refused() {
        let long = "x".repeat(MAX_LABEL + 1);
        let broken = [
            (2, vec![vec![score("a", 1.0)]]),
            (1, vec![Vec::new()]),
            (1, vec![vec![score("", 1.0)]]),
            (1, vec![vec![score(&long, 1.0)]]),
            (1, vec![vec![score("a", f32::NAN)]]),
            (1, vec![vec![score("a", 1.1)]]),
            (1, vec![vec![score("a", -0.1)]]),
            (1, vec![vec![score("a", f32::INFINITY)]]),
            (1, vec![vec![score("a", f32::NEG_INFINITY)]]),
            (1, vec![vec![score("a", 0.1), score("b", 0.9)]]),
            (1, vec![vec![score("a", 0.5); MAX_LABELS + 1]]),
            (1, vec![vec![score("a\nb", 0.5)]]),
            (
                1,
                vec![vec![
                    score(&long[1..], 0.5);
                    MAX_LABELS_BYTES / MAX_LABEL + 1
                ]],
            ),
        ];
        for (texts, answer) in broken {
            let described = format!("{answer:?}");
            assert!(
                matches!(
                    check(texts, answer, &Labels::new()),
                    Err(CallError::BadAnswer(_))
                ),
                "{described}"
            );
        }
    }
    #[test]
    fn what_a_guest_says_is_cut_and_made_harmless() {
        let reason = format!("one\n\u{1b}[2J{}", "x".repeat(1 << 20));
        let text = |index| {
            let reason = reason.clone();
            Error::InvalidText(InvalidText { index, reason })
        };
        let CallError::InvalidText { index: 1, reason } = reported(text(1), 2) else {
            panic!("the text is there");
        };
        assert!(reason.starts_with(r"one \u{1b}[2Jxxx"), "{reason}");
        assert!(reason.len() < MAX_REASON + 16, "{}", reason.len());
        assert!(matches!(reported(text(2), 2), CallError::BadAnswer(_)));
        let internal = reported(Error::Internal("x".repeat(1 << 20)), 2);
        assert!(internal.to_string().len() < MAX_REASON + 100);
    }
}
