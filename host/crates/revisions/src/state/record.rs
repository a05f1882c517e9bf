//! What is remembered from one start to the next.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use super::super::{Origin, Quarantined};
use predictor::{Configuration, Digest, Revision};
use rollout::{Share, TrialKind};

/// What is remembered of the revisions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Record {
    /// The content of the configured guest's file that was settled last.
    pub(in super::super) configured: Option<Configured>,
    /// The revisions that were live, in order; the last one is live now.
    pub(in super::super) history: Vec<Arc<Revision>>,
    pub(in super::super) revisions: Vec<KeptRevision>,
    pub(in super::super) quarantine: Vec<Quarantined>,
    pub(in super::super) trial: Option<KeptTrial>,
    /// The fallback of the live revision, if that is on probation.
    pub(in super::super) standby: Option<Arc<Revision>>,
}

/// A content of the configured guest's file, and its outcome.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Configured {
    pub(in super::super) revision: Arc<Revision>,
    /// Why it was refused, if it was.
    pub(in super::super) refused: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct KeptRevision {
    pub(in super::super) revision: Arc<Revision>,
    pub(in super::super) origin: Origin,
    pub(in super::super) added: SystemTime,
    pub(in super::super) activated: Option<SystemTime>,
}

#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct KeptTrial {
    pub(in super::super) revision: Arc<Revision>,
    pub(in super::super) kind: TrialKind,
    pub(in super::super) share: Share,
}

impl Record {
    /// The content of the configured guest's file that was settled last.
    pub(in super::super) fn file(&self) -> Option<&Arc<Revision>> {
        self.configured.as_ref().map(|file| &file.revision)
    }

    /// Why a revision is quarantined, if it is.
    pub(in super::super) fn quarantined(&self, revision: &Revision) -> Option<&Quarantined> {
        let mut quarantine = self.quarantine.iter();
        quarantine.find(|entry| *entry.revision == *revision)
    }

    /// Whether a known revision has this guest, so that its component is kept.
    pub(super) fn names(&self, guest: &Digest) -> bool {
        let mut revisions = self.revisions.iter();
        revisions.any(|kept| kept.revision.guest() == *guest)
    }

    /// The configurations of all revisions that it names, each once.
    pub(super) fn configurations(&self) -> Vec<Configuration> {
        let configured = self.configured.iter().map(|file| &file.revision);
        let kept = self.revisions.iter().map(|kept| &kept.revision);
        let quarantined = self.quarantine.iter().map(|entry| &entry.revision);
        let trial = self.trial.iter().map(|trial| &trial.revision);
        let revisions = self.history.iter().chain(configured).chain(kept);
        let revisions = revisions
            .chain(quarantined)
            .chain(trial)
            .chain(&self.standby);
        let configurations = revisions.map(|revision| revision.configuration());
        let mut found: Vec<_> = configurations
            .filter(|found| **found != Revision::NO_CONFIGURATION)
            .cloned()
            .collect();
        found.sort_by_key(Configuration::digest);
        found.dedup();
        found
    }

    /// The models of the known revisions, whose files are kept.
    pub(super) fn models(&self) -> HashSet<Digest> {
        let revisions = self.revisions.iter();
        revisions.map(|kept| kept.revision.model()).collect()
    }
}
