//! What changes the version while a server runs, beside the admin listener: the
//! guest's file, and SIGHUP.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use clap::{ArgAction, Args};
use revisions::Revisions;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::options::guest_beside_binary;
use super::values::path_or_none;

/// Which version is served, over time.
#[derive(Args)]
#[command(next_help_heading = "Versions of the guest")]
pub(super) struct TriggerOptions {
    /// Whether a change of the guest's file makes it live
    ///
    /// Once it is complete and proves good.
    #[arg(
        long,
        env = "FASTSENTIMENT_WATCH",
        value_name = "BOOL",
        default_value_t = true,
        action = ArgAction::Set
    )]
    watch: bool,

    /// A directory for what a restart goes on from [default: none]
    ///
    /// Which version is live, which are known and which are quarantined; for one
    /// server, and writable by no other user.
    #[arg(long, env = "FASTSENTIMENT_STATE", value_name = "DIR", value_parser = path_or_none())]
    state: Option<PathBuf>,

    /// The guest to start with if --guest cannot be served; empty for none [default:
    /// `fastsentiment_guest.wasm` beside the binary]
    ///
    /// It also answers for the guest of --guest while that is on probation after a start.
    /// Without one, a server whose guest cannot be served does not start.
    #[arg(
        long,
        env = "FASTSENTIMENT_FALLBACK_GUEST",
        value_name = "FILE",
        value_parser = path_or_none()
    )]
    fallback_guest: Option<PathBuf>,
}

impl TriggerOptions {
    pub(super) fn apply(&self, options: &mut revisions::Options) -> std::io::Result<()> {
        options.watch = self.watch;
        options.state = self.state().cloned();
        options.fallback = match &self.fallback_guest {
            Some(named) => Some(named.clone()).filter(|file| !file.as_os_str().is_empty()),
            // Where none is installed, there is none.
            None => Some(guest_beside_binary()?).filter(|file| file.exists()),
        };
        Ok(())
    }

    /// The directory of the state, if there is one.
    pub(super) fn state(&self) -> Option<&PathBuf> {
        self.state
            .as_ref()
            .filter(|dir| !dir.as_os_str().is_empty())
    }
}

/// The signals that ask for the guest's file to be read again.
pub(super) fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Makes the configured guest live at each signal.
pub(super) fn reload_at(mut hangups: Signal, versions: &Arc<Revisions>) -> JoinHandle<()> {
    let versions: Weak<Revisions> = Arc::downgrade(versions);
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            let Some(versions) = versions.upgrade() else {
                return;
            };
            match versions.reload().await {
                Ok((added, change)) if change.live == change.before => tracing::info!(
                    guest = added.revision.guest().short(),
                    "SIGHUP: the configured guest is live already"
                ),
                // Said where it is done.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!("SIGHUP: what is live stays live: {error}");
                }
            }
        }
    })
}
