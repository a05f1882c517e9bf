//! `fastsentiment predict`.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use fastsentiment::app::App;
use fastsentiment::cache;
use fastsentiment::service::{Options, Service};

use super::bulk::{self, FileOptions};
use super::options::LoadOptions;

/// Longer than anything takes.
const FOREVER: Duration = Duration::from_secs(86_400);

/// Predicts texts without a server.
#[derive(Args)]
#[command(after_help = bulk::EXIT_CODES)]
pub(super) struct PredictCommand {
    #[command(flatten)]
    file: FileOptions,

    #[command(flatten)]
    load: LoadOptions,

    /// The texts [default: the lines of standard input]
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
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
                Ok(App::load(&config, &registry, runtime.handle())?)
            });
        }
        // What is asked once is worth no cache, nor a connection to one.
        config.cache = cache::Options::default();
        let runtime = super::runtime()?;
        let app = App::load(&config, &prometheus::Registry::new(), runtime.handle())?;
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
        writeln!(io::stdout(), "{answer}")?;
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
    Ok(fastsentiment::http::predictions_json(&predictions)?)
}
