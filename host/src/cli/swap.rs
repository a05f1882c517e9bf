//! `fastsentiment swap`: uploads a guest, a model, a configuration, or several of them to a
//! running server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use http::admin::document::{
    Added, Changes, Listing, ReceivedConfiguration, Standing, UploadedModel,
};
use predictor::RevisionName;
use reqwest::Method;
use revisions::{Source, read_configuration};
use rollout::Share;

use super::admin_client::{Call, Client, ClientOptions};
use super::archive;
use super::change::{Overriding, describe_change};
use super::source::SourceOptions;
use super::values::setting;
use super::versions::percent;

/// Uploads a guest, a model or a configuration to a running server.
#[derive(Args)]
pub(super) struct SwapCommand {
    /// Guest component to upload: a file, or an artifact in a registry (`oci://...`)
    /// [default: the guest of the live version]
    #[arg(
        value_name = "GUEST",
        required_unless_present_any = ["model", "guest_config", "set", "unset"]
    )]
    guest: Option<Source>,

    /// Model to upload: a directory, or an artifact in a registry (`oci://...`) [default: the
    /// model of the live version]
    #[arg(long, value_name = "MODEL")]
    model: Option<Source>,

    #[command(flatten)]
    settings: Settings,

    /// What to call the new version, such as `neutral@1.2.0` [default: what the guest calls
    /// itself]
    #[arg(long, value_name = "NAME")]
    name: Option<RevisionName>,

    #[command(flatten)]
    role: Role,

    #[command(flatten)]
    sources: SourceOptions,

    #[command(flatten)]
    overriding: Overriding,

    #[command(flatten)]
    client: ClientOptions,
}

/// What the guest of the new version reads: by default what that of the live version reads.
#[derive(Args)]
struct Settings {
    /// Configuration of the guest: a file in TOML [default: that of the live version]
    #[arg(long, value_name = "FILE")]
    guest_config: Option<PathBuf>,

    /// Set one value of the configuration; may be given several times
    ///
    /// Other users can see command lines: secrets belong into the file.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,

    /// Remove one key of the configuration; may be given several times
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
}

impl Settings {
    /// Sends the configuration to the server, and returns its digest. `None` if it is to be
    /// that of the live version.
    fn send(self, client: &Client, live: &str) -> anyhow::Result<Option<String>> {
        let mut call = Call::new(Method::POST, &["configurations"]);
        let mut changes = BTreeMap::new();
        match &self.guest_config {
            Some(file) => {
                let read = read_configuration(file)?;
                let owned = |(key, value): (&str, &str)| (key.to_owned(), Some(value.to_owned()));
                changes.extend(read.iter().map(owned));
            }
            None if self.set.is_empty() && self.unset.is_empty() => return Ok(None),
            None => call = call.query("base", &live),
        }
        let set = self.set.into_iter();
        changes.extend(set.map(|(key, value)| (key, Some(value))));
        changes.extend(self.unset.into_iter().map(|key| (key, None)));
        let received: ReceivedConfiguration = client.get(call.json(&Changes(changes))?)?;
        Ok(Some(received.configuration))
    }
}

/// What becomes of the new version: by default it is made live.
#[derive(Args)]
#[group(multiple = false)]
struct Role {
    /// Start a canary: the new version answers this share of texts, such as 0.1
    ///
    /// The same text is always answered by the same version.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    canary: Option<f64>,

    /// Start a shadow: the new version gets copies of this share of texts [default: 1]
    ///
    /// Its answers are compared with those of the live version, and then dropped.
    #[arg(
        long,
        value_name = "SHARE",
        value_parser = share,
        num_args = 0..=1,
        default_missing_value = "1"
    )]
    shadow: Option<f64>,

    /// Only make the new version ready
    #[arg(long)]
    no_activate: bool,
}

fn share(text: &str) -> Result<f64, &'static str> {
    let share = text.parse().ok().and_then(Share::new);
    share
        .map(Share::get)
        .ok_or("must be a number greater than 0 and at most 1")
}

impl SwapCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = super::runtime()?;
        let sources = self.sources.open()?;
        let component = match &self.guest {
            Some(guest) => Some(runtime.block_on(sources.guest(guest))?),
            None => None,
        };
        let client = Client::new(self.client)?;
        let mut call = Call::new(Method::POST, &["versions"]);
        if let Some(model) = &self.model {
            let dir = runtime.block_on(sources.model(model))?;
            let archive = archive::of(dir.path()).context("cannot archive the model")?;
            let upload = Call::new(Method::POST, &["models"]).model(archive);
            let uploaded: UploadedModel = client.get(upload)?;
            call = call.query("model", &uploaded.model);
        }
        let listing: Listing = client.get(Call::new(Method::GET, &["versions"]))?;
        if let Some(configuration) = self.settings.send(&client, &listing.live.revision)? {
            call = call.query("configuration", &configuration);
        }
        call = match component {
            Some(component) => call.component(component),
            None => call.query("guest", &listing.live.revision),
        };
        if let Some(name) = &self.name {
            call = call.query("name", name);
        }
        let Role {
            canary,
            shadow,
            no_activate,
        } = self.role;
        let call = match (canary, shadow) {
            (Some(share), _) => call.query("canary", &share),
            (_, Some(share)) => call.query("shadow", &share),
            _ if no_activate => call,
            _ => call.query("activate", &true),
        };
        client.run(self.overriding.apply(call), describe_added)
    }
}

/// One line on a version that was added, and what became of it.
pub(super) fn describe_added(added: &Added) -> String {
    #[expect(clippy::cast_precision_loss, reason = "no load takes years")]
    let seconds = added.took_ms as f64 / 1e3;
    let took = match (added.known, added.compiled) {
        (true, _) => "already known".to_owned(),
        (false, true) => format!("compiled in {seconds:.1} s"),
        (false, false) => format!("ready in {seconds:.1} s, compiled before"),
    };
    let short = &added.version.revision_short;
    let outcome = match (&added.change, &added.trial) {
        (Some(change), _) => describe_change(change),
        (None, Some(trial)) => {
            let role = match trial.standing {
                Standing::Shadow => "shadow with copies of",
                _ => "canary with",
            };
            format!("{role} {} of texts: {short}", percent(trial.share))
        }
        (None, None) => format!("ready, not live: {short}"),
    };
    format!("{outcome}, {took}")
}
