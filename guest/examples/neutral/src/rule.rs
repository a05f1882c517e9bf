//! When an answer is `NEUTRAL`, and what the scores are then.
//!
//! The *lead* is the best score minus the second best. `NEUTRAL` comes first exactly
//! if the lead is smaller than the [`Margin`]. Its weight, beside the model's scores, is
//!
//! > best score x (2 - lead / margin), or 0 if that is negative:
//!
//! twice the best score without a lead, the best score at a lead of the margin, and 0
//! from a lead of twice the margin on. Then all are divided by their sum, so that they
//! add up to 1. So clear answers are exactly the model's, and scores are a continuous
//! function of the lead: a small change of a text does not make them jump.
//!
//! For a model with two labels and the margin that is the default, 0.2:
//!
//! | model | this guest |
//! |---|---|
//! | 0.50 / 0.50 | `NEUTRAL` 0.50, 0.25 / 0.25 |
//! | 0.55 / 0.45 | `NEUTRAL` 0.45, 0.30 / 0.25 |
//! | 0.60 / 0.40 | 0.375 / 0.25, `NEUTRAL` 0.375: equal to the best |
//! | 0.65 / 0.35 | 0.49 / 0.26, `NEUTRAL` 0.25 |
//! | 0.70 / 0.30 | 0.70 / 0.30, `NEUTRAL` 0 |

use std::str::FromStr;

use fastsentiment_classifier::Activation;
use fastsentiment_classifier::bindings::Score;

/// The label that is added to those of the model.
pub(crate) const NEUTRAL: &str = "NEUTRAL";

/// The lead below which `NEUTRAL` is the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Margin(f32);

impl Margin {
    /// What is allowed.
    pub(crate) const ALLOWED: &str = "a number from 0.01 to 1";
}

impl Default for Margin {
    fn default() -> Self {
        Self(0.2)
    }
}

impl FromStr for Margin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let margin = text.parse().map_err(|_| ())?;
        (0.01..=1.0)
            .contains(&margin)
            .then_some(Self(margin))
            .ok_or(())
    }
}

/// Checks that the rule applies to a model; the error says why it does not.
pub(crate) fn check(labels: &[String], activation: Activation) -> Result<(), String> {
    if labels.len() < 2 {
        return Err(format!(
            "{NEUTRAL} is for texts between two labels, but the model has {}",
            labels.len()
        ));
    }
    if activation == Activation::Sigmoid {
        return Err(format!(
            "{NEUTRAL} is for labels that exclude each other, but a text can have \
             several labels of this model"
        ));
    }
    match labels
        .iter()
        .find(|label| label.eq_ignore_ascii_case(NEUTRAL))
    {
        Some(label) => Err(format!("the model already has the label {label:?}")),
        None => Ok(()),
    }
}

/// Adds [`NEUTRAL`] to a model's scores of a text: two or more that add up to 1,
/// highest first. The result adds up to 1 and has the highest first, too.
pub(crate) fn apply(mut scores: Vec<Score>, Margin(margin): Margin) -> Vec<Score> {
    let [best, second, ..] = scores.as_slice() else {
        return scores;
    };
    let lead = best.score - second.score;
    let weight = best.score * (2.0 - lead / margin).max(0.0);
    let place = if lead < margin {
        0
    } else {
        // After labels of the same weight.
        scores.partition_point(|score| score.score >= weight)
    };
    let neutral = Score {
        label: NEUTRAL.to_owned(),
        score: weight,
    };
    scores.insert(place, neutral);
    if weight > 0.0 {
        let sum: f32 = scores.iter().map(|score| score.score).sum();
        for score in &mut scores {
            score.score /= sum;
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(scores: &[f32]) -> Vec<(String, f32)> {
        let model = scores.iter().enumerate().map(|(id, score)| Score {
            label: format!("L{id}"),
            score: *score,
        });
        let answer = apply(model.collect(), Margin::default()).into_iter();
        answer.map(|score| (score.label, score.score)).collect()
    }

    fn assert_close(answer: &[(String, f32)], expected: &[(&str, f32)]) {
        assert_eq!(answer.len(), expected.len(), "{answer:?}");
        for ((label, score), (expected_label, expected)) in answer.iter().zip(expected) {
            assert_eq!(label, expected_label, "{answer:?}");
            assert!((score - expected).abs() < 1e-6, "{answer:?}");
        }
    }

    #[test]
    fn neutral_leads_close_labels() {
        assert_close(
            &applied(&[0.5, 0.5]),
            &[("NEUTRAL", 0.5), ("L0", 0.25), ("L1", 0.25)],
        );
        let sum = 1.0 + 0.55 * 1.5;
        assert_close(
            &applied(&[0.55, 0.45]),
            &[
                ("NEUTRAL", 0.825 / sum),
                ("L0", 0.55 / sum),
                ("L1", 0.45 / sum),
            ],
        );
    }

    #[test]
    fn a_clear_answer_is_not_changed() {
        for scores in [[0.75, 0.25], [0.9, 0.1], [1.0, 0.0]] {
            let expected = [("L0", scores[0]), ("L1", scores[1]), ("NEUTRAL", 0.0)];
            let expected = expected.map(|(label, score)| (label.to_owned(), score));
            assert_eq!(applied(&scores), expected);
        }
    }

    #[test]
    fn neutral_falls_behind_as_the_lead_grows() {
        assert_close(
            &applied(&[0.65, 0.35]),
            &[
                ("L0", 0.65 / 1.325),
                ("L1", 0.35 / 1.325),
                ("NEUTRAL", 0.325 / 1.325),
            ],
        );
        assert_close(
            &applied(&[0.5, 0.25, 0.25]),
            &[
                ("L0", 0.5 / 1.375),
                ("NEUTRAL", 0.375 / 1.375),
                ("L1", 0.25 / 1.375),
                ("L2", 0.25 / 1.375),
            ],
        );
    }

    #[test]
    fn whatever_the_lead_scores_are_in_order_and_add_up_to_one() {
        let mut leading = 0;
        let mut previous = f32::INFINITY;
        for step in 0..=10_000_u16 {
            let best = 0.5 + f32::from(step) / 20_000.0;
            let answer = applied(&[best, 1.0 - best]);
            assert!(answer.is_sorted_by(|a, b| a.1 >= b.1), "{best}: {answer:?}");
            assert!(answer.iter().all(|(_, score)| (0.0..=1.0).contains(score)));
            let sum: f32 = answer.iter().map(|(_, score)| score).sum();
            assert!((sum - 1.0).abs() < 1e-6, "{best}: {sum}");
            let leads = answer[0].0 == NEUTRAL;
            assert_eq!(
                leads,
                best - (1.0 - best) < Margin::default().0,
                "{best}: {answer:?}"
            );
            leading += u32::from(leads);
            let neutral = answer.iter().find(|(label, _)| label == NEUTRAL);
            let neutral = neutral.expect("it is always there").1;
            assert!(neutral <= previous, "{best}: {neutral} after {previous}");
            previous = neutral;
        }
        assert!((1_999..=2_001).contains(&leading), "{leading}");
    }

    #[test]
    fn a_margin_is_a_part_of_all_leads() {
        for (text, expected) in [("0.3", Some(0.3)), ("1", Some(1.0)), ("0.01", Some(0.01))] {
            assert_eq!(text.parse().ok().map(|Margin(margin)| margin), expected);
        }
        for wrong in ["", "0", "1.01", "-0.2", "NaN", "inf", "20 %"] {
            assert!(wrong.parse::<Margin>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_model_that_the_rule_does_not_apply_to_is_refused() {
        let check = |labels: &[&str], activation| {
            let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
            check(&labels, activation)
        };
        assert_eq!(check(&["bad", "good"], Activation::Softmax), Ok(()));
        assert!(check(&["bad", "good"], Activation::Sigmoid).is_err());
        assert!(check(&["toxic"], Activation::Sigmoid).is_err());
        assert!(check(&["bad", "neutral", "good"], Activation::Softmax).is_err());
    }
}
