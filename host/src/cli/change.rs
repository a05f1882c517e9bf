//! The commands that change which version of a running server is in use.

use std::process::ExitCode;

use clap::Args;
use http::admin::document::{Change, Gone, Listing};
use reqwest::Method;

use super::client::{Ask, Client, ClientOptions, id};
use super::swap::words_of_added;

/// Makes a version live.
#[derive(Args)]
pub(super) struct ActivateCommand {
    /// The version: the first digits of its digest
    #[arg(value_name = "ID", value_parser = id)]
    id: String,

    /// Make it live even if it was taken out of use because it failed
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    client: ClientOptions,
}

impl ActivateCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let path = ["versions", &self.id, "activate"];
        let ask = Ask::new(Method::POST, &path).with("force", &self.force);
        Client::new(self.client)?.tell(ask, words_of_change)
    }
}

/// Goes back to the version before the live one.
#[derive(Args)]
pub(super) struct RollbackCommand {
    /// The version to be left: nothing is done if it is not live any more
    /// [default: the one that is live now]
    #[arg(long, value_name = "ID", value_parser = id)]
    from: Option<String>,

    #[command(flatten)]
    client: ClientOptions,
}

impl RollbackCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let client = Client::new(self.client)?;
        // Named, it is left once, even if the request is sent twice or somebody
        // else goes back at the same time.
        let from = match self.from {
            Some(from) => from,
            None => {
                let listing: Listing = client.ask(Ask::new(Method::GET, &["versions"]))?;
                listing.live.guest
            }
        };
        let ask = Ask::new(Method::POST, &["rollback"]).with("from", &from);
        client.tell(ask, words_of_change)
    }
}

/// Makes the version on trial live.
#[derive(Args)]
pub(super) struct PromoteCommand {
    #[command(flatten)]
    client: ClientOptions,
}

impl PromoteCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let ask = Ask::new(Method::POST, &["trial", "promote"]);
        Client::new(self.client)?.tell(ask, words_of_change)
    }
}

/// Ends the trial.
#[derive(Args)]
pub(super) struct EndTrialCommand {
    #[command(flatten)]
    client: ClientOptions,
}

impl EndTrialCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let ask = Ask::new(Method::DELETE, &["trial"]);
        Client::new(self.client)?.tell(ask, |gone: &Gone| {
            format!("not on trial any more: {}", gone.version.short)
        })
    }
}

/// Has a version forgotten.
#[derive(Args)]
pub(super) struct RemoveCommand {
    /// The version: the first digits of its digest
    #[arg(value_name = "ID", value_parser = id)]
    id: String,

    #[command(flatten)]
    client: ClientOptions,
}

impl RemoveCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let path = ["versions", &self.id];
        let ask = Ask::new(Method::DELETE, &path);
        Client::new(self.client)?.tell(ask, |gone: &Gone| {
            format!("forgotten: {}", gone.version.short)
        })
    }
}

/// Has the configured guest read again.
#[derive(Args)]
pub(super) struct ReloadCommand {
    #[command(flatten)]
    client: ClientOptions,
}

impl ReloadCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let ask = Ask::new(Method::POST, &["reload"]);
        Client::new(self.client)?.tell(ask, words_of_added)
    }
}

/// What became of the live version, in words.
pub(super) fn words_of_change(change: &Change) -> String {
    if change.changed {
        format!("live: {} (was {})", change.live.short, change.before.short)
    } else {
        format!("live: {} (as before)", change.live.short)
    }
}
