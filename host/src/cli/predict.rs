//! `fastsentiment predict`.

use std::io::{self, BufRead};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use fastsentiment::app::App;
use service::{Options, Service};

use super::bulk::{self, FileOptions};
use super::options::LoadOptions;
use super::settings::ConfigOption;
use super::{needs, output};

/// Longer than anything takes.
const FOREVER: Duration = Duration::from_secs(86_400);

/// What to predict, and with what.
#[derive(Args)]
#[command(after_help = bulk::EXIT_CODES)]
pub(super) struct PredictCommand {
    /// The texts [default: the lines of standard input]
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
        let mut config = self.load.resolve()?;
        if self.file.is_given() {
            // Nobody waits for a single answer; calls of the guest have their limit.
            config.limits.deadline = FOREVER;
            let runtime = super::runtime()?;
            return self.file.run(&runtime, || {
                let registry = prometheus::Registry::new();
                let loaded = App::load(&config, &registry, runtime.handle());
                loaded.map_err(|error| needs::explained(&config, error))
            });
        }
        // What is asked once is worth no cache, nor a connection to one.
        config.cache = cache::Options::default();
        let runtime = super::runtime()?;
        let app = App::load(&config, &prometheus::Registry::new(), runtime.handle())
            .map_err(|error| needs::explained(&config, error))?;
        let texts = if self.texts.is_empty() {
            io::stdin()
                .lock()
                .lines()
                .collect::<io::Result<_>>()
                .context("standard input can not be read")?
        } else {
            self.texts
        };
        let answer = runtime.block_on(answer(app.service(), texts))?;
        output::print(format_args!("{answer}\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Scores texts; the answer is the JSON that `POST /predict` gives.
pub(super) async fn answer(service: &Service, texts: Vec<String>) -> anyhow::Result<String> {
    let predictions =
        service
            .predict(texts, Options::default())
            .await
            .map_err(|error| match &error.detail {
                // On a terminal, whoever asks is the operator.
                Some(detail) => anyhow::anyhow!("{error}: {detail}"),
                None => error.into(),
            })?;
    Ok(http::predictions_json(&predictions)?)
}
