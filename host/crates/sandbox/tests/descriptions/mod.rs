//! What guests say of themselves.

use predictor::{
    Activation, CancellationToken, Description, ErrorKind, Limit, PredictError, Scorer, Side,
};

use super::*;

const DESCRIBE: &str = include_str!("../guests/describe.wat");
const EXPORT: &str = include_str!("../guests/export.wat");

/// What makes a guest describe itself, after it has done `body`.
fn describing(body: &str) -> String {
    DESCRIBE.replace("(;describe;)", body)
}

/// A guest that does `body` when it is asked to describe itself.
fn described(body: &str) -> Result<Guest, LoadError> {
    let text = hostile() + &describing(body);
    load_text(&tight(), &text)
}

/// Why it is refused.
fn refusal(body: &str) -> String {
    let error = described(body).err().expect(body);
    format!("{}: {error}", error.step())
}

#[test]
fn a_description_is_what_the_guest_says() {
    let guest = described("").unwrap();
    let said = Description {
        labels: vec!["COUNT".to_owned()],
        activation: Some(Activation::Sigmoid),
        limit: Some(Limit {
            tokens: 7,
            cut: Side::Left,
        }),
        batches: false,
    };
    assert_eq!(guest.description(), Some(&said));
    assert_eq!(wait(order_count(&guest)), 1);
}

async fn order_count(guest: &Guest) -> u32 {
    hundredths(&guest.predict(&["count".to_owned()]).await.unwrap())
}

#[test]
fn a_guest_that_does_not_describe_itself_is_served_all_the_same() {
    let guest = load_text(&tight(), &hostile()).unwrap();
    assert_eq!(guest.description(), None);
}

#[test]
fn a_guest_that_cannot_describe_itself_is_refused() {
    let failing = "self_test: the guest could not describe itself: ";
    for (body, words) in [
        ("unreachable", "the guest trapped: unreachable"),
        ("(loop $forever (br $forever))", "did not answer within 2s"),
        (
            "(i32.store8 (i32.const 0) (i32.const 1))
             (i32.store (i32.const 4) (i32.const 128))
             (i32.store (i32.const 8) (i32.const 5))",
            "the guest failed: COUNT",
        ),
    ] {
        let told = refusal(body);
        assert!(told.starts_with(failing) && told.contains(words), "{told}");
    }
}

#[test]
fn a_description_that_is_not_true_is_refused() {
    let no_label = "(i32.store (i32.const 8) (i32.const 0))";
    assert!(refusal(no_label).contains("its description has no label"));
    let no_tokens = "(i32.store (i32.const 20) (i32.const 0))";
    assert!(refusal(no_tokens).contains("a limit of 0 tokens"));
    let other_label = "(i32.store8 (i32.const 128) (i32.const 0x4d))";
    let told = refusal(other_label);
    let words = "describes itself with 1 labels, such as `MOUNT`, and answers with 1, such as \
                 `COUNT`";
    assert!(
        told.starts_with("self_test: ") && told.contains(words),
        "{told}"
    );
    // It lies beyond the memory.
    let nowhere = "(i32.store (i32.const 64) (i32.const 0x7ffffff0))";
    assert!(refusal(nowhere).contains("could not describe itself"));
}

#[test]
fn a_description_of_another_type_is_refused() {
    let text = hostile() + &describing("").replace("\"batches\" bool", "\"batches\" u8");
    let error = load_text(&tight(), &text).err().expect("another type");
    assert_eq!(error.step().as_str(), "contract");
    assert!(error.to_string().contains("batches"), "{error}");
}

/// What makes a guest export `whole-texts` as well: the same function by another name.
fn whole_texts() -> String {
    let exporter = EXPORT.split_once("(component $exporter").unwrap().1;
    format!("(component $whole{exporter}")
        .replace("(export \"predict\"", "(export \"predict-whole\"")
        .replace("$exported", "$whole-exported")
        .replace("(instantiate $exporter", "(instantiate $whole")
        .replace("predictor@", "whole-texts@")
}

/// What a guest answers if the text must not be truncated.
fn whole(guest: &Guest, text: &str) -> Result<u32, PredictError> {
    let answer = guest.score_whole(&[text.to_owned()], &CancellationToken::never());
    answer.map(|scores| hundredths(&scores))
}

#[test]
fn a_guest_may_tell_which_texts_it_would_truncate() {
    let guest = load_text(&tight(), &(hostile() + &whole_texts())).unwrap();
    assert_eq!(whole(&guest, "count").unwrap(), 1);
    let error = whole(&guest, "invalid").unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidText { index: 0 });
    assert!(!error.message.contains("cannot tell"), "{error}");
    let error = whole(&guest, "loop").unwrap_err();
    assert_eq!(error.kind, ErrorKind::TimedOut);
}

#[test]
fn one_that_cannot_tell_refuses_all_texts_unless_it_has_no_limit() {
    let no_limit = "(i32.store8 (i32.const 16) (i32.const 0))";
    let unlimited = described(no_limit).unwrap();
    assert_eq!(unlimited.description().unwrap().limit, None);
    assert_eq!(whole(&unlimited, "count").unwrap(), 1);
    let silent = load_text(&tight(), &hostile()).unwrap();
    for guest in [described("").unwrap(), silent] {
        let error = whole(&guest, "count").unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidText { index: 0 });
        assert!(error.message.contains("cannot tell"), "{error}");
    }
}

#[test]
fn whole_texts_of_another_kind_are_refused() {
    let other = whole_texts().replace("\"predict-whole\"", "\"predict-all\"");
    let error = load_text(&tight(), &(hostile() + &other)).err();
    let error = error.expect("another function");
    assert_eq!(error.step().as_str(), "contract");
    assert!(error.to_string().contains("predict-whole"), "{error}");
}
