//! What is known of each version, and in which order they were live.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::{VersionsError, now};
use crate::predictor::{Digest, Scorer, Version};
use crate::rollout::{Share, Tally, Trial};

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

/// All that is known.
pub(super) struct Book {
    entries: Vec<Entry>,
    /// What was live, from the first to the one that is now. Nothing follows
    /// itself.
    history: Vec<Digest>,
}

struct Entry {
    scorer: Arc<dyn Scorer>,
    origin: Origin,
    size: usize,
    added: SystemTime,
    activated: Option<SystemTime>,
}

impl Entry {
    fn guest(&self) -> Digest {
        self.scorer.version().guest
    }
}

impl Book {
    /// Begins with a version that is live.
    pub(super) fn new(first: Arc<dyn Scorer>, origin: Origin, size: usize) -> Self {
        let history = vec![first.version().guest];
        let mut book = Self {
            entries: Vec::new(),
            history,
        };
        book.add(first, origin, size);
        book.entries[0].activated = Some(now());
        book
    }

    pub(super) fn add(&mut self, scorer: Arc<dyn Scorer>, origin: Origin, size: usize) {
        self.entries.push(Entry {
            scorer,
            origin,
            size,
            added: now(),
            activated: None,
        });
    }

    pub(super) fn find(&self, guest: &Digest) -> Option<&Arc<dyn Scorer>> {
        self.entry(guest).map(|entry| &entry.scorer)
    }

    /// The version that is live.
    pub(super) fn live(&self) -> Arc<Version> {
        let live = self.entries.iter().find(|entry| self.is_live(entry));
        // The live version is never forgotten.
        let live = live.unwrap_or(&self.entries[0]);
        Arc::clone(live.scorer.version())
    }

    pub(super) fn activate(&mut self, guest: &Digest) -> Result<Arc<dyn Scorer>, VersionsError> {
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| entry.guest() == *guest);
        let entry = entry.ok_or_else(|| VersionsError::Unknown(guest.short()))?;
        entry.activated = Some(now());
        let scorer = Arc::clone(&entry.scorer);
        if self.history.last() != Some(guest) {
            self.history.push(*guest);
        }
        Ok(scorer)
    }

    /// Goes back to what was live before.
    pub(super) fn step_back(&mut self) -> Result<Arc<dyn Scorer>, VersionsError> {
        let [.., before, _] = self.history[..] else {
            return Err(VersionsError::NothingBefore);
        };
        self.history.pop();
        self.activate(&before)
    }

    pub(super) fn remove(&mut self, guest: &Digest) -> Result<(), VersionsError> {
        let entry = self.entry(guest);
        let entry = entry.ok_or_else(|| VersionsError::Unknown(guest.short()))?;
        if self.is_live(entry) {
            return Err(VersionsError::InUse(guest.short()));
        }
        self.forget(guest);
        Ok(())
    }

    /// Forgets what was in use longest ago, until there are no more than `most`.
    pub(super) fn forget_beyond(&mut self, most: usize) {
        while self.entries.len() > most.max(1) {
            let candidates = self.entries.iter().filter(|entry| !self.is_live(entry));
            let oldest = candidates.min_by_key(|entry| entry.activated.unwrap_or(entry.added));
            let Some(oldest) = oldest.map(Entry::guest) else {
                return;
            };
            self.forget(&oldest);
        }
    }

    pub(super) fn list(&self) -> Vec<Known> {
        let known = |entry: &Entry| Known {
            version: Arc::clone(entry.scorer.version()),
            standing: if self.is_live(entry) {
                Standing::Live
            } else {
                Standing::Ready
            },
            origin: entry.origin.clone(),
            size: entry.size,
            added: entry.added,
            activated: entry.activated,
            tally: Tally::default(),
        };
        self.entries.iter().rev().map(known).collect()
    }

    fn forget(&mut self, guest: &Digest) {
        self.entries.retain(|entry| entry.guest() != *guest);
        self.history.retain(|live| live != guest);
        self.history.dedup();
    }

    fn entry(&self, guest: &Digest) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.guest() == *guest)
    }

    fn is_live(&self, entry: &Entry) -> bool {
        self.history.last() == Some(&entry.guest())
    }
}
