//! `fastsentiment compile-guest`: what a server runs to compile a guest, and
//! nobody else.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use sandbox::compile_for_parent;

/// Reads a component from standard input, and writes code to standard output.
#[derive(Args)]
pub(super) struct CompileGuest {
    /// What is asked for, as the server puts it.
    task: String,
}

impl CompileGuest {
    pub(super) fn run(self) -> ExitCode {
        // Its own buffer would only be one more copy of the code.
        let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
        match compile_for_parent(&self.task, &mut input, &mut output) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // The exit code says as much as can be said without it.
                let _ = writeln!(io::stderr(), "{error}");
                ExitCode::from(error.exit_code())
            }
        }
    }
}
