//! The `fastsentiment` binary: the command line, the process and its signals.
//!
//! Everything else is in the library.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
