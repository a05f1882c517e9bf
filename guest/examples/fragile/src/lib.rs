//! A guest that crashes at a word, to see what the host does then (`fastsentiment demo`).
//!
//! It passes every test that it is given before it is made live, as a real fault may.

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

/// The word.
const CRASH: &str = "crash";

/// A label of its own: a guest with those of the model is compared with it.
const LABEL: &str = "UNDECIDED";

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
            labels: vec![LABEL.to_owned()],
            // No model, and so no logits and no tokens.
            activation: None,
            limit: None,
            batches: true,
        })
    }
}

fastsentiment_command::export!(|texts| Ok(texts.iter().map(|text| rank(text)).collect()));

/// The same for every text that it survives.
fn rank(text: &str) -> Vec<(String, f32)> {
    assert!(!text.contains(CRASH), "a text has the word `{CRASH}`");
    vec![(LABEL.to_owned(), 1.0)]
}
