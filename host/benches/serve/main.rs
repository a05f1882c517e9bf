//! What the server costs beside what it is built on, measured from outside.
//!
//! `make bench-serve`, `bench-bulk`, `bench-peers`, `bench-soak`, `bench-overload`,
//! `bench-memory`, `bench-swap` and `bench-swap-model` run this; `host/benches/README.md` says how to read
//! what it prints. The server is the released binary in a process of its own, with the options that
//! a user would get. The client is our own (`client.rs`): blocking sockets, one
//! thread for each connection, prepared requests, since client and server share
//! the cores and what the client uses is lost for the server.
//!
//! Everything that is compared is measured in one run, in slices of a second or two that
//! take turns, and again if the machine's speed has changed meanwhile (`pace.rs`). Times of a
//! process are CPU time, which other processes lengthen little; where a wall
//! time has to be used, it is put in relation to the core-seconds that were
//! there to be used:
//!
//! - available core-seconds = cores x wall time - CPU time of the client - CPU
//!   time of all other processes (Linux' `/proc/stat`: all that was busy, less
//!   the server's and the client's; on an idle machine next to nothing);
//! - `cpu_over_raw` = server's CPU time for a text / CPU time for a text
//!   of ONNX Runtime alone, in one thread, with nothing else running, at the
//!   batch size that is best among those that leave answers unchanged;
//! - `cpu_over_raw_all_cores` = the same, but with ONNX Runtime in one
//!   thread on each core at once: cores share caches and memory, so that each
//!   of them is slower than one alone;
//! - `throughput_over_raw` = (texts / available core-seconds) of the
//!   server / (texts / available core-seconds) of ONNX Runtime on all cores;
//! - `over_bare_hyper` = (requests / server's CPU time) of the server /
//!   (requests / server's CPU time) of a hyper server that reads the request
//!   and answers with as many fixed bytes.
//!
//! Raw ONNX Runtime gets tokens, not texts: tokenising is part of what the
//! server is measured for.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark that can not run stops"
)]
#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

mod agreement;
mod bare;
mod bulk;
mod client;
mod corpus;
mod figures;
mod fleet;
mod load;
mod memory;
mod overload;
mod pace;
mod peers;
mod process;
mod raw;
mod rounds;
mod scenario;
mod settings;
mod soak;
mod swap;
mod swap_model;

use std::process::ExitCode;

use settings::Settings;

fn main() -> ExitCode {
    // Cargo adds `--bench` to what it was given.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let all = || Settings::from_environment("default,int8,fp32");
    let one = || Settings::from_environment("default");
    let faults = match arguments[..] {
        [] | ["rounds"] => rounds::run(&all()),
        ["bulk"] => bulk::run(&all()),
        ["peers"] => peers::run(&all()),
        ["soak"] => soak::run(&one()),
        ["overload"] => overload::run(&one()),
        ["swap"] => swap::run(&one()),
        ["fleet"] => fleet::run(&one()),
        ["swap-model"] => swap_model::run(&Settings::from_environment("default,int8")),
        ["memory"] => memory::run(&all()),
        ["bare", bytes] => bare::serve(bytes.parse().unwrap()),
        _ => vec![format!("not understood: {arguments:?}")],
    };
    for fault in &faults {
        println!("FAULT {fault}");
    }
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
