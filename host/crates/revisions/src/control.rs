//! Which version is used for what, and the ways to change it. Nothing here waits
//! for a load, for a disk or for a request.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::known::{Book, Known, Standing};
use super::metrics::{Metrics, Trigger};
use super::quarantine::Quarantined;
use super::state::{Keeper, KeptTrial, Store};
use super::{Change, Loader, Options, VersionsError, now};
use predictor::{Digest, Router, Version};
use rollout::{Fall, Rollout, Share, Status, Trial};

/// The versions that there are, and the ways to change which is in use.
pub struct Versions {
    pub(super) loader: Arc<dyn Loader>,
    pub(super) rollout: Arc<Rollout>,
    pub(super) options: Options,
    pub(super) metrics: Metrics,
    /// Held while a candidate is loaded: one at a time, in the order of asking.
    pub(super) loading: tokio::sync::Mutex<()>,
    /// Held while it is changed which version is live, so that what is noted here
    /// and what the rollout does are the same.
    pub(super) book: Mutex<Book>,
    pub(super) store: Option<Arc<Store>>,
    pub(super) keeper: Option<Keeper>,
}

impl Versions {
    /// Makes a version live that was added before. Nothing changes if it is live
    /// already. One that is quarantined is made live only if it is insisted on,
    /// and then is quarantined no more.
    ///
    /// # Errors
    ///
    /// If there is no such version, or if it is quarantined.
    pub fn activate(&self, guest: &Digest, insist: bool) -> Result<Change, VersionsError> {
        let mut book = self.book();
        if insist {
            // Refused below if it is not known, and then it stays out.
            book.find(guest)?;
            book.quarantine.lift(guest);
        }
        self.choose(&mut book, guest)
    }

    /// Makes the version live that was live before the one that is. With `from`,
    /// only if that one is still live: so a call that is made again, since its
    /// answer was lost, does not go back twice.
    ///
    /// # Errors
    ///
    /// If there was none, or if another version is live than `from`.
    pub fn rollback(&self, from: Option<&Digest>) -> Result<Change, VersionsError> {
        let mut book = self.book();
        let live = self.rollout.live();
        if let Some(given) = from.filter(|given| **given != live.guest) {
            return Err(VersionsError::NotLive {
                given: given.short(),
                live: live.guest.short(),
            });
        }
        let before = book.before()?;
        let scorer = book.scorer(&before)?;
        self.rollout.activate(scorer, false);
        book.note_choice();
        book.fall_back(&before);
        Ok(self.swapped(&mut book, live, Trigger::Rollback))
    }

    /// Tries a version beside the live one with a share of the texts; a trial that
    /// goes on ends.
    ///
    /// # Errors
    ///
    /// If there is no such version, if it is quarantined, or if it is live.
    pub fn begin_trial(
        &self,
        guest: &Digest,
        trial: Trial,
        share: Share,
    ) -> Result<(), VersionsError> {
        self.try_out(&mut self.book(), guest, trial, share)
    }

    pub(super) fn try_out(
        &self,
        book: &mut Book,
        guest: &Digest,
        trial: Trial,
        share: Share,
    ) -> Result<(), VersionsError> {
        let scorer = book.scorer(guest)?;
        if self.rollout.live().guest == *guest {
            return Err(VersionsError::IsLive(guest.short()));
        }
        book.quarantine.admit(guest)?;
        self.rollout.begin_trial(scorer, trial, share);
        book.absent_trial = None;
        self.settle(book, None);
        Ok(())
    }

    /// Makes the version live that is on trial.
    ///
    /// # Errors
    ///
    /// If none is.
    pub fn promote(&self) -> Result<Change, VersionsError> {
        let mut book = self.book();
        let trial = self.rollout.status().trial;
        let trial = trial.ok_or_else(|| match book.absent_trial {
            Some(kept) => VersionsError::NotReady(kept.guest.short()),
            None => VersionsError::NoTrial,
        })?;
        self.choose(&mut book, &trial.version.guest)
    }

    /// Ends the trial, and leaves the live version live. A trial from before the
    /// start ends also if its version is still being loaded.
    ///
    /// # Errors
    ///
    /// If no version is on trial.
    pub fn end_trial(&self) -> Result<Arc<Version>, VersionsError> {
        let mut book = self.book();
        let ended = self.rollout.end_trial().or_else(|| {
            let kept = book.absent_trial.take()?;
            // All versions answer with the same model.
            let model = self.rollout.live().model;
            Some(Arc::new(Version {
                guest: kept.guest,
                model,
            }))
        });
        let ended = ended.ok_or(VersionsError::NoTrial)?;
        self.settle(&mut book, None);
        Ok(ended)
    }

    /// What is in use, and how it does.
    pub fn status(&self) -> Status {
        self.rollout.status()
    }

    /// Forgets a version.
    ///
    /// # Errors
    ///
    /// If there is no such version, or if it is in use: live, on trial, or what
    /// the live one falls back to while it is on probation.
    pub fn remove(&self, guest: &Digest) -> Result<(), VersionsError> {
        let mut book = self.book();
        let version = Arc::clone(book.find(guest)?.scorer.version());
        if self.in_use().contains(guest) {
            return Err(VersionsError::InUse(guest.short()));
        }
        book.forget(guest);
        self.rollout.forget(&version);
        self.settle(&mut book, None);
        Ok(())
    }

    /// All versions, those that were added last first.
    pub fn list(&self) -> Vec<Known> {
        self.list_of(&self.book())
    }

    fn list_of(&self, book: &Book) -> Vec<Known> {
        let status = self.rollout.status();
        let standing = |guest: &Digest| {
            if status.live.guest == *guest {
                return Standing::Live;
            }
            let trial = status.trial.as_ref();
            if let Some(trial) = trial.filter(|trial| trial.version.guest == *guest) {
                return Standing::OnTrial(trial.trial, trial.share);
            }
            match book.quarantine.find(guest) {
                Some(entry) => Standing::Quarantined {
                    reason: entry.reason.clone(),
                    since: entry.since,
                },
                None => Standing::Ready,
            }
        };
        let entries = book.entries.iter().rev().map(|entry| Known {
            version: Arc::clone(entry.scorer.version()),
            standing: standing(&entry.guest()),
            origin: entry.origin.clone(),
            size: entry.size,
            added: entry.added,
            activated: entry.activated,
            tally: self.rollout.tally(entry.scorer.version()),
        });
        entries.collect()
    }

    /// What has failed in use and is kept out of it, also if it is not known any
    /// more; what failed last is at the end.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.book().quarantine.list().to_vec()
    }

    /// Why the configured guest is not served, if that is because it cannot be: a
    /// sentence for the operator.
    pub fn configured_fault(&self) -> Option<String> {
        self.book().fault(&self.rollout.live().guest)
    }

    /// The directory that keeps the state, if one does.
    pub fn state_dir(&self) -> Option<&Path> {
        self.store.as_ref().map(|store| store.dir())
    }

    /// The one version whose guest's digest begins with `prefix`, in hexadecimal
    /// digits.
    ///
    /// # Errors
    ///
    /// If there is none, or more than one, or if it is still being loaded.
    pub fn find(&self, prefix: &str) -> Result<Known, VersionsError> {
        let book = self.book();
        let is_named = |guest: &Digest| !prefix.is_empty() && guest.to_string().starts_with(prefix);
        let ready = self.list_of(&book).into_iter();
        let ready = ready.filter(|known| is_named(&known.version.guest)).map(Ok);
        let absent = book.absent.iter().map(|kept| kept.guest).filter(is_named);
        let absent = absent.map(|guest| Err(VersionsError::NotReady(guest.short())));
        let mut found = ready.chain(absent);
        match (found.next(), found.next()) {
            (Some(known), None) => known,
            (None, _) => Err(VersionsError::Unknown(prefix.to_owned())),
            (Some(_), Some(_)) => Err(VersionsError::Ambiguous(prefix.to_owned())),
        }
    }

    /// Makes a version live that somebody names.
    fn choose(&self, book: &mut Book, guest: &Digest) -> Result<Change, VersionsError> {
        let change = self.make_live(book, guest, Trigger::Api)?;
        book.note_choice();
        Ok(change)
    }

    pub(super) fn make_live(
        &self,
        book: &mut Book,
        guest: &Digest,
        trigger: Trigger,
    ) -> Result<Change, VersionsError> {
        let before = self.rollout.live();
        let scorer = book.scorer(guest)?;
        if before.guest != *guest {
            book.quarantine.admit(guest)?;
            self.rollout.activate(scorer, true);
            book.set_live(guest);
        }
        Ok(self.swapped(book, before, trigger))
    }

    /// Tells of a change of the live version, if it is one.
    fn swapped(&self, book: &mut Book, before: Arc<Version>, trigger: Trigger) -> Change {
        let live = self.rollout.live();
        if live != before {
            self.metrics.swapped(trigger);
            tracing::info!(
                guest = live.guest.short(),
                before = before.guest.short(),
                trigger = trigger.name(),
                "swapped"
            );
        }
        self.settle(book, None);
        Change { live, before }
    }

    /// Takes note of a version that the rollout has taken out of use.
    pub(super) fn fell(&self, fall: &Fall) {
        let mut book = self.book();
        let guest = fall.version.guest;
        book.quarantine(Quarantined {
            guest,
            reason: fall.reason.clone(),
            since: now(),
        });
        // Tried or made live once more by somebody who could not know yet that it
        // fell.
        let tried = self.rollout.status().trial;
        if tried.is_some_and(|tried| tried.version.guest == guest) {
            self.rollout.end_trial();
        }
        if self.rollout.live().guest == guest
            && let Ok(scorer) = book.scorer(&fall.live.guest)
        {
            self.rollout.activate(scorer, false);
        }
        self.follow_rollout(&mut book);
        tracing::warn!(
            guest = guest.short(),
            live = self.rollout.live().guest.short(),
            reason = fall.reason,
            "QUARANTINED: a version has failed in use, and is kept out of it"
        );
        self.settle(&mut book, None);
    }

    /// To be called after every change, with the bytes of a version that was
    /// added by it: forgets what is too much, and has all of it kept.
    pub(super) fn settle(&self, book: &mut Book, added: Option<(Digest, Vec<u8>)>) {
        let mut in_use = self.in_use();
        // What was just added is about to be used.
        in_use.extend(added.as_ref().map(|added| added.0));
        for version in book.forget_beyond(self.options.keep, &in_use) {
            self.rollout.forget(&version);
            tracing::info!(guest = version.guest.short(), "forgotten");
        }
        let quarantined = book.quarantine.list().len();
        let fault = book.fault(&self.rollout.live().guest);
        let known = book.entries.len();
        self.metrics.hold(known, quarantined, fault.is_some());
        if let Some(keeper) = &self.keeper {
            let status = self.rollout.status();
            book.standby = status.probation.map(|kept| kept.fallback.guest);
            let trial = status.trial.map(|trial| KeptTrial {
                guest: trial.version.guest,
                trial: trial.trial,
                share: trial.share,
            });
            keeper.keep(book.record(trial), added);
        }
    }

    /// Has it kept that the live version is trusted by now: the rollout does not
    /// tell.
    pub(super) fn notice_trust(&self) {
        let mut book = self.book();
        if book.standby.is_some() && self.rollout.status().probation.is_none() {
            self.settle(&mut book, None);
        }
    }

    fn in_use(&self) -> Vec<Digest> {
        let status = self.rollout.status();
        let mut guests = vec![status.live.guest];
        guests.extend(status.trial.map(|trial| trial.version.guest));
        guests.extend(status.probation.map(|probation| probation.fallback.guest));
        guests
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        self.follow_rollout(&mut book);
        book
    }

    /// Takes note of what is live, since the rollout goes back by itself, and
    /// tells of it only a moment later.
    fn follow_rollout(&self, book: &mut Book) {
        if book.fall_back(&self.rollout.live().guest) {
            self.metrics.swapped(Trigger::Automatic);
        }
    }
}
