//! Guests for tests, assembled from the WebAssembly text beside this file: they compile in
//! an instant, and do what no compiler would generate.
//!
//! The tests of the whole server include this file as well.

use predictor::Scores;

const EXPORT: &str = include_str!("export.wat");
const HOSTILE: &str = include_str!("hostile.wat");
const EXPLORER: &str = include_str!("explorer.wat");
const PREPARE: &str = r#"
    (func $prepare (canon lift (core func $code "prepare")))
    (export "prepare" (func $prepare))
"#;

/// The text of a guest that obeys orders; see `hostile.wat`.
pub(crate) fn hostile() -> String {
    format!("{HOSTILE}{EXPORT}")
}

/// The same with a `prepare`, which does `body` before it counts to 40.
pub(crate) fn prepared(body: &str) -> String {
    hostile().replace("(;prepare;)", body) + PREPARE
}

/// The text of a guest that explores its environment; see `explorer.wat`.
pub(crate) fn explorer() -> String {
    format!("{EXPLORER}{EXPORT}")
}

/// Assembles a component.
pub(crate) fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).unwrap()
}

/// The number in the only answer of one of these guests.
pub(crate) fn hundredths(answer: &[Scores]) -> u32 {
    assert_eq!((answer.len(), answer[0].len()), (1, 1));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a hundredth of a small number"
    )]
    let number = (answer[0][0].score * 100.0).round() as u32;
    number
}
