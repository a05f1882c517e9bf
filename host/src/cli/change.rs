//! The commands that change which version a running server uses.

use std::process::ExitCode;

use clap::Args;
use http::admin::document::{Change, Gone, Listing};
use reqwest::Method;

use super::admin_client::{Call, Client, ClientOptions, id};
use super::swap::describe_added;

/// Whether a change takes precedence over a rollout file.
#[derive(Args)]
pub(super) struct Overriding {
    /// Do this though a rollout file decides what is used
    ///
    /// This lasts until the file changes, or until `fastsentiment reload`.
    #[arg(long = "override")]
    overriding: bool,
}

impl Overriding {
    pub(super) fn apply<'a>(&self, call: Call<'a>) -> Call<'a> {
        if self.overriding {
            call.query("override", &true)
        } else {
            call
        }
    }
}

/// Makes a version live.
#[derive(Args)]
pub(super) struct ActivateCommand {
    /// Version: its digest, or the first 4 or more digits of it
    #[arg(value_name = "ID", value_parser = id)]
    id: String,

    /// Make it live even if it is quarantined
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    overriding: Overriding,

    #[command(flatten)]
    client: ClientOptions,
}

impl ActivateCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let path = ["versions", &self.id, "activate"];
        let call = Call::new(Method::POST, &path).query("force", &self.force);
        Client::new(self.client)?.run(self.overriding.apply(call), describe_change)
    }
}

/// Goes back to the version before the live one.
#[derive(Args)]
pub(super) struct RollbackCommand {
    /// Go back only if this version is still live [default: the live version]
    #[arg(long, value_name = "ID", value_parser = id)]
    from: Option<String>,

    #[command(flatten)]
    overriding: Overriding,

    #[command(flatten)]
    client: ClientOptions,
}

impl RollbackCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let client = Client::new(self.client)?;
        // With its name, the version is left only once, even if the request is repeated or
        // somebody else rolls back at the same time.
        let from = match self.from {
            Some(from) => from,
            None => {
                let listing: Listing = client.get(Call::new(Method::GET, &["versions"]))?;
                listing.live.revision
            }
        };
        let call = Call::new(Method::POST, &["rollback"]).query("from", &from);
        client.run(self.overriding.apply(call), describe_change)
    }
}

/// Makes the version on trial live.
#[derive(Args)]
pub(super) struct PromoteCommand {
    #[command(flatten)]
    overriding: Overriding,

    #[command(flatten)]
    client: ClientOptions,
}

impl PromoteCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let call = Call::new(Method::POST, &["trial", "promote"]);
        Client::new(self.client)?.run(self.overriding.apply(call), describe_change)
    }
}

/// Ends the trial.
#[derive(Args)]
pub(super) struct EndTrialCommand {
    #[command(flatten)]
    overriding: Overriding,

    #[command(flatten)]
    client: ClientOptions,
}

impl EndTrialCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let call = self.overriding.apply(Call::new(Method::DELETE, &["trial"]));
        Client::new(self.client)?.run(call, |gone: &Gone| {
            format!("trial ended: {}", gone.version.revision_short)
        })
    }
}

/// Removes a version.
#[derive(Args)]
pub(super) struct RemoveCommand {
    /// Version: its digest, or the first 4 or more digits of it
    #[arg(value_name = "ID", value_parser = id)]
    id: String,

    #[command(flatten)]
    client: ClientOptions,
}

impl RemoveCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let path = ["versions", &self.id];
        let call = Call::new(Method::DELETE, &path);
        Client::new(self.client)?.run(call, |gone: &Gone| {
            format!("removed: {}", gone.version.revision_short)
        })
    }
}

/// Reloads the configured guest, or the rollout file.
#[derive(Args)]
pub(super) struct ReloadCommand {
    #[command(flatten)]
    client: ClientOptions,
}

impl ReloadCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let call = Call::new(Method::POST, &["reload"]);
        Client::new(self.client)?.run(call, describe_added)
    }
}

/// One line on which version is live.
pub(super) fn describe_change(change: &Change) -> String {
    if change.changed {
        format!(
            "live: {} (was {})",
            change.live.revision_short, change.before.revision_short
        )
    } else {
        format!("live: {} (unchanged)", change.live.revision_short)
    }
}
