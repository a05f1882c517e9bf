//! The rollout file: what should run, in TOML.

use std::path::{Path, PathBuf};
use std::time::Duration;

use artifacts::Reference;
use predictor::Configuration;
use rollout::{Share, TrialKind};
use serde::Deserialize;

use crate::Source;
use crate::file::{self, TomlFault, Unfit, parse_toml};

/// The largest rollout file that is read, in bytes.
pub(crate) const MOST_BYTES: usize = 64 << 10;

/// What should run. It says nothing about how to get there.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Counted up by whoever changes the file, to tell its states apart.
    pub generation: u64,
    /// What answers.
    pub live: Parts,
    /// What a start falls back to, and what stands by for the live revision then. `None` for
    /// the configured guest and model.
    pub trusted: Option<Parts>,
    /// What is tried beside the live revision.
    pub trial: Option<DesiredTrial>,
    /// How artifacts are pulled.
    pub pull: Pull,
    /// The public keys of which one must have signed each guest and each model that is named
    /// here. If there are none, no signatures are needed.
    pub trust: Vec<PathBuf>,
}

/// A guest, a model and a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// The guest; `None` for the configured one.
    pub guest: Option<Source>,
    /// The model; `None` for the configured one.
    pub model: Option<Source>,
    /// What the guest is told when it asks for its configuration; `None` for what is
    /// configured.
    pub configuration: Option<Configuration>,
}

/// What is tried beside the live revision, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredTrial {
    /// As a canary or as a shadow.
    pub kind: TrialKind,
    /// With how many of the texts.
    pub share: Share,
    /// What is tried.
    pub parts: Parts,
}

/// How artifacts are pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    /// Credentials, in the format of Docker's `config.json`.
    pub credentials: Option<PathBuf>,
    /// Certificates (PEM) that are trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// Registries that are reached over plain HTTP.
    #[serde(default)]
    pub plain_http: Vec<String>,
    /// The time limit of one pull, in seconds.
    timeout_seconds: Option<u32>,
    /// The time within which a server begins to pull, in seconds.
    spread_seconds: Option<u32>,
    /// How much of the disk artifacts may take, in MiB.
    disk_mib: Option<u32>,
}

impl Pull {
    /// The time limit of one pull.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.unwrap_or(300).into())
    }

    /// How many bytes of the disk artifacts may take that were pulled; those that were used
    /// last are kept.
    pub fn disk_bytes(&self) -> u64 {
        u64::from(self.disk_mib.unwrap_or(4096)) << 20
    }

    /// Each server begins to pull after a random part of this, so that a fleet does not ask a
    /// registry at the same moment.
    pub fn spread(&self) -> Duration {
        Duration::from_secs(self.spread_seconds.unwrap_or(10).into())
    }
}

/// Why a rollout file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DesiredError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// It is not what a rollout file is.
    #[error("line {line}: {reason}")]
    Invalid {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// There can be one trial.
    #[error("it has both [canary] and [shadow]: one revision is tried at a time")]
    TwoTrials,
    /// The share is not one.
    #[error("`share` in [{0}] must be more than 0, and at most 1")]
    Share(&'static str),
    /// What is tried answers already.
    #[error("[{0}] has the guest, the model and the configuration of [live]")]
    TrialOfLive(&'static str),
    /// A reference could mean another artifact tomorrow.
    #[error("`{0}` has no digest: what a tag stands for can change; add `@sha256:...`")]
    NotPinned(Reference),
}

impl From<Unfit> for DesiredError {
    fn from(unfit: Unfit) -> Self {
        Self::Unreadable(match unfit {
            Unfit::TooLarge => format!("it is larger than {MOST_BYTES} bytes"),
            Unfit::Unreadable(reason) => reason,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    generation: u64,
    #[serde(default)]
    live: Parts,
    trusted: Option<Parts>,
    canary: Option<TrialTable>,
    shadow: Option<TrialTable>,
    #[serde(default)]
    pull: Pull,
    #[serde(default)]
    trust: TrustTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrialTable {
    share: f64,
    guest: Option<Source>,
    model: Option<Source>,
    configuration: Option<Configuration>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustTable {
    keys: Vec<PathBuf>,
}

impl Desired {
    /// Reads a rollout file.
    ///
    /// # Errors
    ///
    /// If it cannot be read or used. References without digests are no error yet: see
    /// [`Self::not_pinned`].
    pub fn read(path: &Path) -> Result<Self, DesiredError> {
        let (bytes, _) = file::read(path, MOST_BYTES)?;
        Self::parse(&bytes, path)
    }

    /// Parses the content of the rollout file that is at `path`, to whose directory paths in
    /// it are relative.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, DesiredError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| DesiredError::Unreadable("it is not UTF-8".to_owned()))?;
        let document: Document = parse_toml(text)
            .map_err(|TomlFault { line, reason }| DesiredError::Invalid { line, reason })?;
        let (kind, table) = match (document.canary, document.shadow) {
            (Some(_), Some(_)) => return Err(DesiredError::TwoTrials),
            (Some(table), None) => (TrialKind::Canary, Some(table)),
            (None, table) => (TrialKind::Shadow, table),
        };
        let trial = table.map(|table| {
            let parts = Parts {
                guest: table.guest,
                model: table.model,
                configuration: table.configuration,
            };
            if parts == document.live {
                return Err(DesiredError::TrialOfLive(kind.name()));
            }
            let share = Share::new(table.share).ok_or(DesiredError::Share(kind.name()))?;
            Ok(DesiredTrial { kind, share, parts })
        });
        let mut desired = Self {
            generation: document.generation,
            live: document.live,
            trusted: document.trusted,
            trial: trial.transpose()?,
            pull: document.pull,
            trust: document.trust.keys,
        };
        desired.make_absolute(path.parent().unwrap_or(Path::new("")));
        Ok(desired)
    }

    fn make_absolute(&mut self, dir: &Path) {
        let pull = &mut self.pull;
        let files = self.trust.iter_mut();
        for path in files.chain(&mut pull.credentials).chain(&mut pull.ca) {
            *path = dir.join(&*path);
        }
        let trial = self.trial.iter_mut().map(|trial| &mut trial.parts);
        let parts = std::iter::once(&mut self.live).chain(&mut self.trusted);
        for parts in parts.chain(trial) {
            for source in parts.guest.iter_mut().chain(&mut parts.model) {
                if let Source::Path(path) = source {
                    *path = dir.join(&*path);
                }
            }
        }
    }

    /// All that the file names.
    fn parts(&self) -> impl Iterator<Item = &Parts> {
        let trial = self.trial.iter().map(|trial| &trial.parts);
        std::iter::once(&self.live)
            .chain(&self.trusted)
            .chain(trial)
    }

    /// All references to registries.
    pub(crate) fn references(&self) -> impl Iterator<Item = &Reference> {
        let sources = self.parts().flat_map(|parts| [&parts.guest, &parts.model]);
        sources.flatten().filter_map(|source| match source {
            Source::Artifact(reference) => Some(reference),
            Source::Path(_) => None,
        })
    }

    /// The first reference without a digest, which makes the file useless.
    pub fn not_pinned(&self) -> Option<&Reference> {
        self.references()
            .find(|reference| reference.digest().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PINNED: &str = "oci://registry.example/g@sha256:\
        0000000000000000000000000000000000000000000000000000000000000000";

    fn parse(text: &str) -> Result<Desired, DesiredError> {
        Desired::parse(text.as_bytes(), Path::new("/etc/rollout/rollout.toml"))
    }

    #[test]
    fn the_least_file_is_what_the_image_brings() {
        let desired = parse("generation = 1").unwrap();
        assert_eq!(desired.live, Parts::default());
        assert_eq!((desired.trusted, desired.trial), (None, None));
        assert_eq!(desired.pull.timeout(), Duration::from_secs(300));
        assert_eq!(desired.pull.spread(), Duration::from_secs(10));
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = format!(
            "generation = 7\n\
             [live]\nguest = \"{PINNED}\"\nmodel = \"models/v2\"\n\
             [trusted]\nguest = \"/guests/old.wasm\"\n\
             [shadow]\nshare = 1\nguest = \"new.wasm\"\n\
             [pull]\ncredentials = \"auth.json\"\nplain_http = [\"localhost:5000\"]\n\
             timeout_seconds = 5\nspread_seconds = 2\ndisk_mib = 1\n\
             [trust]\nkeys = [\"cosign.pub\"]\n"
        );
        let desired = parse(&text).unwrap();
        let path = |path: &str| Some(Source::Path(path.into()));
        assert_eq!(desired.live.guest, Some(PINNED.parse().unwrap()));
        assert_eq!(desired.live.model, path("/etc/rollout/models/v2"));
        assert_eq!(desired.trusted.unwrap().guest, path("/guests/old.wasm"));
        let trial = desired.trial.unwrap();
        assert_eq!(trial.kind, TrialKind::Shadow);
        assert_eq!(trial.parts.guest, path("/etc/rollout/new.wasm"));
        assert_eq!(
            desired.pull.credentials,
            Some("/etc/rollout/auth.json".into())
        );
        assert_eq!(desired.pull.timeout(), Duration::from_secs(5));
        assert_eq!(desired.pull.spread(), Duration::from_secs(2));
        assert_eq!(desired.pull.disk_bytes(), 1 << 20);
        assert_eq!(desired.trust, [Path::new("/etc/rollout/cosign.pub")]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("", "missing field `generation`"),
            ("generation = -1", "line 1: "),
            ("generation = 1\nlive = \"image\"", "line 2: "),
            (
                "generation = 1\n[live]\nguests = \"a\"",
                "line 3: unknown field `guests`",
            ),
            (
                "generation = 1\n[live]\nguest = \"oci://x\"",
                "line 3: `oci://x` names no repository",
            ),
            (
                "generation = 1\n[canary]\nshare = 0\nguest = \"a\"",
                "`share` in [canary] must be",
            ),
            (
                "generation = 1\n[canary]\nshare = 0.1",
                "[canary] has the guest, the model and the configuration of [live]",
            ),
            (
                "generation = 1\n[canary]\nshare = 1\nguest = \"a\"\n[shadow]\nshare = 1\nguest = \"b\"",
                "both [canary] and [shadow]",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(Desired::parse(b"\xff", Path::new("x")).is_err());
    }

    #[test]
    fn a_tag_alone_is_found() {
        let text = "generation = 1\n[live]\nguest = \"oci://registry.example/g:v1\"";
        let desired = parse(text).unwrap();
        assert_eq!(
            desired.not_pinned().unwrap().to_string(),
            "oci://registry.example/g:v1"
        );
        let pinned = parse(&format!("generation = 1\n[trusted]\nguest = \"{PINNED}\"")).unwrap();
        assert_eq!(pinned.not_pinned(), None);
        assert_eq!(pinned.references().count(), 1);
    }
}
