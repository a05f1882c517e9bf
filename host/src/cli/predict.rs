//! `fastsentiment predict`: predicts texts, or scores every row of a file, without a server.

use std::io::{self, BufRead};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use fastsentiment::app::App;
use predictor::PredictError;
use service::{Options, Service};

use super::bulk::{self, FileOptions};
use super::options::LoadOptions;
use super::settings::ConfigOption;
use super::{hints, output};

/// The deadline of a row of a file, long enough never to be met.
const NO_DEADLINE: Duration = Duration::from_secs(86_400);

/// What to predict, and what to load for it.
#[derive(Args)]
#[command(after_help = bulk::EXIT_CODES)]
pub(super) struct PredictCommand {
    /// Texts to predict [default: the lines of standard input]
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    #[command(flatten)]
    file: FileOptions,

    #[command(flatten)]
    config: ConfigOption,

    #[command(flatten)]
    load: LoadOptions,
}

impl PredictCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut config = self.load.resolve_here()?;
        if self.file.is_given() {
            // No client waits for a row, and a call of the guest has a time limit of its own.
            config.limits.deadline = NO_DEADLINE;
            let runtime = super::runtime()?;
            return self.file.run(&runtime, || {
                let registry = prometheus::Registry::new();
                let loaded = App::load(&config, &registry, runtime.handle());
                loaded.map_err(|error| hints::explain(&config, error))
            });
        }
        // Texts that are predicted once need no cache.
        config.cache = cache::Options::default();
        let runtime = super::runtime()?;
        let app = App::load(&config, &prometheus::Registry::new(), runtime.handle())
            .map_err(|error| hints::explain(&config, error))?;
        let texts = if self.texts.is_empty() {
            io::stdin()
                .lock()
                .lines()
                .collect::<io::Result<_>>()
                .context("cannot read standard input")?
        } else {
            self.texts
        };
        let answer = runtime.block_on(answer(app.service(), texts))?;
        output::print_json(&answer)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Predicts texts. Returns the JSON of `POST /predict`.
pub(super) async fn answer(service: &Service, texts: Vec<String>) -> anyhow::Result<String> {
    let predictions = service.predict(texts, Options::default()).await;
    let predictions = predictions.map_err(|error| anyhow::anyhow!(describe(&error)))?;
    Ok(http::predictions_json(&predictions)?)
}

/// An error with its detail and the guest's own words, which are hidden from clients of a
/// server, but not from the user of a command.
pub(super) fn describe(error: &PredictError) -> String {
    match error.full_detail.as_ref().or(error.detail.as_ref()) {
        Some(detail) => format!("{error}: {detail}"),
        None => error.to_string(),
    }
}
