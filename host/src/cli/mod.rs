//! The command line.

mod admin;
mod bulk;
mod change;
mod check;
mod client;
mod compile;
mod completions;
mod exit;
mod greeting;
mod health;
mod listen;
mod log;
mod memory;
mod needs;
mod observe;
mod options;
mod output;
mod predict;
mod process;
mod serve;
mod settings;
mod swap;
mod telemetry;
mod triggers;
mod values;
mod versions;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use fastsentiment::app::{self, RunGuestError};
use tracing::Level;

use options::LoadOptions;
use settings::{ConfigOption, Fault, Settings};

/// Predicts the sentiment of texts with a sandboxed WebAssembly guest.
#[derive(Parser)]
#[command(
    name = "fastsentiment",
    version,
    long_version = long_version(),
    max_term_width = 100,
    after_long_help = exit::ALL
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    log: log::LogOptions,
}

/// The version, with those of what it stands on.
fn long_version() -> String {
    format!(
        "{}\nwasmtime {}\nONNX Runtime 1.{} or newer",
        env!("CARGO_PKG_VERSION"),
        sandbox::WASMTIME_VERSION,
        inference::API_VERSION,
    )
}

#[derive(Subcommand)]
enum Command {
    /// Serve predictions over HTTP.
    Serve(Box<serve::ServeCommand>),
    /// Predict texts without a server, or score every row of a file.
    ///
    /// Texts are arguments, or lines of standard input; the answer is printed as
    /// `POST /predict` gives it.
    Predict(Box<predict::PredictCommand>),
    /// Say everything that is wrong with the options of `serve`, and what they come to.
    ///
    /// Takes what `serve` takes. Tells every fault at once: of flags, variables and the
    /// configuration file, contradictions, what is missing, and what can not be listened
    /// on. If there is none, it loads everything that `serve` would load, predicts once,
    /// and prints what was found and what every option has come to, as a configuration
    /// file, with secrets hidden.
    Check(Box<check::CheckCommand>),
    /// Ask a running server whether it is ready.
    Health(health::HealthCommand),
    /// Run a guest as a command (`wasi:cli/run`).
    ///
    /// The model directory is mounted at /model. The exit code is the guest's own.
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
    /// Print what a shell needs to complete command lines.
    Completions(completions::CompletionsCommand),
}

#[derive(Args)]
#[command(after_help = exit::LOADS)]
struct RunGuest {
    /// Arguments for the guest
    #[arg(value_name = "ARGUMENT")]
    arguments: Vec<String>,

    #[command(flatten)]
    config: ConfigOption,

    #[command(flatten)]
    load: LoadOptions,
}

/// Runs the command of this process; errors go to standard error, each in one line.
pub(crate) fn run() -> ExitCode {
    telemetry::disable();
    memory::give_back_large_blocks();
    let settings = match Settings::read() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let Settings {
        cli,
        faults,
        resolved,
    } = settings;
    let started = match cli.command {
        // It reports to the process that has started it, and logs nothing.
        Command::CompileGuest(_) => Ok(()),
        _ => cli.log.start(),
    };
    let is_logged = started.is_ok() && cli.log.is_for_programs();
    let result = started.and_then(|()| match cli.command {
        Command::CompileGuest(command) => Ok(command.run()),
        Command::Serve(command) => command.run(),
        Command::Predict(command) => command.run(),
        Command::Check(command) => command.run(faults, &resolved),
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
        Command::Completions(command) => command.run(),
    });
    let code = result.unwrap_or_else(|error| {
        if output::is_reader_gone(&error) {
            return ExitCode::from(exit::READER_GONE);
        }
        // Some messages, such as that of a file without the magic number of
        // WebAssembly, come in several lines.
        let fault = Fault::of(format!("{error:#}"));
        if is_logged && tracing::enabled!(Level::ERROR) {
            tracing::error!("{fault}");
        } else {
            tell(&fault);
        }
        exit::code(&error)
    });
    log::flush();
    code
}

/// Tells of a fault, in a line.
fn tell(fault: &Fault) {
    log::print(&format!("error: {fault}\n"));
}

impl RunGuest {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.load.resolve()?;
        let ran = runtime()?.block_on(app::run_guest(&config, &self.arguments));
        let code = ran.map_err(|error| match error {
            RunGuestError::App(error) => needs::explained(&config, error),
            error @ RunGuestError::Command(_) => error.into(),
        })?;
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

/// How many threads do at most what would hold up those that serve sockets: parsing and
/// compressing large bodies, and looking names up.
const BLOCKING_THREADS: usize = 32;

/// The threads that serve sockets; guests have their own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(Duration::from_secs(u32::MAX.into()))
        .build()
        .context("the async runtime can not be started")?;
    // While there is one such thread, work for which the system gives no other waits for
    // it. Without any, tokio would panic.
    runtime.spawn_blocking(|| ());
    Ok(runtime)
}
