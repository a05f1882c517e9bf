//! The command line.

mod health;
mod options;
mod predict;
mod serve;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use fastsentiment::app::{self, App};
use fastsentiment::cache;
use fastsentiment::guest::LoadedFrom;
use tracing_subscriber::EnvFilter;

use options::LoadOptions;

/// Predicts the sentiment of texts with a sandboxed WebAssembly guest.
///
/// Exit codes: 0 success, 1 failure, 2 wrong use of the command line.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    /// What to log: a level (error, warn, info, debug, trace), or levels by
    /// module, such as `info,fastsentiment::http=debug`.
    #[arg(
        long,
        global = true,
        env = "FASTSENTIMENT_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    log: String,
}

#[derive(Subcommand)]
enum Command {
    /// Serve predictions over HTTP.
    Serve(Box<serve::ServeCommand>),
    /// Predict texts, given as arguments or as lines of standard input, and
    /// print the answer as `POST /predict` gives it.
    Predict(predict::PredictCommand),
    /// Load everything that `serve` would load, predict once, and say what was
    /// found.
    Check(LoadOptions),
    /// Ask a running server whether it is ready; exits with 0 if it is.
    Health(health::HealthCommand),
    /// Run a guest as a command (`wasi:cli/run`), with the model directory
    /// mounted at /model.
    RunGuest(RunGuest),
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
        let result = start_log(&self.log).and_then(|()| match self.command {
            Command::Serve(command) => command.run(),
            Command::Predict(command) => command.run(),
            Command::Check(options) => check(options),
            Command::Health(command) => command.run(),
            Command::RunGuest(command) => command.run(),
        });
        result.unwrap_or_else(|error| {
            // Some messages, such as that of a file without the magic number
            // of WebAssembly, come in several lines.
            let error = format!("{error:#}");
            let words: Vec<&str> = error.split_whitespace().collect();
            // Nothing can be done about a standard error that is gone too.
            let _ = writeln!(std::io::stderr(), "error: {}", words.join(" "));
            ExitCode::FAILURE
        })
    }
}

/// Logs to standard error, so that standard output holds results only.
fn start_log(filter: &str) -> anyhow::Result<()> {
    let filter: EnvFilter = filter.parse().context("--log is not understood")?;
    // What a guest does wrong is reported once, by the layer that called it.
    let filter = filter.add_directive("wasmtime_wasi_nn=off".parse()?);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    Ok(())
}

impl RunGuest {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.load.resolve()?;
        let code = runtime()?.block_on(app::run_guest(&config, &self.arguments))?;
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    }
}

fn check(options: LoadOptions) -> anyhow::Result<ExitCode> {
    let mut config = options.resolve()?;
    // Redis is tried by itself, and what is asked once is worth no cache.
    let redis = std::mem::take(&mut config.cache).redis;
    let runtime = runtime()?;
    let redis = runtime.block_on(reach(redis));
    let app = App::load(&config, &prometheus::Registry::new(), runtime.handle())?;
    let text = "What a wonderful day.".to_owned();
    let answer = runtime.block_on(predict::answer(app.service(), vec![text]))?;
    let version = app.version();
    writeln!(
        std::io::stdout(),
        "onnxruntime  {}\n\
         model        {} ({})\n\
         guest        {} ({}, {})\n\
         artefacts    {}\n\
         workers      {}, with {} thread(s) for each inference\n\
         batches      {}; a short text takes {:.2} ms alone, {:.2} ms with others\n\
         redis        {redis}\n\
         answer       {answer}",
        app.onnxruntime().display(),
        config.model.display(),
        version.model.short(),
        config.guest.display(),
        version.guest.short(),
        loaded(app.loaded_from()),
        match &config.artifacts {
            Some(dir) => dir.display().to_string(),
            None => "not kept".to_owned(),
        },
        config.workers,
        config.threads,
        match app.batch_tokens() {
            1 => "of one text".to_owned(),
            tokens => format!("of up to {tokens} tokens"),
        },
        app.calibration().alone.as_secs_f64() * 1e3,
        app.calibration().together.as_secs_f64() * 1e3,
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Whether Redis can be used, in words. A server starts without it.
async fn reach(redis: Option<cache::RedisOptions>) -> String {
    let Some(redis) = redis else {
        return "not used".to_owned();
    };
    match redis.reach().await {
        Ok(()) => format!("{} answers", redis.address),
        Err(reason) => format!("{} can not be used: {reason}", redis.address),
    }
}

/// How a guest came to be ready, in words.
fn loaded(from: LoadedFrom) -> &'static str {
    match from {
        LoadedFrom::Source => "compiled just now",
        LoadedFrom::Artifact => "compiled before",
    }
}

/// The threads that serve sockets; guests have their own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the async runtime can not be started")
}
