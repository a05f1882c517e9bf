//! `fastsentiment swap`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use http::admin::document::{Added, Standing};
use reqwest::Method;
use rollout::Share;

use super::change::words_of_change;
use super::client::{Ask, Client, ClientOptions};
use super::versions::percent;

/// Gives a running server another guest.
#[derive(Args)]
pub(super) struct SwapCommand {
    /// The component
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    then: Then,

    #[command(flatten)]
    client: ClientOptions,
}

/// What is done with the new version; it is made live unless one of these is
/// given.
#[derive(Args)]
#[group(multiple = false)]
struct Then {
    /// Let it answer this share of the texts, such as 0.1; which ones depends on
    /// nothing but the texts
    #[arg(long, value_name = "SHARE", value_parser = share)]
    canary: Option<f64>,

    /// Give it copies of this share of the texts [default: 1], compare its
    /// answers with those of the live version, and drop them
    #[arg(
        long,
        value_name = "SHARE",
        value_parser = share,
        num_args = 0..=1,
        default_missing_value = "1"
    )]
    shadow: Option<f64>,

    /// Have it ready, and do nothing with it
    #[arg(long)]
    no_activate: bool,
}

fn share(text: &str) -> Result<f64, &'static str> {
    let share = text.parse().ok().and_then(Share::new);
    share
        .map(Share::get)
        .ok_or("a share is a number greater than 0 and at most 1")
}

impl SwapCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let component = std::fs::read(&self.file)
            .with_context(|| format!("can not read {}", self.file.display()))?;
        let ask = Ask::new(Method::POST, &["versions"]).component(component);
        let ask = match self.then {
            Then {
                no_activate: true, ..
            } => ask,
            Then {
                canary: Some(share),
                ..
            } => ask.with("canary", &share),
            Then {
                shadow: Some(share),
                ..
            } => ask.with("shadow", &share),
            Then { .. } => ask.with("activate", &true),
        };
        Client::new(self.client)?.tell(ask, words_of_added)
    }
}

/// What was done with a version that was added, in a line.
pub(super) fn words_of_added(added: &Added) -> String {
    #[expect(clippy::cast_precision_loss, reason = "no load takes years")]
    let seconds = added.took_ms as f64 / 1e3;
    let took = match (added.known, added.compiled) {
        (true, _) => "known before".to_owned(),
        (false, true) => format!("compiled in {seconds:.1} s"),
        (false, false) => format!("ready in {seconds:.1} s, compiled before"),
    };
    let short = &added.version.short;
    let what = match (&added.change, &added.trial) {
        (Some(change), _) => words_of_change(change),
        (None, Some(trial)) => {
            let kind = match trial.standing {
                Standing::Shadow => "in the shadow with copies of",
                _ => "on trial with",
            };
            format!("{kind} {} of the texts: {short}", percent(trial.share))
        }
        (None, None) => format!("ready, and not live: {short}"),
    };
    format!("{what}, {took}")
}
