//! How a server's live version changes: on the guest file, at a restart, and when the
//! configured guest fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::revisions::{DesiredState, Parts, Tags};
use clap::{ArgAction, Args};

use crate::cli::options::{guest_beside_binary, non_empty};
use crate::cli::registry::RegistryOptions;
use crate::cli::values::{path_or_none, whole};

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

    /// How often to look up what the tags of --guest and --model stand for, in seconds; 0 for
    /// never after the start
    ///
    /// A digest (`oci://...@sha256:...`) always stands for the same, and is not looked up.
    #[arg(
        long,
        env = "FASTSENTIMENT_OCI_POLL_S",
        value_name = "S",
        default_value_t = 60,
        value_parser = whole::<u32>(0..=u32::MAX.into()),
        hide_short_help = true
    )]
    oci_poll: u32,

    /// Public key, as cosign writes it, that must have signed what --guest and --model have from
    /// a registry [default: none]
    ///
    /// Repeat it for several keys: any of them will do.
    #[arg(
        long,
        env = "FASTSENTIMENT_TRUST",
        value_name = "FILE",
        value_delimiter = ',',
        hide_short_help = true
    )]
    trust: Vec<PathBuf>,

    #[command(flatten)]
    registry: RegistryOptions,

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
    /// Why these options cannot be used with a guest or a model from a registry, if they cannot.
    pub(in crate::cli) fn conflict(&self, artifacts: Option<&Parts>) -> Option<String> {
        let why = match artifacts {
            Some(_) if self.rollout().is_some() => {
                "--guest and --model cannot be in a registry with --rollout: name them in the file"
            }
            Some(_) if self.state().is_none() => {
                "a guest or a model of a registry is kept in the state directory: add --state DIR"
            }
            None if !self.trust.is_empty() => {
                "--trust is for a guest or a model of a registry (oci://...); a rollout file has \
                 keys of its own"
            }
            _ => return None,
        };
        Some(why.to_owned())
    }

    /// Adds these options to those that every command has. `artifacts` are the guest and the
    /// model, if one of them is in a registry.
    pub(in crate::cli) fn apply(
        &self,
        options: &mut ::revisions::Options,
        artifacts: Option<Parts>,
    ) -> std::io::Result<()> {
        options.watch = self.watch;
        options.state = self.state().map(Path::to_owned);
        let tags = |parts| {
            DesiredState::of_tags(Tags {
                parts,
                pull: self.registry.pull(),
                trust: self.trust.clone(),
                every: (self.oci_poll > 0).then(|| Duration::from_secs(self.oci_poll.into())),
            })
        };
        let file = self.rollout();
        let rollout = file.map(|file| DesiredState::new(file.to_owned()));
        let rollout = rollout.or_else(|| artifacts.map(tags));
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
