//! How a server's live version changes: on the guest file, at a restart, and when the
//! configured guest fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::revisions::DesiredState;
use clap::{ArgAction, Args};

use super::{guest_beside_binary, non_empty};
use crate::cli::values::path_or_none;

/// Options of `serve` that decide which version it runs over time.
#[derive(Args)]
#[command(next_help_heading = "Guest versions")]
pub(in crate::cli) struct RevisionOptions {
    /// Make a changed guest file live, once it is complete and has passed its tests
    #[arg(
        long,
        env = "FASTSENTIMENT_WATCH",
        value_name = "BOOL",
        default_value_t = true,
        action = ArgAction::Set
    )]
    watch: bool,

    /// Directory for the state that survives a restart [default: none]
    ///
    /// It records which version is live, which are known and which are quarantined. Each
    /// server needs its own. Nobody but this user and root may be able to write to it, or to
    /// replace it.
    #[arg(long, env = "FASTSENTIMENT_STATE", value_name = "DIR", value_parser = path_or_none())]
    state: Option<PathBuf>,

    /// Rollout file: what should run, in TOML [default: none]
    ///
    /// It names guests and models by path or by reference (`oci://...@sha256:...`), and the
    /// server follows it whenever it changes. --guest and --model are what it has for the
    /// rest. Versions are then changed by the file alone. What is pulled is kept in --state.
    #[arg(
        long,
        env = "FASTSENTIMENT_ROLLOUT",
        value_name = "FILE",
        value_parser = path_or_none()
    )]
    rollout: Option<PathBuf>,

    /// Guest to start with if --guest cannot be served; empty for none [default:
    /// `fastsentiment_guest.wasm` beside the binary]
    ///
    /// It also stands in for the guest of --guest while that is on probation after a start.
    /// Without a fallback, a server whose guest cannot be served does not start.
    #[arg(
        long,
        env = "FASTSENTIMENT_FALLBACK_GUEST",
        value_name = "FILE",
        value_parser = path_or_none()
    )]
    fallback_guest: Option<PathBuf>,
}

impl RevisionOptions {
    /// Adds these options to those that every command has.
    pub(in crate::cli) fn apply(&self, options: &mut ::revisions::Options) -> std::io::Result<()> {
        options.watch = self.watch;
        options.state = self.state().map(Path::to_owned);
        let rollout = self
            .rollout()
            .map(|file| DesiredState::new(file.to_owned()));
        options.rollout = rollout.map(Arc::new);
        options.fallback = match &self.fallback_guest {
            Some(guest) => non_empty(guest.clone()),
            // It may not be installed.
            None => Some(guest_beside_binary()?).filter(|file| file.exists()),
        };
        Ok(())
    }

    /// The rollout file, if there is one.
    pub(in crate::cli) fn rollout(&self) -> Option<&Path> {
        let file = self.rollout.as_deref();
        file.filter(|file| !file.as_os_str().is_empty())
    }

    /// The state directory, if there is one.
    pub(in crate::cli) fn state(&self) -> Option<&Path> {
        let dir = self.state.as_deref();
        dir.filter(|dir| !dir.as_os_str().is_empty())
    }
}
