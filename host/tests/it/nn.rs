//! The model behind `wasi:nn`: for any inputs, a run gives outputs or an error that says
//! what is wrong, and never crashes.

use std::error::Error;
use std::process::Command;
use std::sync::mpsc;

use inference::{Model, SessionOptions, Threads};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Registry};
use wasmtime_wasi_nn::backend::{BackendError, Id, NamedTensor};
use wasmtime_wasi_nn::wit::TensorType;
use wasmtime_wasi_nn::{ExecutionContext, Tensor};

#[cfg(target_os = "linux")]
mod memory;

use crate::harness::{FIXTURES, default_model, fixture, library, model};

/// A tensor of `input_ids` and the like: zeros, or ones, of 64 bits.
fn ids(name: &str, shape: &[u32], value: i64) -> NamedTensor {
    let elements = shape.iter().product::<u32>() as usize;
    let data = std::iter::repeat_n(value.to_le_bytes(), elements);
    tensor(name, shape, TensorType::I64, data.flatten().collect())
}

fn tensor(name: &str, shape: &[u32], ty: TensorType, data: Vec<u8>) -> NamedTensor {
    NamedTensor {
        name: name.to_owned(),
        tensor: Tensor::new(shape.to_vec(), ty, data),
    }
}

/// Valid inputs of the model `tiny-bert`.
fn good() -> Vec<NamedTensor> {
    ["input_ids", "attention_mask", "token_type_ids"]
        .map(|name| ids(name, &[2, 3], i64::from(name == "attention_mask")))
        .into()
}

fn context(name: &str) -> ExecutionContext {
    model(&fixture(name))
        .graph()
        .0
        .init_execution_context()
        .unwrap()
}

fn compute(inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
    context("tiny-bert").compute_with_io(inputs)
}

/// An error and its causes.
fn message(error: &BackendError) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        message = format!("{message}: {error}");
        source = error.source();
    }
    message
}

#[test]
fn good_inputs_give_logits() {
    let outputs = compute(good()).unwrap();
    assert_eq!(outputs.len(), 1);
    assert_eq!(outputs[0].name, "logits");
    assert_eq!(outputs[0].tensor.dimensions, [2, 2]);
    assert_eq!(outputs[0].tensor.ty, TensorType::Fp32);
    assert_eq!(outputs[0].tensor.data.len(), 16);
    // Inputs are found by name, not by order.
    let mut reversed = good();
    reversed.reverse();
    assert_eq!(compute(reversed).unwrap()[0].tensor, outputs[0].tensor);
}

/// The good inputs with another first one.
fn with(first: NamedTensor) -> Vec<NamedTensor> {
    let mut inputs = good();
    inputs[0] = first;
    inputs
}

/// The good inputs with ids of another shape.
fn shaped(shape: &[u32]) -> Vec<NamedTensor> {
    with(ids("input_ids", shape, 0))
}

/// The good inputs with ids of another type or size.
fn typed(ty: TensorType, bytes: usize) -> Vec<NamedTensor> {
    with(tensor("input_ids", &[2, 3], ty, vec![0; bytes]))
}

fn assert_refused(what: &str, inputs: Vec<NamedTensor>, words: &[&str]) {
    let error = compute(inputs).err();
    let message = message(&error.unwrap_or_else(|| panic!("{what} is accepted")));
    for word in words {
        assert!(
            message.contains(word),
            "{what}: {word:?} is not in: {message}"
        );
    }
}

#[test]
fn wrong_names_are_named() {
    let repeated = good()
        .into_iter()
        .chain([ids("attention_mask", &[2, 3], 1)]);
    assert_refused("none", Vec::new(), &["input `", "is missing"]);
    assert_refused(
        "a missing one",
        good().split_off(1),
        &["`input_ids` is missing"],
    );
    assert_refused(
        "a repeated one",
        repeated.collect(),
        &["`attention_mask`", "more than once"],
    );
    let known = [
        "`pixels`",
        "`input_ids`",
        "`attention_mask`",
        "`token_type_ids`",
    ];
    assert_refused("an unknown one", with(ids("pixels", &[2, 3], 0)), &known);
    assert_refused("an empty one", with(ids("", &[2, 3], 0)), &["no input ``"]);
}

#[test]
fn wrong_types_and_shapes_are_named() {
    let cases: [(&str, Vec<NamedTensor>, &[&str]); 14] = [
        ("floats", typed(TensorType::Fp32, 24), &["type"]),
        ("32 bits", typed(TensorType::I32, 24), &["type"]),
        ("bytes", typed(TensorType::U8, 6), &["type"]),
        ("half floats", typed(TensorType::Bf16, 12), &["type"]),
        ("no dimension", shaped(&[]), &["shape"]),
        ("one dimension", shaped(&[6]), &["shape", "[6]"]),
        (
            "three dimensions",
            shaped(&[1, 2, 3]),
            &["shape", "[1, 2, 3]"],
        ),
        ("no rows", shaped(&[0, 3]), &["size 0"]),
        ("no columns", shaped(&[2, 0]), &["size 0"]),
        ("nothing", shaped(&[0, 0]), &["size 0"]),
        ("no data", typed(TensorType::I64, 0), &["[2, 3]", "0 bytes"]),
        ("too little data", typed(TensorType::I64, 47), &["47 bytes"]),
        ("too much data", typed(TensorType::I64, 49), &["49 bytes"]),
        (
            "a size beyond all memory",
            with(tensor(
                "input_ids",
                &[u32::MAX; 2],
                TensorType::I64,
                vec![0; 48],
            )),
            &["48 bytes"],
        ),
    ];
    for (what, inputs, words) in cases {
        assert_refused(what, inputs, &[words, &["`input_ids`"]].concat());
    }
}

/// Each of these inputs is valid by itself; only the model can refuse them.
#[test]
fn inputs_that_the_model_refuses_are_an_error() {
    let names = ["input_ids", "attention_mask", "token_type_ids"];
    let long = names.map(|name| ids(name, &[1, 4096], 1)).into();
    let cases = [
        ("rows that differ", shaped(&[3, 3])),
        ("columns that differ", shaped(&[2, 4])),
        (
            "an id beyond the vocabulary",
            with(ids("input_ids", &[2, 3], 1 << 40)),
        ),
        (
            "an id below zero",
            with(ids("input_ids", &[2, 3], i64::MIN)),
        ),
        ("more tokens than positions", long),
    ];
    for (what, inputs) in cases {
        assert_refused(what, inputs, &[]);
    }
}

/// A context, and the session behind it, work after any error.
#[test]
fn a_context_works_after_an_error() {
    let mut context = context("tiny-bert");
    let before = context.compute_with_io(good()).unwrap();
    assert!(context.compute_with_io(Vec::new()).is_err());
    let unknown = vec![
        ids("input_ids", &[1, 1], 1 << 40),
        ids("attention_mask", &[1, 1], 1),
        ids("token_type_ids", &[1, 1], 0),
    ];
    assert!(context.compute_with_io(unknown).is_err());
    let after = context.compute_with_io(good()).unwrap();
    assert_eq!(before[0].tensor, after[0].tensor);
}

#[test]
fn the_older_interface_is_refused() {
    let mut context = context("tiny-bert");
    let tensor = ids("input_ids", &[1, 1], 0).tensor;
    assert!(context.set_input(Id::Index(0), &tensor).is_err());
    assert!(context.get_output(Id::Name("logits".to_owned())).is_err());
}

/// Any number of threads run one session at once, each with another shape, and each gets
/// exactly the outputs that it would get alone.
#[test]
fn threads_share_a_session() {
    let model = model(&default_model());
    let inputs = |thread: u32| {
        let shape = [1 + thread % 3, 5 + 7 * thread];
        let mut inputs = vec![ids("input_ids", &shape, 2000 + i64::from(thread))];
        inputs.push(ids("attention_mask", &shape, 1));
        inputs
    };
    let run = |thread| {
        let (graph, _) = model.graph();
        let mut context = graph.init_execution_context().unwrap();
        context.compute_with_io(inputs(thread)).unwrap()
    };
    let expected: Vec<_> = (0..8).map(run).collect();
    std::thread::scope(|scope| {
        for (thread, expected) in (0..).zip(&expected) {
            let run = &run;
            scope.spawn(move || {
                for _ in 0..40 {
                    assert_eq!(run(thread)[0].tensor, expected[0].tensor);
                }
            });
        }
    });
}

/// The included model with a second session of `threads` threads.
fn wide_model(threads: usize) -> (Model, Registry) {
    let registry = Registry::new();
    let metrics = inference::Metrics::new(&registry).unwrap();
    let path = default_model().join("model.onnx");
    let options = SessionOptions { threads: 1 };
    let model = Model::load(library(), &path, options, metrics).unwrap();
    let threads = Threads::start(threads - 1).unwrap();
    model.widen(library(), &path, threads, || true).unwrap();
    (model, registry)
}

/// The runs that used the second session.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "they count things"
)]
fn wide_runs(registry: &Registry) -> u64 {
    let families = registry.gather();
    let is_it = |family: &&MetricFamily| family.name() == "fastsentiment_inference_wide_total";
    let family = families.iter().find(is_it).unwrap();
    family.get_metric()[0].get_counter().get_value() as u64
}

/// Runs a test in a process of its own, since others open graphs in this one and use memory.
/// Whether this is that process.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "FASTSENTIMENT_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env(ALONE, "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let is_found = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    assert!(is_found, "{output:?}");
    false
}

/// A run has several threads only while its graph is the only one, of all models; and its
/// outputs are those of one thread, to the bit, for texts and batches of any length. It can be
/// ended like any other.
#[test]
fn a_run_alone_has_several_threads_and_the_same_outputs() {
    if !is_alone("nn::a_run_alone_has_several_threads_and_the_same_outputs") {
        return;
    }
    let narrow = model(&default_model());
    let busy = IntGauge::new("busy", "Threads that have work.").unwrap();
    library().watch(busy.clone());
    let mut rng = 1_u64;
    for threads in [2, 3, 4] {
        let (wide, registry) = wide_model(threads);
        assert_eq!(wide.wide_threads(), Some(threads));
        let mut runs = 0;
        for shape in [[1, 3], [1, 17], [3, 16], [2, 77], [5, 31], [1, 512]] {
            let mut next = || {
                rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                1000 + i64::try_from(rng >> 52).unwrap()
            };
            let data = (0..shape[0] * shape[1]).flat_map(|_| next().to_le_bytes());
            let data: Vec<u8> = data.collect();
            let run = |model: &Model| {
                let (graph, _) = model.graph();
                let mut context = graph.init_execution_context().unwrap();
                let inputs = vec![
                    tensor("input_ids", &shape, TensorType::I64, data.clone()),
                    ids("attention_mask", &shape, 1),
                ];
                context.compute_with_io(inputs).unwrap().remove(0).tensor
            };
            let alone = run(&wide);
            runs += 1;
            assert_eq!(wide_runs(&registry), runs, "nothing else is running");
            let other = narrow.graph();
            assert_eq!(run(&wide), alone);
            assert_eq!(wide_runs(&registry), runs, "another instance has a graph");
            drop(other);
            busy.set(2);
            assert_eq!(run(&wide), alone);
            assert_eq!(wide_runs(&registry), runs, "another thread has work");
            busy.set(1);
            assert_eq!(run(&narrow), alone);
        }
        end_a_run(&wide);
        assert!(wide_runs(&registry) > runs);
    }
}

/// The file must be what the model was loaded from.
#[test]
fn a_file_that_has_changed_is_not_opened_again() {
    let model = model(&default_model());
    let path = default_model().join("model.onnx");
    let threads = Threads::start(1).unwrap();
    let refused = model.widen(library(), &path, threads, || false);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .ends_with("the file has changed")
    );
    assert_eq!(model.wide_threads(), None);
}

/// A run in progress ends at once, as do later runs of the same graph; other graphs of
/// the model are not affected.
#[test]
fn a_run_can_be_ended() {
    end_a_run(&model(&default_model()));
}

fn end_a_run(model: &Model) {
    let (graph, terminate) = model.graph();
    let mut context = graph.init_execution_context().unwrap();
    let work = |rows: u32| {
        ["input_ids", "attention_mask"]
            .map(|name| ids(name, &[rows, 512], 1))
            .into()
    };
    // A run cannot be seen to begin from outside, but a second one on the same thread
    // begins when the first has ended. Without an end, these would take hours.
    let (first_is_done, begun) = mpsc::channel();
    let (mut context, error) = std::thread::scope(|scope| {
        let runs = scope.spawn(move || {
            context.compute_with_io(work(1)).unwrap();
            first_is_done.send(()).unwrap();
            let error = (0..10_000).find_map(|_| context.compute_with_io(work(16)).err());
            (context, error)
        });
        begun.recv().unwrap();
        terminate();
        runs.join().unwrap()
    });
    let error = error.expect("a run is ended");
    assert!(message(&error).contains("terminate"), "{}", message(&error));
    let error = context.compute_with_io(work(1)).err().unwrap();
    assert!(message(&error).contains("terminate"), "{}", message(&error));
    let (graph, _) = model.graph();
    let mut context = graph.init_execution_context().unwrap();
    assert!(context.compute_with_io(work(1)).is_ok());
}

#[test]
fn every_fixture_can_be_opened() {
    for name in FIXTURES {
        context(name);
    }
}
