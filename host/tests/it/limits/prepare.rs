//! The same orders given to `prepare`, which finds them in the model directory.

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
fn a_guest_that_fails_in_prepare_is_refused_in_its_own_words() {
    assert_refused("panic: of its own will", &["it said", "of its own will"]);
    assert_refused("exit: 0", &["it ended itself (exit 0)"]);
    assert_refused("recurse", &["stack"]);
    assert_refused("take memory", &[]);
    assert_refused("many random bytes", &[]);
}

#[test]
fn a_guest_that_does_not_end_prepare_is_refused() {
    for order in ["loop", "sleep", "print lines for ever"] {
        assert_refused(order, &["not done after 5s"]);
    }
}

/// It sees the model while it prepares, and nothing else.
#[test]
fn what_prepare_is_denied_is_no_reason_to_refuse_a_guest() {
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
