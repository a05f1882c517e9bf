//! A guest that needs no model: it looks up words in a list.
//!
//! It has no `prepare`, since it loads nothing. It is small, and quick to compile and to call,
//! so it is a good first guest to swap in. Its answers are only as good as a list of words.

mod sentiment;
mod words;

#[expect(
    unsafe_code,
    clippy::same_length_and_capacity,
    reason = "made by `wit-bindgen`, which passes pointers over the component's boundary"
)]
mod bindings {
    //! What `wit-bindgen` makes of the contract.

    wit_bindgen::generate!({
        path: "../../../wit",
        world: "fastsentiment:predict/described-guest",
        generate_all,
    });

    use super::Component;
    export!(Component);
}

use bindings::exports::fastsentiment::predict::descriptor::{Description, Guest as Describe};
use bindings::exports::fastsentiment::predict::predictor::{Error, Guest as Predict, Score};

struct Component;

impl Predict for Component {
    fn predict(texts: Vec<String>) -> Result<Vec<Vec<Score>>, Error> {
        let scores = |text: &String| {
            let ranked = rank(text).into_iter();
            ranked
                .map(|(label, score)| Score { label, score })
                .collect()
        };
        Ok(texts.iter().map(scores).collect())
    }
}

impl Describe for Component {
    fn describe() -> Result<Description, String> {
        Ok(Description {
            labels: LABELS.map(str::to_owned).to_vec(),
            // No model, and so no logits and no tokens.
            activation: None,
            limit: None,
            batches: true,
        })
    }
}

/// In the order of the included model.
const LABELS: [&str; 2] = ["NEGATIVE", "POSITIVE"];

fastsentiment_command::export!(|texts| Ok(texts.iter().map(|text| rank(text)).collect()));

/// Both labels with their scores, the higher first; `POSITIVE` comes first in a tie.
fn rank(text: &str) -> Vec<(String, f32)> {
    let positive = probability(sentiment::of(text));
    let negative = 1.0 - positive;
    let mut ranked = vec![
        (LABELS[1].to_owned(), positive),
        (LABELS[0].to_owned(), negative),
    ];
    if negative > positive {
        ranked.reverse();
    }
    ranked
}

/// The logistic function: no sentiment gives 0.5, a single strong word about 0.9.
fn probability(sentiment: f32) -> f32 {
    1.0 / (1.0 + (-sentiment).exp())
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "what is left of 1 adds up to it exactly")]
mod tests {
    use super::*;

    #[test]
    fn scores_add_up_to_one_and_the_higher_comes_first() {
        let long = "great ".repeat(1000);
        for text in [
            "",
            "great",
            "awful",
            "not great",
            "a table",
            &long,
            "\u{0}\u{301}",
        ] {
            let ranked = rank(text);
            assert_eq!(ranked.len(), 2);
            assert_eq!(ranked[0].1 + ranked[1].1, 1.0, "{text}: {ranked:?}");
            assert!(ranked[0].1 >= ranked[1].1, "{text}: {ranked:?}");
            assert!(ranked[0].1 <= 1.0 && ranked[1].1 >= 0.0);
        }
    }

    #[test]
    fn a_tie_has_a_fixed_order() {
        for text in ["", "   ", "the table is round", "!?"] {
            let tie = [("POSITIVE".to_owned(), 0.5), ("NEGATIVE".to_owned(), 0.5)];
            assert_eq!(rank(text), tie, "{text}");
        }
    }

    #[test]
    fn a_strong_word_is_enough_for_a_clear_answer() {
        for (text, label) in [("wonderful", "POSITIVE"), ("terrible", "NEGATIVE")] {
            let ranked = rank(text);
            assert_eq!(ranked[0].0, label);
            assert!((0.9..0.96).contains(&ranked[0].1), "{ranked:?}");
        }
    }
}
