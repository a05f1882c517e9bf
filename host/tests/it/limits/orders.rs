//! Each order of the hostile guest, and how the host reports it. After each, the next
//! call must not notice anything.

use predictor::Scores;
use sandbox::{CallError, Guest, Limits};

use super::{load_hostile, number};
use crate::harness::{GENEROUS, default_model, fixture, wait};
use crate::hostile::TIGHT;

fn order(guest: &Guest, order: &str) -> Result<Vec<Scores>, CallError> {
    wait(guest.predict(&[format!("do {order}")]))
}

/// The finding of an order, or its error.
fn finding(guest: &Guest, name: &str) -> String {
    match order(guest, name) {
        Ok(answer) => answer[0][0].label.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

fn assert_unharmed(guest: &Guest, after: &str) {
    let text = format!("a text after {after}");
    let answer = wait(guest.predict(std::slice::from_ref(&text))).unwrap();
    assert_eq!(&*answer[0][0].label, "GOOD");
    let expected = f32::from(number(&text)) / 1000.0;
    assert!((answer[0][0].score - expected).abs() < 1e-6, "{answer:?}");
}

/// Whether an error is the right one.
type Expected = fn(&CallError) -> bool;

fn assert_errors(guest: &Guest, cases: &[(&str, Expected)]) {
    for (name, expected) in cases {
        match order(guest, name) {
            Err(error) => {
                assert!(expected(&error), "{name}: {error:?}");
                // Text of the guest must not fill the log.
                assert!(error.to_string().len() < 6000, "{name}: {error}");
            }
            Ok(answer) => panic!("{name} is answered: {answer:?}"),
        }
        assert_unharmed(guest, name);
    }
}

fn assert_findings(guest: &Guest, cases: &[(&str, &str)]) {
    for (name, expected) in cases {
        let found = finding(guest, name);
        assert!(found.contains(expected), "{name}: {found}");
        assert_unharmed(guest, name);
    }
}

fn traps(error: &CallError) -> bool {
    matches!(error, CallError::Trapped { .. })
}

fn times_out(error: &CallError) -> bool {
    matches!(error, CallError::TimedOut(_))
}

fn breaks_contract(error: &CallError) -> bool {
    matches!(error, CallError::BadAnswer(_))
}

#[test]
fn a_failure_is_told_apart_from_a_time_out() {
    let guest = load_hostile(TIGHT, &fixture("tiny-bert")).unwrap();
    assert_errors(
        &guest,
        &[
            ("loop", times_out),
            ("sleep", times_out),
            ("wait for ever", times_out),
            (
                "take memory",
                |e| matches!(e, CallError::OutOfMemory { limit } if *limit == TIGHT.memory),
            ),
            (
                "recurse",
                |e| matches!(e, CallError::Trapped { why, .. } if why.contains("stack")),
            ),
            ("panic: of its own will", |e| {
                let CallError::Trapped { stderr, .. } = e else {
                    return false;
                };
                stderr.contains("of its own will") && e.to_string().contains("its standard error: ")
            }),
            ("abort", traps),
            ("exit: 0", |e| matches!(e, CallError::Exited(0))),
            // WASI reports only whether a component failed.
            ("exit: 3", |e| matches!(e, CallError::Exited(1))),
        ],
    );
    let exited = order(&guest, "exit: 0").unwrap_err().to_string();
    assert_eq!(exited, "the guest exited with code 0");
}

#[test]
fn answers_beyond_the_limits_are_refused() {
    let guest = load_hostile(TIGHT, &fixture("tiny-bert")).unwrap();
    assert_eq!(finding(&guest, "label: 1024").len(), 1024);
    assert_eq!(order(&guest, "labels: 1000").unwrap()[0].len(), 1000);
    let family = "\u{1f468}\u{200d}\u{1f469}";
    assert_eq!(finding(&guest, &format!("labels of: {family}")), family);
    assert_errors(
        &guest,
        &[
            ("label: 0", breaks_contract),
            ("label: 1025", breaks_contract),
            ("labels: 0", breaks_contract),
            ("label twice", breaks_contract),
            ("labels of: a|b|a", breaks_contract),
            ("labels of: a|b\u{1b}[2J", breaks_contract),
            ("labels of: a\u{202e}b", breaks_contract),
            ("labels of: a|a\u{200b}", breaks_contract),
            ("labels of: a\u{2028}", breaks_contract),
            ("labels: 1001", breaks_contract),
            ("answer once more", breaks_contract),
            ("score: NaN", breaks_contract),
            ("score: inf", breaks_contract),
            ("score: -inf", breaks_contract),
            ("score: -0.001", breaks_contract),
            ("score: 1.001", breaks_contract),
            // More than a guest can pass to the host in one call.
            (
                "label: 10000000",
                |e| matches!(e, CallError::Trapped { why, .. } if why.contains("too much data")),
            ),
            ("labels: 100000", traps),
            ("refuse: 5000000", traps),
            ("fail: 5000000", traps),
            (
                "refuse: 100000",
                |e| matches!(e, CallError::InvalidText { index: 0, reason } if reason.len() < 1100),
            ),
            (
                "fail: 100000",
                |e| matches!(e, CallError::Internal(why) if why.len() < 1100),
            ),
        ],
    );
}

#[test]
fn a_guest_cannot_leave_its_sandbox() {
    let guest = load_hostile(TIGHT, &fixture("tiny-bert")).unwrap();
    assert_findings(
        &guest,
        &[
            ("read a file", "refused"),
            ("list directories", "refused"),
            ("read the environment", "0 variables"),
            ("read arguments", "0 arguments"),
            ("connect", "refused"),
            ("listen", "refused"),
            ("bind udp", "refused"),
            ("look a name up", "refused"),
            ("read much", "refused"),
            ("skip much", "refused"),
            ("random bytes", "65536 bytes"),
            ("load a graph", "the host loads the graphs"),
            ("load another graph", "no graph with the name `../other`"),
        ],
    );
    assert_errors(
        &guest,
        &[
            // The directory was open in `prepare`, but is not mounted any more.
            ("read the model", traps),
            ("write a file", traps),
            ("many random bytes", traps),
            ("many insecure bytes", traps),
            ("print zeroes", traps),
            ("print much at once", traps),
            ("print for ever", times_out),
            ("print errors for ever", times_out),
            ("print lines for ever", times_out),
        ],
    );
}

#[test]
fn what_a_guest_keeps_is_limited() {
    let guest = load_hostile(TIGHT, &fixture("tiny-bert")).unwrap();
    assert_errors(
        &guest,
        &[
            ("keep timers", traps),
            ("keep streams", traps),
            ("keep tensors", traps),
            ("keep graphs", traps),
            ("keep contexts", traps),
            ("keep errors", traps),
        ],
    );
    // Dropped tensors make room for others.
    let guest = load_hostile(GENEROUS, &fixture("tiny-bert")).unwrap();
    assert_findings(&guest, &[("make many tensors", "made")]);
}

#[test]
fn the_model_cannot_be_misused() {
    let guest = load_hostile(GENEROUS, &fixture("tiny-bert")).unwrap();
    assert_findings(
        &guest,
        &[
            ("compute", "done"),
            ("compute wrong names", "no input `a`"),
            ("compute a huge name", "no input `xxx"),
            ("compute wrong types", "type"),
            ("compute wrong shapes", "not [3]"),
            ("compute too little data", "23 bytes"),
            ("compute zero dimensions", "size 0"),
            ("compute dimensions that overflow", "24 bytes"),
            ("compute many dimensions", "of 100000 dimensions"),
            ("compute too many tokens", "at most 65536"),
            ("compute too long a row", "refused"),
            ("compute nothing", "is missing"),
            ("compute often", "10000 of 10000 failed"),
        ],
    );
}

/// The default model accepts the largest inputs, and would take hours for thousands of
/// runs.
#[test]
fn a_run_ends_at_the_deadline() {
    let model = default_model();
    let guest = load_hostile(GENEROUS, &model).unwrap();
    assert_findings(
        &guest,
        &[
            ("compute as much as is allowed", "done"),
            ("compute often", "0 of 10000 failed"),
        ],
    );
    let limits = Limits {
        call: TIGHT.call,
        ..GENEROUS
    };
    let guest = load_hostile(limits, &model).unwrap();
    assert_errors(&guest, &[("compute often and much", times_out)]);
}
