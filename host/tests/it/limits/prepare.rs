//! The same orders, carried out in `prepare`, which reads them from the model directory.

use sandbox::{Guest, LoadError};

use super::load_hostile;
use crate::harness::copy_of;
use crate::hostile::TIGHT;

fn prepare(order: &str) -> Result<Guest, LoadError> {
    let model = copy_of("tiny-bert");
    std::fs::write(model.path().join("order"), format!("do {order}")).unwrap();
    load_hostile(TIGHT, model.path())
}

fn assert_refused(order: &str, words: &[&str]) {
    match prepare(order) {
        Err(error @ LoadError::Prepare(_)) => {
            let said = error.to_string();
            for word in words {
                assert!(said.contains(word), "{order}: {word:?} is not in: {said}");
            }
            assert!(said.len() < 6000, "{order}: {said}");
        }
        Err(error) => panic!("{order}: {error:?}"),
        Ok(_) => panic!("{order}: it is served"),
    }
}

#[test]
fn a_guest_that_fails_in_prepare_is_refused_with_its_output() {
    assert_refused("panic: of its own will", &["it printed", "of its own will"]);
    assert_refused("exit: 0", &["it exited with code 0"]);
    assert_refused("recurse", &["stack"]);
    assert_refused("take memory", &[]);
    assert_refused("many random bytes", &[]);
}

#[test]
fn a_guest_that_does_not_end_prepare_is_refused() {
    for order in ["loop", "sleep", "print lines for ever"] {
        assert_refused(order, &["did not finish within 5s"]);
    }
}

/// `prepare` has the model directory, and nothing else.
#[test]
fn a_guest_that_tries_what_prepare_may_not_is_still_loaded() {
    for order in [
        "connect",
        "listen",
        "bind udp",
        "look a name up",
        "write a file",
    ] {
        assert!(prepare(order).is_ok(), "{order}");
    }
}

/// Its answers are cached, and its texts come from many clients.
#[test]
fn a_guest_whose_answers_depend_on_more_than_their_text_is_refused() {
    for (order, words) in [
        (
            "depend on: the clock",
            &["when it is asked again", "on the time"][..],
        ),
        (
            "depend on: the company",
            &["`GOOD` 0.5000, and with `GOOD` 0.0000 beside other texts"],
        ),
    ] {
        let error = prepare(order).err().expect(order);
        assert!(matches!(error, LoadError::WrongAnswers(_)), "{error:?}");
        let said = error.to_string();
        assert!(said.contains("`The self-test of a guest.`"), "{said}");
        for word in words {
            assert!(said.contains(word), "{order}: {word:?} is not in: {said}");
        }
    }
}
