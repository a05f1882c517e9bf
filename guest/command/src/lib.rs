//! Makes a guest a command, to try it with nothing but a WebAssembly runtime: texts as
//! arguments, or as lines on standard input; JSON, as in the HTTP API, on standard
//! output.
//!
//! This crate must not know how a guest scores texts.

use std::fmt::Display;
use std::io::{self, BufRead, Write};

use serde::Serialize;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use wasip2;

/// Exports `wasi:cli/run`, which calls [`run`] with the given function. On targets
/// other than WebAssembly it only checks types.
#[macro_export]
macro_rules! export {
    ($predict:expr) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Command;

            impl $crate::wasip2::exports::cli::run::Guest for Command {
                fn run() -> Result<(), ()> {
                    $crate::run($predict)
                }
            }

            $crate::wasip2::cli::command::export!(Command);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> Result<(), ()> = || $crate::run($predict);
    };
}

/// Every label of a text with its score.
pub type Scores = Vec<(String, f32)>;

#[derive(Serialize)]
struct Answer {
    predictions: Vec<Vec<LabelScore>>,
}

#[derive(Serialize)]
struct LabelScore {
    label: String,
    score: f32,
}

/// Runs the command. `predict` gets the texts, and returns the scores of each, in
/// order, or an error in one sentence.
///
/// # Errors
///
/// If a text cannot be read or scored; the reason is on standard error.
#[expect(clippy::result_unit_err, reason = "the signature of `wasi:cli/run`")]
pub fn run(predict: impl FnOnce(Vec<String>) -> Result<Vec<Scores>, String>) -> Result<(), ()> {
    let arguments = std::env::args().skip(1).collect();
    answer(arguments, io::stdin().lock(), io::stdout().lock(), predict).map_err(|error| {
        // There is nowhere to report a failure of standard error.
        let _ = writeln!(io::stderr(), "error: {error}");
    })
}

fn answer(
    arguments: Vec<String>,
    input: impl BufRead,
    mut output: impl Write,
    predict: impl FnOnce(Vec<String>) -> Result<Vec<Scores>, String>,
) -> Result<(), String> {
    let texts = if arguments.is_empty() {
        input
            .lines()
            .collect::<Result<_, _>>()
            .map_err(|error| format!("standard input cannot be read: {error}"))?
    } else {
        arguments
    };
    let scores = |scores: Scores| {
        let scores = scores.into_iter();
        scores.map(|(label, score)| LabelScore { label, score })
    };
    let predictions = predict(texts)?
        .into_iter()
        .map(|of_text| scores(of_text).collect())
        .collect();
    let write_failed = |error: &dyn Display| format!("standard output cannot be written: {error}");
    serde_json::to_writer(&mut output, &Answer { predictions })
        .map_err(|error| write_failed(&error))?;
    writeln!(output).map_err(|error| write_failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the command prints; each text's only label is the text itself.
    fn printed(arguments: &[&str], input: &[u8]) -> Result<String, String> {
        let arguments = arguments.iter().map(|&text| text.to_owned()).collect();
        let mut output = Vec::new();
        answer(arguments, input, &mut output, |texts| {
            Ok(texts.into_iter().map(|text| vec![(text, 0.25)]).collect())
        })?;
        Ok(String::from_utf8(output).expect("JSON is UTF-8"))
    }

    #[test]
    fn arguments_are_texts_and_input_is_read_only_without_any() {
        assert_eq!(
            printed(&["a \"b\"", ""], b"not this\n").as_deref(),
            Ok(concat!(
                r#"{"predictions":[[{"label":"a \"b\"","score":0.25}],"#,
                r#"[{"label":"","score":0.25}]]}"#,
                "\n"
            ))
        );
        assert_eq!(
            printed(&[], b"one\n\ntwo").map(|json| json.matches("label").count()),
            Ok(3)
        );
        assert_eq!(printed(&[], b"").as_deref(), Ok("{\"predictions\":[]}\n"));
    }

    #[test]
    fn errors_name_what_failed() {
        let error = printed(&[], b"\xff\n").expect_err("not UTF-8");
        assert!(error.contains("standard input"), "{error}");
        let refused = answer(vec!["a".to_owned()], &b""[..], Vec::new(), |_| {
            Err("no such model".to_owned())
        });
        assert_eq!(refused, Err("no such model".to_owned()));
        let nowhere: &mut [u8] = &mut [];
        let error = answer(Vec::new(), &b""[..], nowhere, |_| Ok(Vec::new()));
        let error = error.expect_err("no room");
        assert!(error.contains("standard output"), "{error}");
    }
}
