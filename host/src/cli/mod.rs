//! The command line.

mod admin;
mod bulk;
mod change;
mod check;
mod client;
mod compile;
mod health;
mod log;
mod memory;
mod observe;
mod options;
mod predict;
mod process;
mod serve;
mod swap;
mod triggers;
mod versions;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use fastsentiment::app;
use tracing::Level;

use options::LoadOptions;

/// Predicts the sentiment of texts with a sandboxed WebAssembly guest.
///
/// Exit codes: 0 success, 1 failure, 2 wrong use of the command line. The commands
/// that manage a running server give 1 if it can not be reached or fails, and 3 if
/// it refuses: a guest that can not be served, a version that is not known, a
/// conflict, a wrong token.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    log: log::LogOptions,
}

#[derive(Subcommand)]
enum Command {
    /// Serve predictions over HTTP.
    Serve(Box<serve::ServeCommand>),
    /// Predict texts, given as arguments or as lines of standard input, and
    /// print the answer as `POST /predict` gives it; or score every row of a
    /// file.
    Predict(Box<predict::PredictCommand>),
    /// Load everything that `serve` would load, predict once, and say what was
    /// found.
    Check(LoadOptions),
    /// Ask a running server whether it is ready; exits with 0 if it is.
    Health(health::HealthCommand),
    /// Run a guest as a command (`wasi:cli/run`), with the model directory
    /// mounted at /model.
    RunGuest(RunGuest),
    /// Compile a guest for the process that runs this.
    #[command(hide = true)]
    CompileGuest(compile::CompileGuest),
    /// Give a running server another guest, and make it live.
    Swap(swap::SwapCommand),
    /// Show the versions of a running server's guest, or one of them.
    Versions(versions::VersionsCommand),
    /// Make a version live that a running server knows.
    Activate(change::ActivateCommand),
    /// Make the version live that was live before the one that is.
    Rollback(change::RollbackCommand),
    /// Make the version live that is on trial as a canary or in the shadow.
    Promote(change::PromoteCommand),
    /// End the trial of a version; the live version stays live.
    EndTrial(change::EndTrialCommand),
    /// Have a running server forget a version that is not in use.
    Remove(change::RemoveCommand),
    /// Have a running server read its `--guest` file again, and make it live.
    Reload(change::ReloadCommand),
}

#[derive(Args)]
struct RunGuest {
    #[command(flatten)]
    load: LoadOptions,

    /// Arguments for the guest.
    #[arg(value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

impl Cli {
    /// Runs the command; errors go to standard error, in one line.
    pub(crate) fn run(self) -> ExitCode {
        memory::give_back_large_blocks();
        let started = self.log.start();
        let is_logged = started.is_ok() && self.log.is_for_programs();
        let result = started.and_then(|()| match self.command {
            Command::CompileGuest(command) => Ok(command.run()),
            Command::Serve(command) => command.run(),
            Command::Predict(command) => command.run(),
            Command::Check(options) => check::run(options),
            Command::Health(command) => command.run(),
            Command::RunGuest(command) => command.run(),
            Command::Swap(command) => command.run(),
            Command::Versions(command) => command.run(),
            Command::Activate(command) => command.run(),
            Command::Rollback(command) => command.run(),
            Command::Promote(command) => command.run(),
            Command::EndTrial(command) => command.run(),
            Command::Remove(command) => command.run(),
            Command::Reload(command) => command.run(),
        });
        result.unwrap_or_else(|error| {
            let code = client::exit_code(&error);
            // Some messages, such as that of a file without the magic number
            // of WebAssembly, come in several lines.
            let error = format!("{error:#}");
            let words: Vec<&str> = error.split_whitespace().collect();
            let error = words.join(" ");
            if is_logged && tracing::enabled!(Level::ERROR) {
                tracing::error!("{error}");
            } else {
                // Nothing can be done about a standard error that is gone too.
                let _ = writeln!(std::io::stderr(), "error: {error}");
            }
            code
        })
    }
}

impl RunGuest {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.load.resolve()?;
        let code = runtime()?.block_on(app::run_guest(&config, &self.arguments))?;
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    }
}

/// How a guest came to be ready, in words.
fn loaded(compiled: bool) -> &'static str {
    if compiled {
        "compiled just now"
    } else {
        "compiled before"
    }
}

/// The threads that serve sockets; guests have their own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the async runtime can not be started")
}
