//! `fastsentiment compile-guest`: the child process in which a server compiles a guest.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use sandbox::compile_for_parent;

use super::terminal::lines;

/// Reads a component from standard input, and writes machine code to standard output.
#[derive(Args)]
pub(super) struct CompileGuest {
    /// The task, as the server encodes it
    task: String,
}

impl CompileGuest {
    pub(super) fn run(self) -> ExitCode {
        // A buffered writer would only copy the code once more.
        let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
        match compile_for_parent(&self.task, &mut input, &mut output) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // If this fails, the exit code still names the kind of error.
                let _ = writeln!(io::stderr(), "{}", lines(&error.to_string()));
                ExitCode::from(error.exit_code())
            }
        }
    }
}
