//! The memory of runs is returned to the system.

use super::{ids, is_alone, wide_model};
use crate::harness::library;

/// The memory of this process, in MiB.
fn used() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kibibytes.parse::<i64>().unwrap() / 1024
}

/// Of both sessions of a model, after the longest runs whose memory is kept otherwise. The next
/// run has the same outputs.
#[test]
fn memory_of_runs_is_returned() {
    if !is_alone("nn::memory::memory_of_runs_is_returned") {
        return;
    }
    let (model, _) = wide_model(2);
    let run_one = |length: u32| {
        let (graph, _) = model.graph();
        let mut context = graph.init_execution_context().unwrap();
        let inputs = ["input_ids", "attention_mask"].map(|name| ids(name, &[1, length], 1));
        let outputs = context.compute_with_io(inputs.into()).unwrap();
        outputs.into_iter().next().unwrap().tensor
    };
    let run = |length| {
        let alone = run_one(length);
        let other = model.graph();
        let beside = run_one(length);
        drop(other);
        assert_eq!(alone, beside);
        alone
    };
    run(3);
    library().return_memory();
    let before = used();
    let outputs = run(512);
    let during = used();
    library().return_memory();
    let after = used();
    let taken = during - before;
    // Each of the two takes about 20.
    assert!(taken > 16, "{before}, {during}, {after} MiB");
    assert!(
        after - before < taken / 2,
        "{before}, {during}, {after} MiB"
    );
    assert_eq!(run(512), outputs);
}
