//! The state as it is written: one JSON document, so that it is whole or not there.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::super::{Origin, Quarantined};
use predictor::Digest;
use rollout::{Share, Trial};

/// The version of this layout. Another one is not read.
const FORMAT: u32 = 1;

/// What is remembered of the versions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Record {
    /// The content of the configured guest's file that was dealt with last.
    pub(in super::super) configured: Option<Configured>,
    /// What was live, from the first to the one that is now.
    pub(in super::super) history: Vec<Digest>,
    pub(in super::super) versions: Vec<KeptVersion>,
    pub(in super::super) quarantine: Vec<Quarantined>,
    pub(in super::super) trial: Option<KeptTrial>,
    /// What stands by for the live version, if that is on probation.
    pub(in super::super) standby: Option<Digest>,
}

/// What has become of a content of the configured guest's file.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Configured {
    pub(in super::super) guest: Digest,
    /// Why it could not be made live, if so.
    pub(in super::super) refused: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct KeptVersion {
    pub(in super::super) guest: Digest,
    pub(in super::super) origin: Origin,
    pub(in super::super) added: SystemTime,
    pub(in super::super) activated: Option<SystemTime>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct KeptTrial {
    pub(in super::super) guest: Digest,
    pub(in super::super) trial: Trial,
    pub(in super::super) share: Share,
}

impl Record {
    /// The content of the configured guest's file that was dealt with last.
    pub(in super::super) fn file(&self) -> Option<Digest> {
        self.configured.as_ref().map(|file| file.guest)
    }

    /// Why a content is quarantined, if it is.
    pub(in super::super) fn quarantined(&self, guest: &Digest) -> Option<&Quarantined> {
        let mut quarantine = self.quarantine.iter();
        quarantine.find(|entry| entry.guest == *guest)
    }

    pub(super) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec_pretty(&Document::from(self))
    }

    /// Reads what [`Self::to_json`] has written; the error says what is wrong.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let Format { format } = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if format != FORMAT {
            return Err(format!(
                "its format is {format}; this program reads {FORMAT}"
            ));
        }
        let document: Document = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        Record::try_from(document)
    }
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    configured: Option<Hex>,
    refused: Option<String>,
    history: Vec<Hex>,
    versions: Vec<VersionEntry>,
    quarantine: Vec<QuarantineEntry>,
    trial: Option<TrialEntry>,
    standby: Option<Hex>,
}

#[derive(Serialize, Deserialize)]
struct VersionEntry {
    guest: Hex,
    /// The file that it was read from; none for an upload.
    file: Option<PathBuf>,
    added_ms: u64,
    activated_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct QuarantineEntry {
    guest: Hex,
    reason: String,
    since_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct TrialEntry {
    guest: Hex,
    kind: Kind,
    share: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Canary,
    Shadow,
}

impl From<&Record> for Document {
    fn from(record: &Record) -> Self {
        let version = |version: &KeptVersion| VersionEntry {
            guest: Hex(version.guest),
            file: match &version.origin {
                // What is not Unicode could not be written.
                Origin::File(path) => Some(path.to_string_lossy().as_ref().into()),
                Origin::Upload => None,
            },
            added_ms: to_ms(version.added),
            activated_ms: version.activated.map(to_ms),
        };
        let quarantined = |entry: &Quarantined| QuarantineEntry {
            guest: Hex(entry.guest),
            reason: entry.reason.clone(),
            since_ms: to_ms(entry.since),
        };
        let trial = |trial: KeptTrial| TrialEntry {
            guest: Hex(trial.guest),
            kind: match trial.trial {
                Trial::Canary => Kind::Canary,
                Trial::Shadow => Kind::Shadow,
            },
            share: trial.share.get(),
        };
        Self {
            format: FORMAT,
            configured: record.configured.as_ref().map(|file| Hex(file.guest)),
            refused: record
                .configured
                .as_ref()
                .and_then(|file| file.refused.clone()),
            history: record.history.iter().copied().map(Hex).collect(),
            versions: record.versions.iter().map(version).collect(),
            quarantine: record.quarantine.iter().map(quarantined).collect(),
            trial: record.trial.map(trial),
            standby: record.standby.map(Hex),
        }
    }
}

impl TryFrom<Document> for Record {
    type Error = String;

    fn try_from(document: Document) -> Result<Self, String> {
        let version = |entry: VersionEntry| {
            Ok(KeptVersion {
                guest: entry.guest.0,
                origin: entry.file.map_or(Origin::Upload, Origin::File),
                added: from_ms(entry.added_ms)?,
                activated: entry.activated_ms.map(from_ms).transpose()?,
            })
        };
        let quarantined = |entry: QuarantineEntry| {
            Ok(Quarantined {
                guest: entry.guest.0,
                reason: entry.reason,
                since: from_ms(entry.since_ms)?,
            })
        };
        let trial = |entry: TrialEntry| -> Result<KeptTrial, String> {
            let share = Share::new(entry.share);
            Ok(KeptTrial {
                guest: entry.guest.0,
                trial: match entry.kind {
                    Kind::Canary => Trial::Canary,
                    Kind::Shadow => Trial::Shadow,
                },
                share: share.ok_or_else(|| format!("{} is no share", entry.share))?,
            })
        };
        let versions = document.versions.into_iter().map(version);
        let quarantine = document.quarantine.into_iter().map(quarantined);
        Ok(Self {
            configured: document.configured.map(|hex| Configured {
                guest: hex.0,
                refused: document.refused,
            }),
            history: document.history.into_iter().map(|hex| hex.0).collect(),
            versions: versions.collect::<Result<_, String>>()?,
            quarantine: quarantine.collect::<Result<_, String>>()?,
            trial: document.trial.map(trial).transpose()?,
            standby: document.standby.map(|hex| hex.0),
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
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_digest(&text)
            .map(Hex)
            .ok_or_else(|| format!("`{text}` is no digest"))
    }
}

/// The digest that is written so.
pub(super) fn parse_digest(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(Digest(digest))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn full() -> Record {
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let version = |number, origin, activated| KeptVersion {
            guest: Digest([number; 32]),
            origin,
            added: at(1_700_000_000_123),
            activated,
        };
        Record {
            configured: Some(Configured {
                guest: Digest([1; 32]),
                refused: Some("it has no `predict`".to_owned()),
            }),
            history: vec![Digest([1; 32]), Digest([0xab; 32])],
            versions: vec![
                version(1, Origin::File("a \"b\"/ü.wasm".into()), Some(at(5))),
                version(0xab, Origin::Upload, None),
            ],
            quarantine: vec![Quarantined {
                guest: Digest([9; 32]),
                reason: "5 of its calls have failed:\n\"trap\"".to_owned(),
                since: at(6),
            }],
            trial: Some(KeptTrial {
                guest: Digest([0xab; 32]),
                trial: Trial::Shadow,
                share: Share::new(0.1).unwrap(),
            }),
            standby: Some(Digest([1; 32])),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for record in [Record::default(), full()] {
            assert_eq!(Record::parse(&record.to_json().unwrap()), Ok(record));
        }
    }

    /// By a version of this program that knew no probation and no refusals.
    #[test]
    fn a_document_with_fewer_fields_is_read() {
        let mut json: serde_json::Value =
            serde_json::from_slice(&full().to_json().unwrap()).unwrap();
        let fields = json.as_object_mut().unwrap();
        assert!(fields.remove("refused").is_some() && fields.remove("standby").is_some());
        let read = Record::parse(json.to_string().as_bytes()).unwrap();
        assert_eq!(read.standby, None);
        assert_eq!(read.configured.unwrap().refused, None);
        assert_eq!(read.history, full().history);
    }

    #[test]
    fn a_document_cut_at_any_byte_is_not_read() {
        let json = full().to_json().unwrap();
        for end in 0..json.len() {
            assert!(Record::parse(&json[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_not_read() {
        let json = String::from_utf8(full().to_json().unwrap()).unwrap();
        let wrong = [
            ("\"format\": 1", "\"format\": 2"),
            ("0101", "01"),
            ("abab", "xyab"),
            ("0.1", "1.5"),
            ("0.1", "0"),
            ("shadow", "light"),
            ("\"history\"", "\"story\""),
            ("1700000000123", "18446744073709551616"),
            ("1700000000123", "-1"),
        ];
        for (old, new) in wrong {
            assert!(json.contains(old), "{old} is not in: {json}");
            let changed = json.replacen(old, new, 1);
            assert!(Record::parse(changed.as_bytes()).is_err(), "{new}");
        }
    }
}
