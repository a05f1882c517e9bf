//! What is known of each version, and in which order they were live.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::quarantine::{self, Quarantine, Quarantined};
use super::state::{Configured, KeptTrial, KeptVersion, Record};
use super::{VersionsError, now};
use predictor::{Digest, Scorer, Version};
use rollout::{Share, Tally, Trial};

/// Where a version came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From a file that the host read.
    File(PathBuf),
    /// From a request on the admin listener.
    Upload,
}

/// What a version is used for.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It answers.
    Live,
    /// It is on trial with a share of the texts.
    OnTrial(Trial, Share),
    /// It is ready, and not used.
    Ready,
    /// It has failed, and is not made live again unless that is insisted on.
    Quarantined {
        /// Why.
        reason: String,
        /// Since when.
        since: SystemTime,
    },
}

/// What is known of a version.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// What its answers are known by.
    pub version: Arc<Version>,
    /// What it is used for.
    pub standing: Standing,
    /// Where it came from.
    pub origin: Origin,
    /// The size of its component, in bytes.
    pub size: usize,
    /// When it was added.
    pub added: SystemTime,
    /// When it was last made live, if it ever was.
    pub activated: Option<SystemTime>,
    /// What it has done.
    pub tally: Tally,
}

/// The most entries of a history: who goes back further than that chooses a
/// version by its name.
const HISTORY: usize = 64;

/// All that is known.
pub(super) struct Book {
    pub(super) entries: Vec<Entry>,
    /// What was live, from the first to the one that is now. Nothing follows
    /// itself, and nothing here is quarantined but, at the start, the live one.
    history: Vec<Digest>,
    pub(super) quarantine: Quarantine,
    /// The content of the configured guest's file that was dealt with last.
    configured: Option<Configured>,
    /// The content that the file had when it was last looked at. If it is not the
    /// one above, it is being loaded, or its load was broken off.
    pub(super) seen: Option<Digest>,
    /// The content of the file that was asked for last, until somebody chooses a
    /// version: what is loaded for the file is made live only if it is this.
    pub(super) wanted: Option<Digest>,
    /// How often somebody has chosen a version.
    pub(super) choices: u64,
    /// Why the file's content is not known, or could not be tried yet.
    pub(super) obstacle: Option<String>,
    /// What stands by for the live version, as it is kept.
    pub(super) standby: Option<Digest>,
    /// What is kept from before the start, and not loaded yet: the next one last.
    pub(super) absent: Vec<KeptVersion>,
    pub(super) absent_trial: Option<KeptTrial>,
}

/// A version that is ready.
pub(super) struct Entry {
    pub(super) scorer: Arc<dyn Scorer>,
    pub(super) origin: Origin,
    pub(super) size: usize,
    pub(super) added: SystemTime,
    pub(super) activated: Option<SystemTime>,
}

impl Entry {
    pub(super) fn guest(&self) -> Digest {
        self.scorer.version().guest
    }
}

impl Book {
    /// Begins with a version that is live, and with what is kept from before: of
    /// the versions, those in use last, `most` with the live one.
    pub(super) fn new(first: Entry, kept: Record, most: usize) -> Self {
        let guest = first.guest();
        let mut history = kept.history;
        if let Some(at) = history.iter().rposition(|live| *live == guest) {
            history.truncate(at + 1);
        }
        let mut book = Self {
            entries: vec![first],
            history,
            quarantine: Quarantine::default(),
            seen: kept.configured.as_ref().map(|file| file.guest),
            configured: kept.configured,
            wanted: None,
            choices: 0,
            obstacle: None,
            standby: None,
            absent: kept.versions,
            absent_trial: kept.trial.filter(|trial| trial.guest != guest),
        };
        book.absent.retain(|version| version.guest != guest);
        // Those in use last are loaded first.
        let on_trial = book.absent_trial.map(|trial| trial.guest);
        book.absent.sort_by_key(|version| {
            let used = version.activated.unwrap_or(version.added);
            let needed = [kept.standby, on_trial].map(|guest| guest == Some(version.guest));
            (needed, used)
        });
        let over = (book.absent.len() + 1).saturating_sub(most.max(1));
        book.absent.drain(..over);
        for entry in kept.quarantine {
            book.quarantine(entry);
        }
        book.set_live(&guest);
        let on_trial = |trial: &mut KeptTrial| {
            let mut absent = book.absent.iter();
            absent.all(|kept| kept.guest != trial.guest)
        };
        book.absent_trial.take_if(on_trial);
        let absent = &book.absent;
        let is_kept = |live: &Digest| absent.iter().any(|kept| kept.guest == *live);
        book.history.retain(|live| *live == guest || is_kept(live));
        book.history.dedup();
        book
    }

    pub(super) fn add(&mut self, mut entry: Entry) {
        let guest = entry.guest();
        if let Some(at) = self.absent.iter().position(|kept| kept.guest == guest) {
            let kept = self.absent.remove(at);
            (entry.added, entry.activated) = (kept.added, kept.activated);
        }
        self.entries.push(entry);
    }

    /// The version, if it is ready.
    pub(super) fn find(&self, guest: &Digest) -> Result<&Entry, VersionsError> {
        let found = self.entries.iter().find(|entry| entry.guest() == *guest);
        found.ok_or_else(|| {
            if self.absent.iter().any(|kept| kept.guest == *guest) {
                VersionsError::NotReady(guest.short())
            } else {
                VersionsError::Unknown(guest.short())
            }
        })
    }

    pub(super) fn scorer(&self, guest: &Digest) -> Result<Arc<dyn Scorer>, VersionsError> {
        self.find(guest).map(|entry| Arc::clone(&entry.scorer))
    }

    /// Notes that a version is live, after what was live until now.
    pub(super) fn set_live(&mut self, guest: &Digest) {
        if self.history.last() == Some(guest) {
            return;
        }
        self.history.push(*guest);
        let over = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..over);
        let mut entries = self.entries.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.guest() == *guest) {
            entry.activated = Some(now());
        }
    }

    /// Notes that a version is live again that was live before: what has come
    /// after it was not to last. Tells whether that was news.
    pub(super) fn fall_back(&mut self, live: &Digest) -> bool {
        if self.history.last() == Some(live) {
            return false;
        }
        if let Some(at) = self.history.iter().rposition(|before| before == live) {
            self.history.truncate(at);
        }
        self.set_live(live);
        true
    }

    /// Notes that somebody has chosen a version: the configured guest's file, if it is
    /// being loaded, comes too late.
    pub(super) fn note_choice(&mut self) {
        self.wanted = None;
        self.choices += 1;
    }

    /// What was live before the version that is.
    pub(super) fn before(&self) -> Result<Digest, VersionsError> {
        match self.history[..] {
            [.., before, _] => Ok(before),
            _ => Err(VersionsError::NothingBefore),
        }
    }

    /// Notes what has become of a content of the configured guest's file. Nothing
    /// has, if its load was broken off: then it is tried again after a restart.
    pub(super) fn deal_with(&mut self, guest: Digest, error: Option<&VersionsError>) {
        let refused = match error {
            None | Some(VersionsError::Overtaken { .. }) => None,
            Some(error @ (VersionsError::Refused(_) | VersionsError::Quarantined { .. })) => {
                let mut reason = error.to_string();
                quarantine::cut(&mut reason);
                Some(reason)
            }
            Some(error) => {
                // It may be the same once more, and is not dealt with then.
                if self.seen == Some(guest) {
                    self.seen = self.configured.as_ref().map(|file| file.guest);
                    self.obstacle = Some(error.to_string());
                }
                return;
            }
        };
        // Otherwise the file has another one by now, whose turn comes.
        if self.seen == Some(guest) {
            self.obstacle = None;
            self.configured = Some(Configured { guest, refused });
        }
    }

    /// Why the configured guest is not served, if that is because it cannot be.
    pub(super) fn fault(&self, live: &Digest) -> Option<String> {
        if let Some(obstacle) = &self.obstacle {
            return Some(obstacle.clone());
        }
        let Configured { guest, refused } = self.configured.as_ref()?;
        if guest == live {
            return None;
        }
        refused.clone().or_else(|| {
            let refused = self.quarantine.admit(guest).err()?;
            Some(refused.to_string())
        })
    }

    /// Keeps a content out of use, and out of what is gone back to.
    pub(super) fn quarantine(&mut self, entry: Quarantined) {
        let guest = entry.guest;
        self.quarantine.add(entry);
        self.absent_trial.take_if(|trial| trial.guest == guest);
        self.leave_history(&guest);
    }

    pub(super) fn forget(&mut self, guest: &Digest) {
        self.entries.retain(|entry| entry.guest() != *guest);
        self.leave_history(guest);
    }

    /// What is kept from before can not be loaded.
    pub(super) fn give_up(&mut self, guest: &Digest) {
        self.absent.retain(|kept| kept.guest != *guest);
        self.absent_trial.take_if(|trial| trial.guest == *guest);
        self.leave_history(guest);
    }

    fn leave_history(&mut self, guest: &Digest) {
        self.history.retain(|live| live != guest);
        self.history.dedup();
    }

    /// Forgets what was in use longest ago, until there are no more than `most`;
    /// nothing of what is `in_use`.
    pub(super) fn forget_beyond(&mut self, most: usize, in_use: &[Digest]) -> Vec<Arc<Version>> {
        let mut forgotten = Vec::new();
        while self.entries.len() > most.max(1) {
            let idle = |entry: &&Entry| !in_use.contains(&entry.guest());
            let candidates = self.entries.iter().filter(idle);
            let oldest = candidates.min_by_key(|entry| entry.activated.unwrap_or(entry.added));
            let Some(oldest) = oldest.map(|entry| Arc::clone(entry.scorer.version())) else {
                break;
            };
            self.forget(&oldest.guest);
            forgotten.push(oldest);
        }
        forgotten
    }

    /// All of this, to be kept.
    pub(super) fn record(&self, trial: Option<KeptTrial>) -> Record {
        let kept = |entry: &Entry| KeptVersion {
            guest: entry.guest(),
            origin: entry.origin.clone(),
            added: entry.added,
            activated: entry.activated,
        };
        let versions = self.entries.iter().map(kept);
        Record {
            configured: self.configured.clone(),
            history: self.history.clone(),
            versions: versions.chain(self.absent.iter().cloned()).collect(),
            quarantine: self.quarantine.list().to_vec(),
            trial: trial.or(self.absent_trial),
            standby: self.standby,
        }
    }
}
