//! Checks the answers of guests against the contract. Guests are not trusted with
//! the shape of what the host sends to clients.

use std::sync::{Arc, OnceLock};

use super::bindings::{Error, Score as GuestScore};
use super::error::CallError;
use super::output::one_line;
use predictor::{Score, Scores, contract};

/// The labels of a guest's first answer. Later answers share them, so that cached
/// answers are small.
pub(super) type Labels = OnceLock<Vec<Arc<str>>>;

/// The most labels that answers share: enough for most models, and few enough for a
/// linear search for each score.
const MAX_SHARED_LABELS: usize = 32;

/// The longest error text of a guest, in bytes. The contract states this limit.
const MAX_REASON: usize = 1024;

/// Converts an error that a guest reports.
pub(super) fn reported(error: Error, texts: usize) -> CallError {
    match error {
        Error::InvalidText(text) if (text.index as usize) < texts => CallError::InvalidText {
            index: text.index as usize,
            reason: one_line(text.reason, MAX_REASON),
        },
        Error::InvalidText(text) => CallError::BadAnswer(format!(
            "it refuses text {} of {texts}, counted from 0",
            text.index
        )),
        Error::ModelMissing(why) | Error::ModelUnsuitable(why) => {
            CallError::Model(one_line(why, MAX_REASON))
        }
        Error::InferenceFailed(why) => CallError::Inference(one_line(why, MAX_REASON)),
        Error::Internal(why) => failed(&why),
    }
}

/// Converts a failure that a guest reports of itself.
pub(super) fn failed(why: &str) -> CallError {
    CallError::Internal(one_line(why, MAX_REASON))
}

/// Checks an answer to so many texts.
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
        let pairs: Vec<_> = scores
            .iter()
            .map(|score| (&*score.label, score.score))
            .collect();
        if let Some(broken) = contract::broken(&pairs) {
            return bad(format!("for text {index}, it has {broken}"));
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
    fn an_answer_that_fits_the_contract_passes() {
        let answer = vec![
            vec![score("a", 1.0), score("b", 0.0)],
            vec![score("a", 0.5)],
        ];
        assert!(check(2, answer, &Labels::new()).is_ok());
        assert!(check(0, Vec::new(), &Labels::new()).is_ok());
    }

    #[test]
    fn an_answer_that_breaks_the_contract_is_refused() {
        for (texts, answer) in [
            (2, vec![vec![score("a", 1.0)]]),
            (1, vec![Vec::new()]),
            (2, vec![vec![score("a", 1.0)], vec![score("a", 1.1)]]),
        ] {
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
    fn the_error_text_of_a_guest_is_cut_and_escaped() {
        let reason = format!("one\n\u{1b}[2J{}", "x".repeat(1 << 20));
        let text = |index| {
            let reason = reason.clone();
            Error::InvalidText(InvalidText { index, reason })
        };
        let CallError::InvalidText { index: 1, reason } = reported(text(1), 2) else {
            panic!("there is a text 1");
        };
        assert!(reason.starts_with(r"one \u{1b}[2Jxxx"), "{reason}");
        assert!(reason.len() < MAX_REASON + 16, "{}", reason.len());
        assert!(matches!(reported(text(2), 2), CallError::BadAnswer(_)));
        let internal = reported(Error::Internal("x".repeat(1 << 20)), 2);
        assert!(internal.to_string().len() < MAX_REASON + 100);
    }
}
