//! The self-test of a guest, before it is served.
//!
//! A guest that fails for an ordinary text is refused. So is one whose answer to a text
//! depends on chance, on the time or on the other texts of the call: answers are cached, and
//! texts of many clients are scored together.

use std::collections::BTreeMap;

use super::call::{Executor, Guest, executor};
use super::error::{CallError, LoadError};
use super::golden::{Golden, shown};
use predictor::{Description, Scores};

/// The text that is scored several times.
const TEXT: &str = "The self-test of a guest.";

/// Other texts, shorter and longer.
const OTHERS: [&str; 3] = [
    "Good.",
    "It is not the worst film of the year, but nearly, and nobody will miss it.",
    "!!! ??? ...",
];

/// How much a score may differ when the same text is scored again: more than rounding ever
/// does.
const AGAIN: f32 = 1e-3;

/// How much a score may differ beside other texts. A quantised model that computes its scales
/// over the whole batch differs by a few hundredths; the default guest runs the texts of such
/// a model one by one, unless its `config.json` says that it need not.
const BESIDE: f32 = 0.1;

impl Guest {
    /// Tests a guest that passed the whole test before: whether it runs on this machine.
    pub(super) fn test_again(&self) -> Result<(), LoadError> {
        self.ask(&runner()?, &[TEXT])?;
        Ok(())
    }

    /// Tests a guest that was just compiled.
    pub(super) fn test(&self, golden: &Golden) -> Result<(), LoadError> {
        let runner = runner()?;
        let alone = self.ask(&runner, &[TEXT])?;
        if let (Some(description), [answer]) = (self.description(), &*alone) {
            check_labels(description, answer)?;
        }
        let again = self.ask(&runner, &[TEXT])?;
        if let Some(answers) = differ(&alone, &again, AGAIN) {
            return Err(LoadError::WrongAnswers(format!(
                "it answers `{TEXT}` with {}, and with {} when it is asked again; an answer must \
                 not depend on chance or on the time",
                answers.0, answers.1
            )));
        }
        let [first, rest @ ..] = OTHERS;
        let company: Vec<&str> = [first, TEXT].into_iter().chain(rest).collect();
        // A guest that fails for several texts is asked for them one by one.
        if let Ok(beside) = self.ask(&runner, &company)
            && let Some(answers) = differ(&alone, &beside[1..], BESIDE)
        {
            return Err(LoadError::WrongAnswers(format!(
                "it answers `{TEXT}` with {}, and with {} beside other texts; the answer to a \
                 text must not depend on the texts of other clients",
                answers.0, answers.1
            )));
        }
        let mut answers = Vec::new();
        for sample in golden.samples() {
            answers.push(match self.ask(&runner, &[&sample.text]) {
                Ok(answer) => answer.into_iter().next(),
                // It may be too long for a guest that truncates nothing.
                Err(CallError::InvalidText { .. }) => None,
                Err(error) => return Err(error.into()),
            });
        }
        golden.compare(&answers)
    }

    fn ask(&self, runner: &Executor, texts: &[&str]) -> Result<Vec<Scores>, CallError> {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        runner.block_on(self.predict(&texts))
    }
}

/// What runs calls while a guest is loaded.
pub(super) fn runner() -> Result<Executor, LoadError> {
    executor().map_err(|error| LoadError::Host(error.to_string()))
}

/// Compares the labels that a guest says that it has with those of an answer.
fn check_labels(said: &Description, answer: &Scores) -> Result<(), LoadError> {
    if said.has_labels_of(answer) {
        return Ok(());
    }
    let list = |labels: &mut dyn Iterator<Item = &str>| {
        let first = labels.take(LABELS).map(shown);
        first.collect::<Vec<_>>().join(", ")
    };
    Err(LoadError::WrongAnswers(format!(
        "it describes itself with {} labels, such as {}, and answers with {}, such as {}",
        said.labels.len(),
        list(&mut said.labels.iter().map(String::as_str)),
        answer.len(),
        list(&mut answer.iter().map(|score| &*score.label)),
    )))
}

/// The most labels of an answer in a message.
const LABELS: usize = 3;

/// Describes the first answers of two calls if they have other labels, or a score that
/// differs by more than `tolerance`.
fn differ(one: &[Scores], other: &[Scores], tolerance: f32) -> Option<(String, String)> {
    let (one, other) = (one.first()?, other.first()?);
    let by_label = |answer: &Scores| -> BTreeMap<_, _> {
        let scores = answer.iter();
        scores
            .map(|score| (score.label.clone(), score.score))
            .collect()
    };
    let (left, right) = (by_label(one), by_label(other));
    let close = |a: f32, b: f32| (a - b).abs() <= tolerance;
    let mut pairs = left.iter().zip(&right);
    let agree = left.len() == right.len() && pairs.all(|(a, b)| a.0 == b.0 && close(*a.1, *b.1));
    (!agree).then(|| (described(one), described(other)))
}

/// The first labels of an answer, with their scores.
fn described(answer: &Scores) -> String {
    let first = answer.iter().take(LABELS);
    let described: Vec<String> = first
        .map(|score| format!("{} {:.4}", shown(&score.label), score.score))
        .collect();
    described.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use predictor::Score;

    fn answer(scores: &[(&str, f32)]) -> Vec<Scores> {
        let score = |(label, score): &(&str, f32)| Score {
            label: (*label).into(),
            score: *score,
        };
        vec![scores.iter().map(score).collect()]
    }

    #[test]
    fn answers_with_other_labels_or_scores_differ() {
        let one = answer(&[("good", 0.5004), ("bad", 0.4996)]);
        // In another order, by rounding.
        let close = answer(&[("bad", 0.5001), ("good", 0.4999)]);
        assert_eq!(differ(&one, &close, AGAIN), None);
        for other in [
            answer(&[("good", 0.51), ("bad", 0.49)]),
            answer(&[("good", 0.5004)]),
            answer(&[("good", 0.5004), ("so-so", 0.4996)]),
        ] {
            let (left, right) = differ(&one, &other, AGAIN).expect("they differ");
            assert_eq!(left, "`good` 0.5004, `bad` 0.4996");
            assert!(right.starts_with("`good` 0.5"), "{right}");
        }
        let long = "x".repeat(1000);
        let labels: Vec<String> = (0..1000).map(|number| format!("{number}{long}")).collect();
        let many: Vec<_> = labels.iter().map(|label| (&**label, 0.5)).collect();
        let (_, right) = differ(&one, &answer(&many), AGAIN).expect("they differ");
        assert!(right.len() < 200, "{right}");
    }
}
