//! The known revisions, and the order in which they were live.

mod models;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::quarantine::{self, Quarantine, Quarantined};
use super::state::{Configured, KeptRevision, KeptTrial, Record};
use super::{Model, RevisionError, now};
use predictor::{Configuration, ModelCard, Revision, Scorer};
use rollout::{Share, Tally, TrialKind};

/// Where a guest or a model came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From a file or directory on the host.
    File(PathBuf),
    /// From a request to the admin API.
    Upload,
    /// From a registry, by this reference.
    Artifact(Arc<str>),
}

/// What a revision is used for.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It answers.
    Live,
    /// It is on trial with a share of the texts.
    OnTrial(TrialKind, Share),
    /// It is ready, and not used.
    Ready,
    /// It has failed, and is not made live again unless somebody insists.
    Quarantined {
        /// Why.
        reason: String,
        /// Since when.
        since: SystemTime,
    },
}

/// What is known about a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownRevision {
    /// The revision.
    pub revision: Arc<Revision>,
    /// What it is used for.
    pub standing: Standing,
    /// Where its guest came from.
    pub origin: Origin,
    /// Where its model came from.
    pub model_origin: Origin,
    /// The size of its component, in bytes.
    pub size: usize,
    /// When it was added.
    pub added: SystemTime,
    /// When it was last made live, if it ever was.
    pub activated: Option<SystemTime>,
    /// What it has done so far.
    pub tally: Tally,
}

/// The longest history. To go back further, an operator names the revision.
const HISTORY: usize = 64;

/// Everything that is known about revisions.
pub(super) struct Registry {
    pub(super) entries: Vec<Entry>,
    /// The models that revisions are made with: the configured one, those of known revisions,
    /// and those that were uploaded last. The latest is at the end.
    models: Vec<Arc<Model>>,
    /// Those that were received last. The latest is at the end.
    pub(super) configurations: Vec<Configuration>,
    /// The revisions that were live, in order; the last one is live now. None follows
    /// itself, and none is quarantined, except possibly the live one after a start.
    history: Vec<Arc<Revision>>,
    pub(super) quarantine: Quarantine,
    /// The content of the configured guest's file that was settled last.
    configured: Option<Configured>,
    /// The content that the file had when it was last read. If it differs from the one
    /// above, it is being loaded, or its load was cut off.
    pub(super) seen: Option<Arc<Revision>>,
    /// The content of the file that is wanted. Cleared when somebody chooses a revision:
    /// a load for the file is made live only if its content is still wanted.
    pub(super) wanted: Option<Arc<Revision>>,
    /// How often somebody has chosen a revision.
    pub(super) choices: u64,
    /// Why the file could not be read, or its content not be tried yet.
    pub(super) obstacle: Option<String>,
    /// The fallback of the live revision, as recorded in the state.
    pub(super) standby: Option<Arc<Revision>>,
    /// The revisions from before the start that are not loaded yet; the next one is last.
    pub(super) absent: Vec<KeptRevision>,
    pub(super) absent_trial: Option<KeptTrial>,
}

/// A revision that is ready.
pub(super) struct Entry {
    pub(super) scorer: Arc<dyn Scorer>,
    pub(super) component: Bytes,
    pub(super) origin: Origin,
    pub(super) model: Arc<Model>,
    pub(super) card: Arc<ModelCard>,
    pub(super) added: SystemTime,
    pub(super) activated: Option<SystemTime>,
}

impl Entry {
    pub(super) fn revision(&self) -> &Arc<Revision> {
        self.scorer.revision()
    }

    fn last_used(&self) -> SystemTime {
        self.activated.unwrap_or(self.added)
    }
}

impl Registry {
    /// Begins with the live revision, the models that there are, and the state from before the
    /// start. Of its revisions, the most recently used ones are kept: `most` in all.
    pub(super) fn new(first: Entry, models: Vec<Arc<Model>>, kept: Record, most: usize) -> Self {
        let live = Arc::clone(first.revision());
        let mut history = kept.history;
        if let Some(at) = history.iter().rposition(|before| *before == live) {
            history.truncate(at + 1);
        }
        let mut registry = Self {
            entries: vec![first],
            models,
            configurations: Vec::new(),
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
        // The most recently used ones are loaded first.
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

    /// The revision, if it is ready.
    pub(super) fn find(&self, revision: &Revision) -> Result<&Entry, RevisionError> {
        let mut entries = self.entries.iter();
        let found = entries.find(|entry| **entry.revision() == *revision);
        found.ok_or_else(|| {
            let name = revision.short();
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

    /// Records that a revision has gone live.
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

    /// Records that an earlier revision is live again, and drops what came after it from
    /// the history. If that is news, returns the revision that was live before.
    pub(super) fn fall_back(&mut self, live: &Arc<Revision>) -> Option<Arc<Revision>> {
        let before = self.history.last().cloned();
        if before.as_ref() == Some(live) {
            return None;
        }
        if let Some(at) = self.history.iter().rposition(|before| before == live) {
            self.history.truncate(at);
        }
        self.set_live(live);
        before
    }

    /// Records that somebody has chosen a revision. If the configured guest's file is being
    /// loaded, it comes too late.
    pub(super) fn record_choice(&mut self) {
        self.wanted = None;
        self.choices += 1;
    }

    /// The revision that was live before the present one.
    pub(super) fn before(&self) -> Result<Arc<Revision>, RevisionError> {
        match &self.history[..] {
            [.., before, _] => Ok(Arc::clone(before)),
            _ => Err(RevisionError::NothingBefore),
        }
    }

    /// Records the outcome for a content of the configured guest's file. If its load was cut
    /// off there is none, and it is tried again after a restart.
    pub(super) fn settle_file(&mut self, revision: &Arc<Revision>, error: Option<&RevisionError>) {
        let refused = match error {
            None | Some(RevisionError::Overtaken { .. }) => None,
            Some(error @ (RevisionError::Refused(_) | RevisionError::Quarantined { .. })) => {
                let mut reason = error.to_string();
                quarantine::cut(&mut reason);
                Some(reason)
            }
            Some(error) => {
                // Not settled: the same content is tried again.
                if self.seen.as_ref() == Some(revision) {
                    let configured = self.configured.as_ref();
                    self.seen = configured.map(|file| Arc::clone(&file.revision));
                    self.obstacle = Some(error.to_string());
                }
                return;
            }
        };
        // Otherwise the file has changed again, and the new content has its turn.
        if self.seen.as_ref() == Some(revision) {
            self.obstacle = None;
            self.configured = Some(Configured {
                revision: Arc::clone(revision),
                refused,
            });
        }
    }

    /// Why the configured guest cannot be served, if it cannot.
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

    /// Quarantines a revision, and removes it from the history.
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

    /// Drops a revision from before the start that cannot be loaded.
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

    /// Forgets the revisions that have been out of use for longest, until there are `most`,
    /// and they have `most_models`; never those that are `in_use`.
    pub(super) fn forget_beyond(
        &mut self,
        most: usize,
        most_models: usize,
        in_use: &[Arc<Revision>],
    ) -> Vec<Arc<Revision>> {
        let mut forgotten = Vec::new();
        loop {
            let too_many = self.entries.len() > most.max(1);
            if !too_many && self.loaded_models() <= most_models.max(1) {
                return forgotten;
            }
            let idle = |entry: &&Entry| {
                let frees = |used: &Arc<Revision>| used.model() != entry.model.digest;
                let is_idle = !in_use.contains(entry.revision());
                is_idle && (too_many || in_use.iter().all(frees))
            };
            let oldest = self
                .entries
                .iter()
                .filter(idle)
                .min_by_key(|entry| entry.last_used());
            let Some(oldest) = oldest.map(|entry| Arc::clone(entry.revision())) else {
                return forgotten;
            };
            self.forget(&oldest);
            forgotten.push(oldest);
        }
    }

    /// The state to write.
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
