//! The state as one JSON document, so that it is whole or absent.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::{Origin, Quarantined};
use super::record::{Configured, KeptRevision, KeptTrial, Record};
use predictor::{Configuration, Digest, Revision};
use rollout::{Share, TrialKind};

/// The version of the layout that is written.
const FORMAT: u32 = 2;

/// The former layout, which is still read: it named revisions by their guests alone.
const FORMER: u32 = 1;

impl Record {
    pub(super) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec_pretty(&Document::from(self))
    }

    /// Reads what [`Self::to_json`] has written, or what a former release has; the
    /// error says what is wrong.
    ///
    /// A guest whose model this server no longer has is loaded with the configured one, and
    /// that revision is what is given here. What is said of the configured file and of the
    /// quarantine holds for the very revisions that it was said of.
    pub(super) fn parse(json: &[u8], models: &KnownModels) -> Result<Self, String> {
        let Format { format } = read(json)?;
        match format {
            FORMAT => {
                let document: Document<Identity> = read(json)?;
                let configurations = document.configurations.clone();
                let missing = Cell::new(None);
                let configuration = |digest: Digest| {
                    let mut kept = configurations.iter().chain([&Revision::NO_CONFIGURATION]);
                    let found = kept.find(|kept| kept.digest() == digest).cloned();
                    found.unwrap_or_else(|| {
                        missing.set(Some(digest));
                        Revision::NO_CONFIGURATION
                    })
                };
                let exactly = |name: Identity| {
                    let configuration = configuration(name.configuration.0);
                    Revision::new(name.guest.0, name.model.0, configuration)
                        .named(name.name.and_then(|name| name.parse().ok()))
                };
                let present = |name: Identity| {
                    let model = Hex(models.or_configured(name.model.0));
                    exactly(Identity { model, ..name })
                };
                let record = document.into_record(exactly, present)?;
                match missing.get() {
                    Some(digest) => Err(format!("it has no configuration {digest}")),
                    None => Ok(record),
                }
            }
            FORMER => {
                let model = models.configured;
                let of = |guest: Hex| Revision::new(guest.0, model, Revision::NO_CONFIGURATION);
                read::<Document<Hex>>(json)?.into_record(of, of)
            }
            other => Err(format!(
                "its format is {other}; this program reads {FORMER} and {FORMAT}"
            )),
        }
    }
}

/// The models that a server has at its start.
#[derive(Clone, Debug)]
pub(in super::super) struct KnownModels {
    pub(in super::super) configured: Digest,
    /// Those in the state directory.
    pub(in super::super) kept: Vec<Digest>,
}

impl KnownModels {
    fn or_configured(&self, model: Digest) -> Digest {
        let is_kept = self.kept.contains(&model);
        if is_kept { model } else { self.configured }
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The state. `R` is how a revision is named.
#[derive(Serialize, Deserialize)]
struct Document<R> {
    format: u32,
    configured: Option<R>,
    refused: Option<String>,
    history: Vec<R>,
    #[serde(alias = "versions")]
    revisions: Vec<RevisionEntry<R>>,
    quarantine: Vec<QuarantineEntry<R>>,
    trial: Option<TrialEntry<R>>,
    standby: Option<R>,
    /// Those that revisions name by their digests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    configurations: Vec<Configuration>,
}

/// A revision by all of its parts.
#[derive(Serialize, Deserialize)]
struct Identity {
    guest: Hex,
    model: Hex,
    configuration: Hex,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RevisionEntry<R> {
    #[serde(alias = "guest")]
    revision: R,
    /// The file that the guest was read from; none for an upload or an artifact.
    file: Option<PathBuf>,
    /// The reference that the guest was pulled by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact: Option<String>,
    added_ms: u64,
    activated_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct QuarantineEntry<R> {
    #[serde(alias = "guest")]
    revision: R,
    reason: String,
    since_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct TrialEntry<R> {
    #[serde(alias = "guest")]
    revision: R,
    kind: Kind,
    share: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Canary,
    Shadow,
}

impl From<&Arc<Revision>> for Identity {
    fn from(revision: &Arc<Revision>) -> Self {
        Self {
            guest: Hex(revision.guest()),
            model: Hex(revision.model()),
            configuration: Hex(revision.configuration().digest()),
            name: revision.name().map(ToString::to_string),
        }
    }
}

impl From<&Record> for Document<Identity> {
    fn from(record: &Record) -> Self {
        let revision = |kept: &KeptRevision| RevisionEntry {
            revision: Identity::from(&kept.revision),
            file: match &kept.origin {
                // JSON holds Unicode only.
                Origin::File(path) => Some(path.to_string_lossy().as_ref().into()),
                Origin::Upload | Origin::Artifact(_) => None,
            },
            artifact: match &kept.origin {
                Origin::Artifact(reference) => Some(reference.to_string()),
                Origin::Upload | Origin::File(_) => None,
            },
            added_ms: to_ms(kept.added),
            activated_ms: kept.activated.map(to_ms),
        };
        let quarantined = |entry: &Quarantined| QuarantineEntry {
            revision: Identity::from(&entry.revision),
            reason: entry.reason.clone(),
            since_ms: to_ms(entry.since),
        };
        let trial = |trial: &KeptTrial| TrialEntry {
            revision: Identity::from(&trial.revision),
            kind: match trial.kind {
                TrialKind::Canary => Kind::Canary,
                TrialKind::Shadow => Kind::Shadow,
            },
            share: trial.share.get(),
        };
        let configured = record.configured.as_ref();
        Self {
            format: FORMAT,
            configured: configured.map(|file| Identity::from(&file.revision)),
            refused: configured.and_then(|file| file.refused.clone()),
            history: record.history.iter().map(Identity::from).collect(),
            revisions: record.revisions.iter().map(revision).collect(),
            quarantine: record.quarantine.iter().map(quarantined).collect(),
            trial: record.trial.as_ref().map(trial),
            standby: record.standby.as_ref().map(Identity::from),
            configurations: record.configurations(),
        }
    }
}

impl<R> Document<R> {
    /// What it says; `exactly` gives the revision of a name, and `present` the one that
    /// takes its place here.
    fn into_record(
        self,
        exactly: impl Fn(R) -> Revision,
        present: impl Fn(R) -> Revision,
    ) -> Result<Record, String> {
        let exactly = |name| Arc::new(exactly(name));
        let named = |name| Arc::new(present(name));
        let revision = |entry: RevisionEntry<R>| {
            Ok(KeptRevision {
                revision: named(entry.revision),
                origin: match (entry.file, entry.artifact) {
                    (Some(file), _) => Origin::File(file),
                    (None, Some(reference)) => Origin::Artifact(reference.into()),
                    (None, None) => Origin::Upload,
                },
                added: from_ms(entry.added_ms)?,
                activated: entry.activated_ms.map(from_ms).transpose()?,
            })
        };
        let quarantined = |entry: QuarantineEntry<R>| {
            Ok(Quarantined {
                revision: exactly(entry.revision),
                reason: entry.reason,
                since: from_ms(entry.since_ms)?,
            })
        };
        let trial = |entry: TrialEntry<R>| -> Result<KeptTrial, String> {
            let share = Share::new(entry.share);
            Ok(KeptTrial {
                revision: named(entry.revision),
                kind: match entry.kind {
                    Kind::Canary => TrialKind::Canary,
                    Kind::Shadow => TrialKind::Shadow,
                },
                share: share.ok_or_else(|| format!("{} is no share", entry.share))?,
            })
        };
        let revisions = self.revisions.into_iter().map(revision);
        let quarantine = self.quarantine.into_iter().map(quarantined);
        let refused = self.refused;
        Ok(Record {
            configured: self.configured.map(|name| Configured {
                revision: exactly(name),
                refused,
            }),
            history: self.history.into_iter().map(named).collect(),
            revisions: revisions.collect::<Result<_, String>>()?,
            quarantine: quarantine.collect::<Result<_, String>>()?,
            trial: self.trial.map(trial).transpose()?,
            standby: self.standby.map(named),
        })
    }
}

fn to_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

fn from_ms(ms: u64) -> Result<SystemTime, String> {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms));
    time.ok_or_else(|| format!("{ms} is no time"))
}

/// A digest in hexadecimal digits.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Hex(Digest);

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        hex.0.to_string()
    }
}

impl TryFrom<String> for Hex {
    type Error = predictor::DigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod tests;
