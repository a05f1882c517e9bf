//! Brings what is in use to what the rollout file declares.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use predictor::{Revision, Router};

use super::fetch::{Fetched, FetchedModel, Fetcher, Installed};
use super::file::{Desired, DesiredError, Parts};
use super::{DesiredState, Role};
use crate::candidate::{blocking, revision};
use crate::control::Revisions;
use crate::metrics::Trigger;
use crate::{Added, Change, Model, RevisionError};

/// The wait before the first retry; each further one is twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(120);

impl Revisions {
    /// Carries out orders until `revisions` is dropped.
    pub(crate) async fn reconcile(
        revisions: Weak<Self>,
        desired: Arc<DesiredState>,
        installed: Installed,
    ) {
        let mut orders = desired.orders.subscribe();
        let mut wait = FIRST_RETRY;
        // What is declared at the start was asked for then.
        let mut is_news = false;
        loop {
            let order = *orders.borrow_and_update();
            let Some(carrying_out) = revisions.upgrade() else {
                return;
            };
            let carried_out = carrying_out.carry_out(&desired, &installed, is_news);
            let is_to_be_tried_again = tokio::select! {
                biased;
                // The newest order counts. What is loaded is loaded to its end.
                _ = orders.changed() => {
                    (wait, is_news) = (FIRST_RETRY, true);
                    continue;
                }
                again = carried_out => again,
            };
            drop(carrying_out);
            is_news = false;
            {
                let mut progress = desired.progress();
                progress.step = None;
                progress.retry_at = is_to_be_tried_again.then(|| SystemTime::now() + wait);
            }
            desired.carried_out.send_replace(order);
            if is_to_be_tried_again {
                // A fleet that lost its registry does not come back in step.
                let jitter = wait.mul_f64(fastrand::f64() / 4.0);
                tokio::select! {
                    biased;
                    _ = orders.changed() => (wait, is_news) = (FIRST_RETRY, true),
                    () = tokio::time::sleep(wait + jitter) => wait = (2 * wait).min(LONGEST_RETRY),
                }
            } else {
                wait = FIRST_RETRY;
                tokio::select! {
                    biased;
                    _ = orders.changed() => is_news = true,
                    () = desired.wait_to_look_up() => {}
                }
            }
        }
    }

    /// Does what the file wants, as far as that can be done. Returns whether the rest is worth
    /// trying again.
    async fn carry_out(
        self: &Arc<Self>,
        desired: &DesiredState,
        installed: &Installed,
        is_news: bool,
    ) -> bool {
        name_the_digest(desired, installed).await;
        match desired.look_up(installed).await {
            Ok(false) if self.is_as_desired(desired) => {
                desired.done(Role::Live);
                return false;
            }
            Ok(_) => {}
            Err(error) => return failed(desired, Role::Live, &error),
        }
        let Some(goal) = desired.goal() else {
            return false;
        };
        let fetcher = match Fetcher::new(&goal, installed) {
            Ok(fetcher) => fetcher,
            Err(error) => return failed(desired, Role::Live, &error),
        };
        if is_news && !fetcher.has_all(&goal) {
            tokio::time::sleep(goal.pull.spread().mul_f64(fastrand::f64())).await;
        }
        if let Err(error) = self.make_it_live(desired, &goal, &fetcher).await {
            // A trial beside another revision would say nothing.
            return failed(desired, Role::Live, &error);
        }
        desired.done(Role::Live);
        let role = goal.trial.as_ref().map(|wanted| Role::Trial(wanted.kind));
        let tried = self.try_it(desired, &goal, &fetcher).await;
        let mut again = false;
        match (role, tried) {
            (Some(role), Err(error)) => again |= failed(desired, role, &error),
            (Some(role), Ok(())) => desired.done(role),
            (None, _) => {}
        }
        match self.keep_trusted(desired, &goal, &fetcher, installed).await {
            Ok(()) => desired.done(Role::Trusted),
            Err(error) => again |= failed(desired, Role::Trusted, &error),
        }
        again
    }

    async fn make_it_live(
        self: &Arc<Self>,
        desired: &DesiredState,
        goal: &Desired,
        fetcher: &Fetcher,
    ) -> Result<(), RevisionError> {
        let revision = self.bring(desired, Role::Live, &goal.live, fetcher).await?;
        desired.begin(Role::Live, "activate");
        let mut registry = self.registry();
        // Somebody may have chosen another one meanwhile.
        if desired.goal().is_some_and(|now| *now == *goal) {
            self.make_live(&mut registry, &revision, Trigger::File)?;
        }
        Ok(())
    }

    async fn try_it(
        self: &Arc<Self>,
        desired: &DesiredState,
        goal: &Desired,
        fetcher: &Fetcher,
    ) -> Result<(), RevisionError> {
        let wanted = match &goal.trial {
            None => None,
            Some(wanted) => {
                let role = Role::Trial(wanted.kind);
                let revision = self.bring(desired, role, &wanted.parts, fetcher).await?;
                Some((revision, wanted.kind, wanted.share))
            }
        };
        let mut registry = self.registry();
        if desired.goal().is_none_or(|now| *now != *goal) {
            return Ok(());
        }
        let now = self.rollout.status().trial;
        let now = now.map(|now| (now.revision, now.kind, now.share));
        if now == wanted && registry.absent_trial.is_none() {
            return Ok(());
        }
        match wanted {
            Some((revision, trial, share)) => self.try_out(&mut registry, &revision, trial, share),
            None => {
                self.rollout.end_trial();
                registry.absent_trial = None;
                self.settle(&mut registry, None);
                Ok(())
            }
        }
    }

    /// Has what it takes to fall back to the trusted revision on this machine.
    async fn keep_trusted(
        self: &Arc<Self>,
        desired: &DesiredState,
        goal: &Desired,
        fetcher: &Fetcher,
        installed: &Installed,
    ) -> Result<(), RevisionError> {
        let (Some(trusted), None) = (&goal.trusted, desired.revision(Role::Trusted)) else {
            return Ok(());
        };
        desired.begin(Role::Trusted, "fetch");
        let Fetched {
            guest,
            model,
            signed_by,
            is_pulled,
        } = fetcher.fetch(trusted).await?;
        if is_pulled {
            desired.has_fetched();
        }
        let loader = Arc::clone(&installed.loader);
        let found = blocking(move || {
            let model = match &model {
                FetchedModel::Known(model) => Model::clone(model),
                FetchedModel::Pulled(pulled, _) => loader.model(pulled.dir())?,
            };
            Ok::<_, RevisionError>(revision(&guest.component, &guest.configuration, &model))
        });
        let revision = found.await??;
        desired.found(Role::Trusted, &revision, signed_by);
        Ok(())
    }

    /// A revision that is ready for its role.
    async fn bring(
        self: &Arc<Self>,
        desired: &DesiredState,
        role: Role,
        parts: &Parts,
        fetcher: &Fetcher,
    ) -> Result<Arc<Revision>, RevisionError> {
        if let Some(revision) = desired.revision(role)
            && self.registry().find(&revision).is_ok()
        {
            return Ok(revision);
        }
        desired.begin(role, "fetch");
        let Fetched {
            guest,
            model,
            signed_by,
            is_pulled,
        } = fetcher.fetch(parts).await?;
        if is_pulled {
            desired.has_fetched();
        }
        desired.begin(role, "load");
        let model = match model {
            FetchedModel::Known(model) => self.registry().add_model(model).0,
            FetchedModel::Pulled(pulled, origin) => {
                let revisions = Arc::clone(self);
                blocking(move || revisions.take_over(pulled.dir(), origin)).await??
            }
        };
        let wanted = {
            let (guest, model) = (guest.clone(), Arc::clone(&model));
            blocking(move || revision(&guest.component, &guest.configuration, &model)).await?
        };
        desired.found(role, &wanted, signed_by);
        self.registry().quarantine.admit(&wanted)?;
        let added = self.add(guest, model).await?;
        Ok(added.revision)
    }

    /// Follows the file again after a change by hand.
    pub(crate) async fn resume(
        &self,
        desired: &DesiredState,
    ) -> Result<(Added, Change), RevisionError> {
        let (begun, before) = (Instant::now(), self.rollout.live());
        desired.resume().await?;
        let live = self.rollout.live();
        let added = Added {
            revision: Arc::clone(&live),
            known: true,
            compiled: false,
            took: begun.elapsed(),
        };
        Ok((added, Change { live, before }))
    }

    /// Whether the live revision is the one that is declared, and the trial as well.
    pub(crate) fn is_as_desired(&self, desired: &DesiredState) -> bool {
        let status = self.rollout.status();
        let progress = desired.progress();
        let Some(goal) = &progress.goal else {
            return false;
        };
        let is = |role, revision: &Arc<Revision>| {
            let mut found = progress.found.iter();
            found.any(|found| found.role == role && found.revision == *revision)
        };
        let trial = match (&goal.trial, &status.trial) {
            (None, None) => true,
            (Some(wanted), Some(now)) => {
                (wanted.kind, wanted.share) == (now.kind, now.share)
                    && is(Role::Trial(wanted.kind), &now.revision)
            }
            _ => false,
        };
        trial
            && progress.fault.is_none()
            && progress.overridden.is_none()
            && is(Role::Live, &self.rollout.live())
    }
}

/// Records that something could not be done. Returns whether it is worth trying again.
fn failed(desired: &DesiredState, role: Role, error: &RevisionError) -> bool {
    desired.failed(role, error);
    error.may_pass()
}

/// Says which digest a tag in the file stands for now.
async fn name_the_digest(desired: &DesiredState, installed: &Installed) {
    let not_pinned = desired.progress().not_pinned.take();
    if let Some(file) = not_pinned
        && let Some(reference) = file.not_pinned()
        && let Ok(fetcher) = Fetcher::new(&file, installed)
        && let Some(digest) = fetcher.digest_of(reference).await
    {
        let error = DesiredError::NotPinned(reference.clone());
        desired.cannot_be_used(format!("{error}; now that is @sha256:{digest}"));
    }
}
