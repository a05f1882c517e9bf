//! The sandbox: a guest cannot keep state between calls, exceed its limits, break the
//! contract, or reach anything but its model.
//!
//! The guests are WebAssembly text in `guests/`: they compile in an instant, and do what
//! no compiler would generate.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot continue fails"
)]

mod descriptions;
mod guests;
mod traps;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use fastsentiment_sandbox::{
    CallError, CompileLimits, Compiler, Graphs, Guest, Limits, LoadError, Metrics, ModelFiles,
    Runtime, load, run_command,
};
use guests::{component, explorer, hostile, hundredths, prepared};
use predictor::{Configuration, Scores};
use tempfile::TempDir;
use wasmtime_wasi_nn::backend::{BackendError, BackendGraph};
use wasmtime_wasi_nn::{ExecutionContext, Graph};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Limits that a guest exceeds within seconds.
const TIGHT: Limits = Limits {
    memory: 16 << 20,
    call: Duration::from_secs(2),
    prepare: Duration::from_secs(5),
    instances: 4,
};

/// Limits that no guest here exceeds.
const GENEROUS: Limits = Limits {
    call: PATIENCE,
    prepare: PATIENCE,
    ..TIGHT
};

/// A runtime that compiles in this process.
fn runtime(limits: Limits, graphs: Graphs) -> Arc<Runtime> {
    let compiler = Compiler::in_process(CompileLimits::default());
    let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
    Runtime::new(limits, compiler, graphs, metrics).unwrap()
}

fn tight() -> Arc<Runtime> {
    runtime(TIGHT, Graphs::default())
}

fn roomy() -> Arc<Runtime> {
    runtime(GENEROUS, Graphs::default())
}

/// A model that can be loaded but not run.
struct UnusableModel;

impl BackendGraph for UnusableModel {
    fn init_execution_context(&self) -> Result<ExecutionContext, BackendError> {
        Err(BackendError::UnsupportedTensorType("none".to_owned()))
    }
}

fn with_model() -> Arc<Runtime> {
    let open = || {
        let graph: Box<dyn BackendGraph> = Box::new(UnusableModel);
        let interrupt: Box<dyn Fn() + Send + Sync> = Box::new(|| {});
        (Graph::from(graph), interrupt)
    };
    runtime(GENEROUS, Graphs::of(open))
}

/// A model directory, for guests that only look whether there is one.
fn model_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), "{}").unwrap();
    dir
}

/// Loads a guest, without an artefact store.
fn load_text(runtime: &Arc<Runtime>, text: &str) -> Result<Guest, LoadError> {
    let dir = model_dir();
    let files = ModelFiles::read(dir.path(), []).unwrap();
    load(
        runtime,
        None,
        &component(text),
        &files,
        &Configuration::NONE,
    )
}

/// Runs a future on this thread, with the timer that guests need.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(PATIENCE, future).await.unwrap() })
}

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
    let guest = load_text(&with_model(), &explorer()).unwrap();
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
    let guest = load_text(&with_model(), &explorer()).unwrap();
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
#[test]
fn the_explorer_finds_the_environment_of_a_command() {
    let (runtime, bytes, dir) = (roomy(), component(&explorer()), model_dir());
    let run = |arguments: &[&str]| {
        let arguments = texts(arguments);
        wait(run_command(
            &runtime,
            &bytes,
            dir.path(),
            &Configuration::NONE,
            &arguments,
        ))
        .unwrap()
    };
    assert_eq!(run(&["an argument"]), 0);
    assert_eq!(run(&[]), 1);
}

#[test]
fn prepare_is_limited() {
    let load = |body: &str| load_text(&tight(), &prepared(body)).err().unwrap();
    let cases = [
        ("(loop $on (br $on))", "did not finish within 5s"),
        ("unreachable", "unreachable"),
        (
            "(loop $on (br_if $on (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
            "it ran out of memory: the limit is 16777216 bytes",
        ),
    ];
    for (body, said) in cases {
        let error = load(body);
        assert!(matches!(error, LoadError::Prepare(_)), "{body}: {error:?}");
        assert!(error.to_string().contains(said), "{body}: {error}");
    }
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

#[test]
fn a_guest_is_refused_if_the_model_changed_since_the_start() {
    let dir = model_dir();
    let files = ModelFiles::read(dir.path(), []).unwrap();
    fs::write(dir.path().join("config.json"), "[]").unwrap();
    let loaded = load(
        &roomy(),
        None,
        &component(&prepared("")),
        &files,
        &Configuration::NONE,
    );
    let error = loaded.err().unwrap();
    assert!(matches!(error, LoadError::Host(_)), "{error:?}");
    let expected = "config.json has changed since the model was loaded";
    assert!(error.to_string().contains(expected), "{error}");
}
