//! The command line.

mod admin_client;
mod archive;
mod bulk;
mod cases;
mod change;
mod check;
mod children;
mod compile;
mod completions;
mod confinement;
mod demo;
mod dev;
mod endpoint;
mod exit;
mod health;
mod heap;
mod hints;
mod keys;
mod log;
mod memory;
mod new;
mod options;
mod output;
mod predict;
mod process;
mod push;
mod registry;
mod remote;
mod rollout;
mod serve;
mod settings;
mod signals;
mod source;
mod startup;
mod status;
mod swap;
mod terminal;
mod test_guest;
mod values;
mod versions;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use fastsentiment::app::{self, RunGuestError};
use ring::rand::{SecureRandom as _, SystemRandom};
use tracing::Level;

use confinement::Confinement;
use options::LoadOptions;
use serve::listen::Passed;
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

/// The version, with those of the runtimes.
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
    /// Texts are arguments or lines of standard input. The output is the JSON of
    /// `POST /predict`.
    Predict(Box<predict::PredictCommand>),
    /// Check the options of `serve`, and print the resulting configuration.
    ///
    /// Takes the options of `serve`. Reports all errors at once: in flags, variables and the
    /// configuration file, options that conflict, missing files, and addresses that cannot
    /// be listened on. If there are none, it loads everything that `serve` would load and
    /// predicts a text; then it prints what it found, and the value of every option as a
    /// configuration file with secrets hidden.
    Check(Box<check::CheckCommand>),
    /// Make a project for a guest of your own.
    New(new::NewCommand),
    /// Test a guest with cases from a file, without a server.
    Test(Box<test_guest::TestCommand>),
    /// Build, test and serve a guest anew whenever its project changes.
    Dev(dev::DevCommand),
    /// Take a tour: predict, try a canary, promote, roll back, and see a guest crash.
    ///
    /// It starts a server of its own on free ports, and leaves nothing behind.
    Demo(demo::DemoCommand),
    /// Ask a running server whether it is ready.
    Health(health::HealthCommand),
    /// Run a guest as a command (`wasi:cli/run`).
    ///
    /// The model directory is mounted at /model. The exit code is the guest's own.
    RunGuest(RunGuest),
    /// Compile a guest for the parent process.
    #[command(hide = true)]
    CompileGuest(compile::CompileGuest),
    /// Upload a guest, a model or a configuration to a running server, and make it live.
    Swap(swap::SwapCommand),
    /// List the guest versions of a running server, or show one of them.
    Versions(versions::VersionsCommand),
    /// Make a version live that the server already has.
    Activate(change::ActivateCommand),
    /// Go back to the version that was live before.
    Rollback(change::RollbackCommand),
    /// Make the version on trial live: the canary or the shadow.
    Promote(change::PromoteCommand),
    /// End the trial of the canary or the shadow; the live version stays live.
    EndTrial(change::EndTrialCommand),
    /// Remove a version that is not in use.
    Remove(change::RemoveCommand),
    /// Reload the server's `--guest` file, and make it live; or follow its rollout file again.
    Reload(change::ReloadCommand),
    /// Tell whether servers run what is declared, and what stands in the way.
    Status(status::StatusCommand),
    /// Check a rollout file, or tell what it would change.
    Rollout(rollout::RolloutCommand),
    /// Make, list and revoke API keys of a server's clients.
    Keys(keys::KeysCommand),
    /// Push a guest or a model to an OCI registry.
    ///
    /// The output is the reference with the digest of what was pushed, by which it can be
    /// deployed and signed.
    Push(push::PushCommand),
    /// Print a shell completion script.
    Completions(completions::CompletionsCommand),
}

#[derive(Args)]
#[command(after_help = exit::LOADS)]
struct RunGuest {
    /// Arguments of the guest
    #[arg(value_name = "ARGUMENT")]
    arguments: Vec<String>,

    #[command(flatten)]
    config: ConfigOption,

    #[command(flatten)]
    load: LoadOptions,
}

/// Runs the command that this process was started with. Errors go to standard error, one
/// per line.
pub(crate) fn run() -> ExitCode {
    startup::disable_telemetry();
    heap::return_large_blocks();
    let settings = match Settings::read() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let Settings {
        cli,
        faults,
        resolved,
    } = settings;
    // Before the log has a thread: threads that exist keep their rights, and read the
    // environment, which this changes.
    let prepared = match &cli.command {
        Command::Serve(command) => Prepared::of(command).map(Some),
        _ => Ok(None),
    };
    let started = match cli.command {
        // It reports to its parent, and logs nothing.
        Command::CompileGuest(_) => Ok(()),
        _ => cli.log.start(),
    };
    let is_logged = started.is_ok() && cli.log.is_json();
    let result = started
        .and(prepared)
        .and_then(|prepared| match cli.command {
            Command::CompileGuest(command) => Ok(command.run()),
            Command::Serve(command) => command.run(prepared),
            Command::Predict(command) => command.run(),
            Command::Check(command) => command.run(faults, &resolved),
            Command::New(command) => command.run(),
            Command::Test(command) => command.run(),
            Command::Dev(command) => command.run(),
            Command::Demo(command) => command.run(),
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
            Command::Status(command) => command.run(),
            Command::Rollout(command) => command.run(),
            Command::Keys(command) => command.run(),
            Command::Push(command) => command.run(),
            Command::Completions(command) => command.run(),
        });
    let code = result.unwrap_or_else(|error| fail(&error, is_logged));
    log::flush();
    code
}

/// What a server needs that only a process with a single thread can do.
struct Prepared {
    passed: Passed,
    confinement: Confinement,
}

impl Prepared {
    fn of(command: &serve::ServeCommand) -> anyhow::Result<Self> {
        let passed = Passed::take()?;
        let confinement = Confinement::of_server(command, &passed)?;
        Ok(Self {
            passed,
            confinement,
        })
    }
}

/// Reports the error that ends this process, in the log if that is to be JSON. Returns the
/// exit code.
fn fail(error: &anyhow::Error, is_logged: bool) -> ExitCode {
    if output::is_reader_gone(error) {
        return ExitCode::from(exit::READER_GONE);
    }
    // Some messages have several lines, such as wasmtime's for a file that is not
    // WebAssembly.
    let fault = Fault::of(format!("{error:#}"));
    if is_logged && tracing::enabled!(Level::ERROR) {
        tracing::error!("{fault}");
    } else {
        report(&fault);
    }
    exit::code(error)
}

/// Prints an error in one line.
fn report(fault: &Fault) {
    log::print(&format!("error: {fault}\n"));
}

impl RunGuest {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.load.resolve_here()?;
        signals::end_on_closed_pipe();
        let ran = runtime()?.block_on(app::run_guest(&config, &self.arguments));
        let code = ran.map_err(|error| match error {
            RunGuestError::App(error) => hints::explain(&config, error),
            error @ (RunGuestError::Configuration(_) | RunGuestError::Command(_)) => error.into(),
        })?;
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    }
}

/// Whether a guest had to be compiled, in words.
fn compilation(compiled: bool) -> &'static str {
    if compiled {
        "compiled just now"
    } else {
        "compiled before"
    }
}

/// Bytes that nobody can guess.
fn random_bytes() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.ok().context("the system has no random numbers")?;
    Ok(bytes)
}

/// The maximum number of threads for work that would block those that serve sockets:
/// parsing and compressing large bodies, and resolving host names.
const BLOCKING_THREADS: usize = 32;

/// Starts the async runtime, whose threads serve sockets. Guests run on threads of their
/// own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(Duration::from_secs(u32::MAX.into()))
        .build()
        .context("the async runtime cannot be started")?;
    // If the system refuses another thread, blocking work waits for this one, which lives
    // forever. Without it, tokio would panic.
    runtime.spawn_blocking(|| ());
    Ok(runtime)
}
