//! What is known of each version, and in which order they were live.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::quarantine::{self, Quarantine, Quarantined};
use super::state::{Configured, KeptRevision, KeptTrial, Record};
use super::{RevisionError, now};
use predictor::{Revision, Scorer};
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
pub struct KnownRevision {
    /// What its answers are known by.
    pub revision: Arc<Revision>,
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
pub(super) struct Registry {
    pub(super) entries: Vec<Entry>,
    /// What was live, from the first to the one that is now. Nothing follows
    /// itself, and nothing here is quarantined but, at the start, the live one.
    history: Vec<Arc<Revision>>,
    pub(super) quarantine: Quarantine,
    /// The content of the configured guest's file that was dealt with last.
    configured: Option<Configured>,
    /// The content that the file had when it was last looked at. If it is not the
    /// one above, it is being loaded, or its load was broken off.
    pub(super) seen: Option<Arc<Revision>>,
    /// The content of the file that was asked for last, until somebody chooses a
    /// version: what is loaded for the file is made live only if it is this.
    pub(super) wanted: Option<Arc<Revision>>,
    /// How often somebody has chosen a version.
    pub(super) choices: u64,
    /// Why the file's content is not known, or could not be tried yet.
    pub(super) obstacle: Option<String>,
    /// What stands by for the live version, as it is kept.
    pub(super) standby: Option<Arc<Revision>>,
    /// What is kept from before the start, and not loaded yet: the next one last.
    pub(super) absent: Vec<KeptRevision>,
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
    pub(super) fn revision(&self) -> &Arc<Revision> {
        self.scorer.revision()
    }
}

impl Registry {
    /// Begins with a version that is live, and with what is kept from before: of
    /// the versions, those in use last, `most` with the live one.
    pub(super) fn new(first: Entry, kept: Record, most: usize) -> Self {
        let live = Arc::clone(first.revision());
        let mut history = kept.history;
        if let Some(at) = history.iter().rposition(|before| *before == live) {
            history.truncate(at + 1);
        }
        let mut registry = Self {
            entries: vec![first],
            history,
            quarantine: Quarantine::default(),
            seen: kept
                .configured
                .as_ref()
                .map(|file| Arc::clone(&file.revision)),
            configured: kept.configured,
            wanted: None,
            choices: 0,
            obstacle: None,
            standby: None,
            absent: kept.revisions,
            absent_trial: kept.trial.filter(|trial| trial.revision != live),
        };
        registry.absent.retain(|kept| kept.revision != live);
        // Those in use last are loaded first.
        let on_trial = registry.absent_trial.as_ref();
        let on_trial = on_trial.map(|trial| Arc::clone(&trial.revision));
        let needed = [kept.standby, on_trial];
        registry.absent.sort_by_key(|kept| {
            let is_needed = |revision: &Option<_>| revision.as_ref() == Some(&kept.revision);
            let used = kept.activated.unwrap_or(kept.added);
            (needed.each_ref().map(is_needed), used)
        });
        let over = (registry.absent.len() + 1).saturating_sub(most.max(1));
        registry.absent.drain(..over);
        for entry in kept.quarantine {
            registry.quarantine(entry);
        }
        registry.set_live(&live);
        let on_trial = |trial: &mut KeptTrial| {
            let mut absent = registry.absent.iter();
            absent.all(|kept| kept.revision != trial.revision)
        };
        registry.absent_trial.take_if(on_trial);
        let absent = &registry.absent;
        let is_kept = |before: &Arc<Revision>| absent.iter().any(|kept| kept.revision == *before);
        registry
            .history
            .retain(|before| *before == live || is_kept(before));
        registry.history.dedup();
        registry
    }

    pub(super) fn add(&mut self, mut entry: Entry) {
        let mut absent = self.absent.iter();
        if let Some(at) = absent.position(|kept| kept.revision == *entry.revision()) {
            let kept = self.absent.remove(at);
            (entry.added, entry.activated) = (kept.added, kept.activated);
        }
        self.entries.push(entry);
    }

    /// The version, if it is ready.
    pub(super) fn find(&self, revision: &Revision) -> Result<&Entry, RevisionError> {
        let mut entries = self.entries.iter();
        let found = entries.find(|entry| **entry.revision() == *revision);
        found.ok_or_else(|| {
            let name = revision.guest().short();
            if self.absent.iter().any(|kept| *kept.revision == *revision) {
                RevisionError::NotReady(name)
            } else {
                RevisionError::Unknown(name)
            }
        })
    }

    pub(super) fn scorer(&self, revision: &Revision) -> Result<Arc<dyn Scorer>, RevisionError> {
        self.find(revision).map(|entry| Arc::clone(&entry.scorer))
    }

    /// Notes that a version is live, after what was live until now.
    pub(super) fn set_live(&mut self, live: &Arc<Revision>) {
        if self.history.last() == Some(live) {
            return;
        }
        self.history.push(Arc::clone(live));
        let over = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..over);
        let mut entries = self.entries.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.revision() == live) {
            entry.activated = Some(now());
        }
    }

    /// Notes that a version is live again that was live before: what has come
    /// after it was not to last. Tells whether that was news.
    pub(super) fn fall_back(&mut self, live: &Arc<Revision>) -> bool {
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
    pub(super) fn before(&self) -> Result<Arc<Revision>, RevisionError> {
        match &self.history[..] {
            [.., before, _] => Ok(Arc::clone(before)),
            _ => Err(RevisionError::NothingBefore),
        }
    }

    /// Notes what has become of a content of the configured guest's file. Nothing
    /// has, if its load was broken off: then it is tried again after a restart.
    pub(super) fn deal_with(&mut self, revision: &Arc<Revision>, error: Option<&RevisionError>) {
        let refused = match error {
            None | Some(RevisionError::Overtaken { .. }) => None,
            Some(error @ (RevisionError::Refused(_) | RevisionError::Quarantined { .. })) => {
                let mut reason = error.to_string();
                quarantine::cut(&mut reason);
                Some(reason)
            }
            Some(error) => {
                // It may be the same once more, and is not dealt with then.
                if self.seen.as_ref() == Some(revision) {
                    let configured = self.configured.as_ref();
                    self.seen = configured.map(|file| Arc::clone(&file.revision));
                    self.obstacle = Some(error.to_string());
                }
                return;
            }
        };
        // Otherwise the file has another one by now, whose turn comes.
        if self.seen.as_ref() == Some(revision) {
            self.obstacle = None;
            self.configured = Some(Configured {
                revision: Arc::clone(revision),
                refused,
            });
        }
    }

    /// Why the configured guest is not served, if that is because it cannot be.
    pub(super) fn fault(&self, live: &Revision) -> Option<String> {
        if let Some(obstacle) = &self.obstacle {
            return Some(obstacle.clone());
        }
        let Configured { revision, refused } = self.configured.as_ref()?;
        if **revision == *live {
            return None;
        }
        refused.clone().or_else(|| {
            let refused = self.quarantine.admit(revision).err()?;
            Some(refused.to_string())
        })
    }

    /// Keeps a content out of use, and out of what is gone back to.
    pub(super) fn quarantine(&mut self, entry: Quarantined) {
        let revision = Arc::clone(&entry.revision);
        self.quarantine.add(entry);
        self.absent_trial
            .take_if(|trial| trial.revision == revision);
        self.leave_history(&revision);
    }

    pub(super) fn forget(&mut self, revision: &Revision) {
        self.entries.retain(|entry| **entry.revision() != *revision);
        self.leave_history(revision);
    }

    /// What is kept from before can not be loaded.
    pub(super) fn give_up(&mut self, revision: &Revision) {
        self.absent.retain(|kept| *kept.revision != *revision);
        self.absent_trial
            .take_if(|trial| *trial.revision == *revision);
        self.leave_history(revision);
    }

    fn leave_history(&mut self, revision: &Revision) {
        self.history.retain(|live| **live != *revision);
        self.history.dedup();
    }

    /// Forgets what was in use longest ago, until there are no more than `most`;
    /// nothing of what is `in_use`.
    pub(super) fn forget_beyond(
        &mut self,
        most: usize,
        in_use: &[Arc<Revision>],
    ) -> Vec<Arc<Revision>> {
        let mut forgotten = Vec::new();
        while self.entries.len() > most.max(1) {
            let idle = |entry: &&Entry| !in_use.contains(entry.revision());
            let candidates = self.entries.iter().filter(idle);
            let oldest = candidates.min_by_key(|entry| entry.activated.unwrap_or(entry.added));
            let Some(oldest) = oldest.map(|entry| Arc::clone(entry.revision())) else {
                break;
            };
            self.forget(&oldest);
            forgotten.push(oldest);
        }
        forgotten
    }

    /// All of this, to be kept.
    pub(super) fn record(&self, trial: Option<KeptTrial>) -> Record {
        let kept = |entry: &Entry| KeptRevision {
            revision: Arc::clone(entry.revision()),
            origin: entry.origin.clone(),
            added: entry.added,
            activated: entry.activated,
        };
        let revisions = self.entries.iter().map(kept);
        Record {
            configured: self.configured.clone(),
            history: self.history.clone(),
            revisions: revisions.chain(self.absent.iter().cloned()).collect(),
            quarantine: self.quarantine.list().to_vec(),
            trial: trial.or_else(|| self.absent_trial.clone()),
            standby: self.standby.clone(),
        }
    }
}
