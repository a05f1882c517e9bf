//! What a guest costs while it is loaded, however its `prepare` fills its memory: at most 1.5
//! times the memory that it may have.

use std::process::Stdio;

use sandbox::{CompileLimits, Compiler, Graphs, Limits};

use super::server::memory_mib;
use crate::harness::{BINARY, GENEROUS, onnxruntime, runtime_with, wait};
use crate::hostile::{component, hostile, hundredths, load_text, no_golden, prepared};
use crate::server_process::{ServerProcess, bare};

/// The memory that a guest may have.
const MEMORY_MIB: u64 = 256;
const MEMORY: u64 = MEMORY_MIB << 20;

/// The most of it that an instance may start with.
const IMAGE: u64 = MEMORY / 8 * 3;

/// The most that a load may cost.
const BOUND_MIB: u64 = MEMORY_MIB * 3 / 2;

/// The beginning of the memory that a guest takes.
const OWN: u64 = 65536;

/// Takes all memory, and goes on when it gets no more.
const TAKE_ALL: &str = "
    (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    (loop $last (br_if $last (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))";

/// Fills so many bytes.
fn fill(bytes: u64) -> String {
    format!("(memory.fill (i32.const {OWN}) (i32.const 1) (i32.const {bytes}))")
}

/// Sets a byte in so many.
fn every(stride: u64) -> String {
    format!(
        "(local $at i32) {TAKE_ALL}
        (local.set $at (i32.const {OWN}))
        (loop $next
          (i32.store8 (local.get $at) (i32.const 1))
          (local.set $at (i32.add (local.get $at) (i32.const {stride})))
          (br_if $next (i32.lt_u (local.get $at) (i32.const {MEMORY}))))"
    )
}

/// A guest with more initial data.
fn with_data(pages: u64, data: &str) -> String {
    let text = prepared("");
    let memory = r#"(memory (export "memory") 1)"#;
    assert!(text.contains(memory));
    text.replace(
        memory,
        &format!(r#"(memory (export "memory") {pages}) {data}"#),
    )
}

/// Guests, and what a server says to them; an empty answer if they are made live.
fn guests() -> Vec<(&'static str, String, &'static str)> {
    let in_use = "bytes of memory that `prepare` leaves in use";
    let declared = "bytes of initial data";
    let long = "x".repeat(40 << 20);
    vec![
        ("grows only", prepared(TAKE_ALL), ""),
        (
            "fills all",
            prepared(&format!("{TAKE_ALL}{}", fill(MEMORY - OWN))),
            in_use,
        ),
        (
            "fills more than there is",
            prepared(&format!("{TAKE_ALL}{}", fill(MEMORY))),
            "it ran out of memory",
        ),
        (
            "fills as much as is allowed",
            prepared(&format!("{TAKE_ALL}{}", fill(IMAGE - OWN))),
            "",
        ),
        ("sets a byte in each page", prepared(&every(4096)), in_use),
        // One run of bytes for each, of which wizer would keep a note four times as long.
        ("sets every sixth byte", prepared(&every(6)), in_use),
        (
            "sets the last byte",
            prepared(&format!(
                "{TAKE_ALL}(i32.store8 (i32.const {}) (i32.const 1))",
                MEMORY - 1
            )),
            in_use,
        ),
        (
            "has data that is far apart",
            with_data(4000, r#"(data (i32.const 262000000) "x")"#),
            declared,
        ),
        (
            "has much data",
            with_data(1000, &format!(r#"(data (i32.const {OWN}) "{long}")"#)),
            "",
        ),
        (
            "has much data and does not prepare",
            with_data(1000, &format!(r#"(data (i32.const {OWN}) "{long}")"#))
                .replace(r#"(export "prepare" (func $prepare))"#, ""),
            "",
        ),
    ]
}

#[tokio::test]
async fn no_guest_costs_a_server_more_than_its_bound() {
    let guest = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(guest.path(), component(&hostile())).unwrap();
    let mut command = bare();
    command
        .args(["serve", "--artifacts", "", "--workers", "2"])
        .args(["--guest-memory-mib", &MEMORY_MIB.to_string()])
        .args(["--prepare-timeout-ms", "240000"])
        .arg("--model")
        .arg(no_golden())
        .arg("--guest")
        .arg(guest.path())
        .arg("--onnxruntime")
        .arg(onnxruntime());
    let server = ServerProcess::spawn(&mut command);
    let own = memory_mib(server.id(), "VmRSS:").unwrap();
    let mut costs = Vec::new();
    for (name, text, expected) in guests() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), component(&text)).unwrap();
        let said = bare()
            .args(["swap", file.path().to_str().unwrap(), "--shadow"])
            .env("FASTSENTIMENT_ADMIN_URL", server.admin_url("/"))
            .stdout(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8(said.stderr).unwrap();
        assert_eq!(
            said.status.success(),
            expected.is_empty(),
            "{name}: {stderr}"
        );
        assert!(stderr.contains(expected), "{name}: {stderr}");
        assert!(!server.log().contains("panicked"), "{}", server.log());
        // The highest so far. It never falls, and versions that were accepted are kept, so
        // the later guests count for more than they cost.
        costs.push((name, memory_mib(server.id(), "VmHWM:").unwrap() - own));
    }
    println!("MiB so far: {costs:?}");
    for (name, cost) in &costs {
        assert!(*cost <= BOUND_MIB, "{name}: {costs:?}");
    }
}

/// The compiler has three copies of the memory that a guest starts with, and takes some for
/// code. The system limits what it reserves, which is a little more than it uses.
#[test]
fn no_guest_costs_a_compiler_more_than_a_bound() {
    let limits = Limits {
        memory: usize::try_from(MEMORY).unwrap(),
        ..GENEROUS
    };
    let compile = CompileLimits {
        memory: 2 * MEMORY,
        ..CompileLimits::default()
    };
    let compiler = Compiler::child(BINARY.into(), compile);
    let runtime = runtime_with(limits, compiler, Graphs::default());
    let largest = prepared(&format!("{TAKE_ALL}{}", fill(IMAGE - OWN)));
    let guest = load_text(&runtime, &largest).unwrap();
    let answer = wait(guest.predict(&["count".to_owned()])).unwrap();
    assert_eq!(hundredths(&answer), 41);
}
