//! Asks a guest to describe itself, and checks what it says.

use wasmtime::component::InstancePre;

use super::bindings::descriptor;
use super::call::Guest;
use super::contract::bind_descriptor;
use super::error::LoadError;
use super::self_test::runner;
use super::state::State;
use predictor::{Activation, Description, Limit, Side, contract};

/// What a guest says of itself.
pub(super) fn describe(
    guest: &Guest,
    linked: InstancePre<State>,
) -> Result<Description, LoadError> {
    let describing = bind_descriptor(linked)?;
    let description = runner()?
        .block_on(guest.describe(&describing))
        .map_err(|error| match LoadError::from(error) {
            LoadError::SelfTest(error) => LoadError::Describe(error),
            error => error,
        })?;
    checked(description)
}

fn checked(said: descriptor::Description) -> Result<Description, LoadError> {
    let bad = |what: String| {
        Err(LoadError::WrongAnswers(format!(
            "its description has {what}"
        )))
    };
    let descriptor::Description {
        labels,
        activation,
        limit,
        batches,
    } = said;
    if let Some(broken) = contract::broken_labels(labels.iter().map(String::as_str)) {
        return bad(broken);
    }
    if limit.is_some_and(|limit| limit.tokens == 0) {
        return bad("a limit of 0 tokens".to_owned());
    }
    Ok(Description {
        labels,
        activation: activation.map(|activation| match activation {
            descriptor::Activation::Softmax => Activation::Softmax,
            descriptor::Activation::Sigmoid => Activation::Sigmoid,
        }),
        limit: limit.map(|limit| Limit {
            tokens: limit.tokens as usize,
            cut: match limit.cut {
                descriptor::Side::Left => Side::Left,
                descriptor::Side::Right => Side::Right,
            },
        }),
        batches,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(labels: &[&str], tokens: u32) -> descriptor::Description {
        descriptor::Description {
            labels: labels.iter().map(ToString::to_string).collect(),
            activation: Some(descriptor::Activation::Sigmoid),
            limit: Some(descriptor::Limit {
                tokens,
                cut: descriptor::Side::Left,
            }),
            batches: false,
        }
    }

    #[test]
    fn a_description_keeps_to_the_rules_of_answers() {
        let description = checked(said(&["good", "bad"], 1)).expect("it fits");
        let limit = Limit {
            tokens: 1,
            cut: Side::Left,
        };
        assert_eq!(description.labels, ["good", "bad"]);
        assert_eq!(description.limit, Some(limit));
        for (said, words) in [
            (said(&[], 1), "its description has no label"),
            (said(&["a", "a"], 1), "its description has label 1 twice"),
            (said(&["a\u{202e}"], 1), "the character U+202E in label 0"),
            (said(&["a"], 0), "its description has a limit of 0 tokens"),
        ] {
            let told = checked(said).expect_err(words).to_string();
            assert!(told.contains(words), "{told}");
        }
    }
}
