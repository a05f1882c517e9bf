//! Decides which revision is used for what. Nothing here waits for a load, a disk or a
//! request.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::desired::Conditions;
use super::metrics::{Metrics, Trigger};
use super::quarantine::Quarantined;
use super::registry::{KnownRevision, Registry, Standing};
use super::state::{Keeper, KeptTrial, Store};
use super::{Change, Loader, Options, RevisionError, now};
use predictor::{Digest, Revision, RevisionName, Router};
use rollout::{Demotion, Rollout, Share, Status, TrialKind, Trust};

/// The revisions, and the ways to change which is in use.
pub struct Revisions {
    pub(super) loader: Arc<dyn Loader>,
    pub(super) rollout: Arc<Rollout>,
    pub(super) options: Options,
    pub(super) metrics: Metrics,
    /// Held while a candidate is loaded: one at a time, first come, first served.
    pub(super) loading: tokio::sync::Mutex<()>,
    /// Held while the live revision changes, so that the registry and the rollout agree.
    pub(super) registry: Mutex<Registry>,
    pub(super) store: Option<Arc<Store>>,
    pub(super) keeper: Option<Keeper>,
    /// Those that were reported last.
    pub(super) conditions: Mutex<Conditions>,
}

impl Revisions {
    /// Makes a known revision live. Nothing changes if it is live already. A quarantined one
    /// is made live only by `force`, and then leaves the quarantine.
    ///
    /// # Errors
    ///
    /// If there is no such revision, or if it is quarantined.
    pub fn activate(&self, revision: &Revision, force: bool) -> Result<Change, RevisionError> {
        let mut registry = self.registry();
        if force {
            // If it is not known, it stays quarantined.
            registry.find(revision)?;
            registry.quarantine.lift(revision);
        }
        self.choose(&mut registry, revision)
    }

    /// Makes the previously live revision live again. With `from`, only if that one is still
    /// live, so that a retry after a lost answer does not go back twice.
    ///
    /// # Errors
    ///
    /// If there is no previous revision, or if another one than `from` is live.
    pub fn rollback(&self, from: Option<&Revision>) -> Result<Change, RevisionError> {
        let mut registry = self.registry();
        let live = self.rollout.live();
        if let Some(given) = from.filter(|given| **given != *live) {
            return Err(RevisionError::NotLive {
                given: given.short(),
                live: live.short(),
            });
        }
        let before = registry.before()?;
        let scorer = registry.scorer(&before)?;
        self.rollout.activate(scorer, Trust::Trusted);
        registry.record_choice();
        registry.fall_back(&before);
        self.made_by_hand();
        Ok(self.swapped(&mut registry, live, Trigger::Rollback))
    }

    /// Tries a revision beside the live one, with a share of the texts. A previous trial
    /// ends.
    ///
    /// # Errors
    ///
    /// If there is no such revision, if it is quarantined, or if it is live.
    pub fn begin_trial(
        &self,
        revision: &Revision,
        kind: TrialKind,
        share: Share,
    ) -> Result<(), RevisionError> {
        let mut registry = self.registry();
        self.try_out(&mut registry, revision, kind, share)?;
        self.made_by_hand();
        Ok(())
    }

    pub(super) fn try_out(
        &self,
        registry: &mut Registry,
        revision: &Revision,
        kind: TrialKind,
        share: Share,
    ) -> Result<(), RevisionError> {
        let scorer = registry.scorer(revision)?;
        if *self.rollout.live() == *revision {
            return Err(RevisionError::IsLive(revision.short()));
        }
        registry.quarantine.admit(revision)?;
        self.rollout.begin_trial(scorer, kind, share);
        registry.absent_trial = None;
        self.settle(registry, None);
        Ok(())
    }

    /// Makes the revision on trial live.
    ///
    /// # Errors
    ///
    /// If none is on trial.
    pub fn promote(&self) -> Result<Change, RevisionError> {
        let mut registry = self.registry();
        let trial = self.rollout.status().trial;
        let trial = trial.ok_or_else(|| match &registry.absent_trial {
            Some(kept) => RevisionError::NotReady(kept.revision.short()),
            None => RevisionError::NoTrial,
        })?;
        self.choose(&mut registry, &trial.revision)
    }

    /// Ends the trial. The live revision stays live. A trial from before the start ends even
    /// if its revision is still being loaded.
    ///
    /// # Errors
    ///
    /// If no revision is on trial.
    pub fn end_trial(&self) -> Result<Arc<Revision>, RevisionError> {
        let mut registry = self.registry();
        let ended = self.rollout.end_trial().or_else(|| {
            let kept = registry.absent_trial.take()?;
            Some(kept.revision)
        });
        let ended = ended.ok_or(RevisionError::NoTrial)?;
        self.made_by_hand();
        self.settle(&mut registry, None);
        Ok(ended)
    }

    /// The revisions in use, and how they do.
    pub fn status(&self) -> Status {
        self.rollout.status()
    }

    /// Forgets a revision.
    ///
    /// # Errors
    ///
    /// If there is no such revision, or if it is in use: live, on trial, or the fallback of a
    /// live one on probation.
    pub fn remove(&self, revision: &Revision) -> Result<(), RevisionError> {
        let mut registry = self.registry();
        registry.find(revision)?;
        if self.in_use().iter().any(|used| **used == *revision) {
            return Err(RevisionError::InUse(revision.short()));
        }
        registry.forget(revision);
        self.rollout.forget(revision);
        self.settle(&mut registry, None);
        Ok(())
    }

    /// All revisions, the latest added first.
    pub fn list(&self) -> Vec<KnownRevision> {
        self.list_of(&self.registry())
    }

    fn list_of(&self, registry: &Registry) -> Vec<KnownRevision> {
        let status = self.rollout.status();
        let standing = |revision: &Arc<Revision>| {
            if status.live == *revision {
                return Standing::Live;
            }
            let trial = status.trial.as_ref();
            if let Some(trial) = trial.filter(|trial| trial.revision == *revision) {
                return Standing::OnTrial(trial.kind, trial.share);
            }
            match registry.quarantine.find(revision) {
                Some(entry) => Standing::Quarantined {
                    reason: entry.reason.clone(),
                    since: entry.since,
                },
                None => Standing::Ready,
            }
        };
        let entries = registry.entries.iter().rev().map(|entry| KnownRevision {
            revision: Arc::clone(entry.revision()),
            standing: standing(entry.revision()),
            origin: entry.origin.clone(),
            model_origin: entry.model.origin.clone(),
            size: entry.component.len(),
            added: entry.added,
            activated: entry.activated,
            tally: self.rollout.tally(entry.revision()),
        });
        entries.collect()
    }

    /// The quarantined revisions, even those that have been forgotten; the latest is at the
    /// end.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.registry().quarantine.list().to_vec()
    }

    /// Why the configured guest cannot be served, if it cannot: a sentence for the operator.
    pub fn configured_fault(&self) -> Option<String> {
        self.registry().fault(&self.rollout.live())
    }

    /// The directory of the state, if state is kept.
    pub fn state_dir(&self) -> Option<&Path> {
        self.store.as_ref().map(|store| store.dir())
    }

    /// The one revision whose digest, or whose guest's, begins with `prefix`, in
    /// hexadecimal digits.
    ///
    /// # Errors
    ///
    /// If there is none, or more than one, or if it is still being loaded.
    pub fn find(&self, prefix: &str) -> Result<KnownRevision, RevisionError> {
        let registry = self.registry();
        let is_named = |revision: &Revision| {
            let digests = [revision.digest(), revision.guest()];
            let begins = |digest: &Digest| digest.to_string().starts_with(prefix);
            !prefix.is_empty() && digests.iter().any(begins)
        };
        let ready = self.list_of(&registry).into_iter();
        let ready = ready.filter(|known| is_named(&known.revision)).map(Ok);
        let absent = registry.absent.iter().map(|kept| &kept.revision);
        let absent = absent.filter(|revision| is_named(revision));
        let absent = absent.map(|revision| Err(RevisionError::NotReady(revision.short())));
        let mut found = ready.chain(absent);
        match (found.next(), found.next()) {
            (Some(known), None) => known,
            (None, _) => Err(RevisionError::Unknown(prefix.to_owned())),
            (Some(_), Some(_)) => Err(RevisionError::Ambiguous(prefix.to_owned())),
        }
    }

    pub(super) fn make_live(
        &self,
        registry: &mut Registry,
        revision: &Revision,
        trigger: Trigger,
    ) -> Result<Change, RevisionError> {
        let before = self.rollout.live();
        let scorer = registry.scorer(revision)?;
        if *before != *revision {
            registry.quarantine.admit(revision)?;
            let live = Arc::clone(scorer.revision());
            self.rollout.activate(scorer, Trust::OnProbation);
            registry.set_live(&live);
        }
        Ok(self.swapped(registry, before, trigger))
    }

    /// Reports a change of the live revision, if it is one.
    fn swapped(&self, registry: &mut Registry, before: Arc<Revision>, trigger: Trigger) -> Change {
        let live = self.rollout.live();
        if live != before {
            self.record_swap(&before, &live, trigger);
        }
        self.settle(registry, None);
        Change { live, before }
    }

    fn record_swap(&self, before: &Revision, live: &Revision, trigger: Trigger) {
        self.metrics.swapped(trigger);
        tracing::info!(
            guest = live.guest().short(),
            revision = live.short(),
            name = live.name().map(RevisionName::as_str),
            before = before.short(),
            trigger = trigger.name(),
            "swapped"
        );
    }

    /// Quarantines a revision that the rollout has taken out of use.
    pub(super) fn demoted(&self, demotion: &Demotion) {
        let mut registry = self.registry();
        registry.quarantine(Quarantined {
            revision: Arc::clone(&demotion.revision),
            reason: demotion.reason.clone(),
            since: now(),
        });
        // Somebody may have put it into use again before hearing of its demotion.
        let tried = self.rollout.status().trial;
        if tried.is_some_and(|tried| tried.revision == demotion.revision) {
            self.rollout.end_trial();
        }
        if self.rollout.live() == demotion.revision
            && let Ok(scorer) = registry.scorer(&demotion.live)
        {
            self.rollout.activate(scorer, Trust::Trusted);
        }
        self.follow_rollout(&mut registry);
        tracing::warn!(
            guest = demotion.revision.guest().short(),
            revision = demotion.revision.short(),
            live = self.rollout.live().short(),
            reason = demotion.reason,
            "QUARANTINED: a revision has failed in use, and is kept out of it"
        );
        self.settle(&mut registry, None);
    }

    /// Has to be called after every change, with the component of a revision that the change
    /// has added: forgets what is too much, and has the state written.
    pub(super) fn settle(&self, registry: &mut Registry, added: Option<(Arc<Revision>, Bytes)>) {
        let mut in_use = self.in_use();
        // A revision that was just added is about to be used.
        in_use.extend(added.as_ref().map(|added| Arc::clone(&added.0)));
        self.forget_beyond(registry, self.options.keep_models, &in_use);
        registry.forget_models(self.options.keep_models);
        self.publish(registry);
        if let Some(store) = &self.store {
            let wanted = registry.models().iter().map(|model| model.digest);
            store.models().want(wanted.collect());
        }
        if let Some(keeper) = &self.keeper {
            let status = self.rollout.status();
            registry.standby = status.probation.map(|kept| kept.fallback);
            let trial = status.trial.map(|trial| KeptTrial {
                revision: trial.revision,
                kind: trial.kind,
                share: trial.share,
            });
            let added = added.map(|(revision, component)| (revision.guest(), component));
            keeper.keep(registry.record(trial), added);
        }
    }

    pub(super) fn forget_beyond(
        &self,
        registry: &mut Registry,
        models: usize,
        in_use: &[Arc<Revision>],
    ) {
        for revision in registry.forget_beyond(self.options.keep, models, in_use) {
            self.rollout.forget(&revision);
            tracing::info!(
                guest = revision.guest().short(),
                revision = revision.short(),
                "forgotten"
            );
        }
    }

    /// Has it written that the live revision is trusted by now, which the rollout does not
    /// report, and publishes how far a rollout file has come.
    pub(super) fn notice_trust(&self) {
        let mut registry = self.registry();
        if registry.standby.is_some() && self.rollout.status().probation.is_none() {
            self.settle(&mut registry, None);
        } else if self.options.rollout.is_some() {
            self.publish(&registry);
        }
    }

    pub(super) fn in_use(&self) -> Vec<Arc<Revision>> {
        let status = self.rollout.status();
        let mut revisions = vec![status.live];
        revisions.extend(status.trial.map(|trial| trial.revision));
        revisions.extend(status.probation.map(|probation| probation.fallback));
        revisions
    }

    /// Locks the registry, and brings it up to date with the rollout.
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        self.follow_rollout(&mut registry);
        registry
    }

    /// Brings the registry up to date with the rollout, which goes back by itself and
    /// reports it only a moment later.
    fn follow_rollout(&self, registry: &mut Registry) {
        let live = self.rollout.live();
        if let Some(before) = registry.fall_back(&live) {
            self.record_swap(&before, &live, Trigger::Automatic);
        }
    }
}
