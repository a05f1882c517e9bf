//! The sandbox: a guest cannot keep state between calls, exceed its limits, break the
//! contract, or reach anything but its model.

use std::time::Instant;

use predictor::Scores;
use sandbox::{CallError, Guest, LoadError, run_command};

use crate::harness::{GENEROUS, PATIENCE, fixture, graphs, runtime, wait};
use crate::hostile::{
    TIGHT, component, explorer, hostile, hundredths, load_text, prepared, roomy, some_files, tight,
};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Calls a fresh instance with an order.
fn order(guest: &Guest, order: &str) -> Result<Vec<Scores>, CallError> {
    wait(guest.predict(&texts(&[order])))
}

/// The number that one of these guests answers.
fn number(answer: Result<Vec<Scores>, CallError>) -> u32 {
    hundredths(&answer.unwrap())
}

#[test]
fn nothing_survives_a_call() {
    let guest = load_text(&roomy(), &hostile()).unwrap();
    // The counter works: it counts the calls of one instance.
    let mut instance = wait(guest.instantiate()).unwrap();
    assert_eq!(number(wait(instance.predict(&texts(&["count"])))), 1);
    assert_eq!(number(wait(instance.predict(&texts(&["count"])))), 2);
    for _ in 0..3 {
        assert_eq!(number(order(&guest, "count")), 1);
    }
}

#[test]
fn every_call_begins_where_prepare_ended() {
    let guest = load_text(&roomy(), &prepared("")).unwrap();
    for _ in 0..3 {
        assert_eq!(number(order(&guest, "count")), 41);
    }
    assert!(matches!(
        order(&guest, "trap"),
        Err(CallError::Trapped { .. })
    ));
    assert_eq!(number(order(&guest, "count")), 41);
}

/// Whether an error is the right one.
type Expected = fn(&CallError) -> bool;

/// After each order, another call must not notice anything.
#[test]
fn a_failure_affects_its_own_call_only() {
    let guest = load_text(&tight(), &hostile()).unwrap();
    let cases: [(&str, Expected); 13] = [
        (
            "loop",
            |e| matches!(e, CallError::TimedOut(time) if *time == TIGHT.call),
        ),
        (
            "memory",
            |e| matches!(e, CallError::OutOfMemory { limit } if *limit == TIGHT.memory),
        ),
        (
            "trap",
            |e| matches!(e, CallError::Trapped { why, .. } if why.contains("unreachable")),
        ),
        (
            "stack",
            |e| matches!(e, CallError::Trapped { why, .. } if why.contains("stack")),
        ),
        (
            "nan",
            |e| matches!(e, CallError::BadAnswer(why) if why.contains("NaN")),
        ),
        (
            "wrong",
            |e| matches!(e, CallError::BadAnswer(why) if why.contains("2 answers to 1")),
        ),
        (
            "empty",
            |e| matches!(e, CallError::BadAnswer(why) if why.contains("no label")),
        ),
        ("outside", |e| matches!(e, CallError::Trapped { .. })),
        (
            "just",
            |e| matches!(e, CallError::BadAnswer(why) if why.contains("refuses text 1 of 1")),
        ),
        (
            "1",
            |e| matches!(e, CallError::Model(why) if why == "not this one"),
        ),
        (
            "2",
            |e| matches!(e, CallError::Model(why) if why == "not this one"),
        ),
        (
            "3",
            |e| matches!(e, CallError::Inference(why) if why == "not this one"),
        ),
        (
            "4",
            |e| matches!(e, CallError::Internal(why) if why == "not this one"),
        ),
    ];
    for (name, expected) in cases {
        let error = order(&guest, name).unwrap_err();
        assert!(expected(&error), "{name}: {error:?}");
        assert_eq!(number(order(&guest, "count")), 1, "after {name}");
    }
}

/// All labels are the same few bytes of the guest, so the limit on its memory does not
/// limit the answer.
#[test]
fn an_answer_that_would_fill_the_host_is_refused() {
    let guest = load_text(&tight(), &hostile()).unwrap();
    let error = order(&guest, "bomb").unwrap_err();
    assert!(matches!(error, CallError::Trapped { .. }), "{error:?}");
    assert_eq!(number(order(&guest, "count")), 1);
}

/// The host keeps these, not the guest's memory.
#[test]
fn tables_and_resources_are_limited() {
    let guest = load_text(&tight(), &explorer()).unwrap();
    for (name, said) in [("grow", "100000 elements"), ("resources", "handle limit")] {
        let error = order(&guest, name).unwrap_err();
        assert!(
            matches!(&error, CallError::Trapped { why, .. } if why.contains(said)),
            "{name}: {error:?}"
        );
        assert_eq!(number(order(&guest, "arguments")), 0, "after {name}");
    }
}

#[test]
fn a_guest_that_sleeps_is_stopped() {
    let guest = load_text(&tight(), &explorer()).unwrap();
    let error = order(&guest, "sleep").unwrap_err();
    assert!(
        matches!(error, CallError::TimedOut(time) if time == TIGHT.call),
        "{error:?}"
    );
}

#[test]
fn a_guest_that_sleeps_in_its_start_function_is_stopped() {
    let nap = "(func $nap (drop (call $find (i32.const 0x73)))) (start $nap)";
    let text = explorer().replace("(;start;)", nap);
    let error = load_text(&tight(), &text).err().unwrap();
    assert!(
        matches!(error, LoadError::SelfTest(CallError::TimedOut(time)) if time == TIGHT.call),
        "{error:?}"
    );
}

#[test]
fn a_guest_that_serves_has_no_environment() {
    let graphs = graphs(&fixture("tiny-bert"));
    let guest = load_text(&runtime(GENEROUS, graphs), &explorer()).unwrap();
    assert!(std::env::vars_os().next().is_some());
    for place in ["variables", "arguments", "directories"] {
        assert_eq!(number(order(&guest, place)), 0, "{place}");
    }
    // `access-denied`
    for socket in ["tcp", "udp"] {
        assert_eq!(number(order(&guest, socket)), 1, "{socket}");
    }
}

#[test]
fn only_the_registered_graph_can_be_loaded() {
    let graphs = graphs(&fixture("tiny-bert"));
    let guest = load_text(&runtime(GENEROUS, graphs), &explorer()).unwrap();
    // 99 is success, 6 is `not-found`.
    assert_eq!(number(order(&guest, "model")), 99);
    assert_eq!(number(order(&guest, "other")), 6);
    // `unsupported-operation`, whatever the encoding: the bytes are not read.
    for encoding in ["0", "1", "2", "3", "4", "5", "6"] {
        assert_eq!(number(order(&guest, encoding)), 4, "{encoding}");
    }
}

/// The explorer finds what exists: as a command it has the model directory and
/// arguments.
#[tokio::test]
async fn the_explorer_finds_the_environment_of_a_command() {
    let runtime = roomy();
    let bytes = component(&explorer());
    let dir = some_files().dir().to_owned();
    let arguments = texts(&["an argument"]);
    let code = run_command(&runtime, &bytes, &dir, &arguments).await;
    assert_eq!(code.unwrap(), 0);
    let code = run_command(&runtime, &bytes, &dir, &[]).await;
    assert_eq!(code.unwrap(), 1);
}

#[test]
fn prepare_is_limited() {
    let began = Instant::now();
    let load = |body: &str| load_text(&tight(), &prepared(body)).err().unwrap();
    let cases = [
        ("(loop $on (br $on))", "did not finish within 5s"),
        ("unreachable", "unreachable"),
        (
            "(loop $on (br_if $on (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
            "",
        ),
    ];
    for (body, said) in cases {
        let error = load(body);
        assert!(matches!(error, LoadError::Prepare(_)), "{body}: {error:?}");
        assert!(error.to_string().contains(said), "{body}: {error}");
    }
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn a_guest_that_is_too_large_or_fails_its_self_test_is_not_served() {
    let large = hostile().replace(
        "(memory (export \"memory\") 1)",
        "(memory (export \"memory\") 2000)",
    );
    let error = load_text(&tight(), &large).err().unwrap();
    assert!(error.to_string().contains("memory"), "{error}");
    // The text of the self-test begins with a capital T.
    let failing = hostile().replace("(i32.const 0x74)", "(i32.const 0x54)");
    let error = load_text(&tight(), &failing).err().unwrap();
    assert!(
        matches!(error, LoadError::SelfTest(CallError::Trapped { .. })),
        "{error:?}"
    );
}
