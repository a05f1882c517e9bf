//! The revisions in use, and how they change. Every change is the store of one pointer.
//!
//! This module must not know requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::active::ActiveRevision;
use super::metrics::Metrics;
use super::probation::Health;
use super::shadow::Compared;
use super::{Demotion, Options, Share, TrialKind, Trust};
use predictor::{Revision, Scorer};

/// Where texts go.
#[derive(Clone)]
pub(super) struct Routes {
    pub(super) live: Arc<ActiveRevision>,
    /// Set while the live revision is on probation, and until somebody notices that it no
    /// longer is.
    pub(super) probation: Option<Standby>,
    pub(super) trial: Option<ActiveTrial>,
}

/// The revision that was trusted last, while the live one is on probation.
#[derive(Clone)]
pub(super) struct Standby {
    pub(super) fallback: Arc<ActiveRevision>,
    since: Instant,
    lasts: Duration,
}

/// A revision on trial.
#[derive(Clone)]
pub(super) struct ActiveTrial {
    pub(super) revision: Arc<ActiveRevision>,
    pub(super) kind: TrialKind,
    pub(super) share: Share,
    pub(super) compared: Arc<Compared>,
}

impl Standby {
    /// The rest of the probation; `None` once it is over.
    pub(super) fn left(&self) -> Option<Duration> {
        let left = self.lasts.saturating_sub(self.since.elapsed());
        (!left.is_zero()).then_some(left)
    }
}

impl Routes {
    /// What answers where the live revision fails, while it is on probation.
    pub(super) fn fallback(&self) -> Option<&Arc<ActiveRevision>> {
        let standby = self.probation.as_ref()?;
        standby.left().map(|_| &standby.fallback)
    }

    /// The revision that was trusted last: the live one, unless it is on probation.
    fn trusted(&self) -> &Arc<ActiveRevision> {
        self.fallback().unwrap_or(&self.live)
    }

    /// The revisions that answer texts: the live one, and a canary.
    pub(super) fn answering(&self) -> impl Iterator<Item = &Arc<ActiveRevision>> {
        let canary = self
            .trial
            .as_ref()
            .filter(|active| active.kind == TrialKind::Canary);
        std::iter::once(&self.live).chain(canary.map(|active| &active.revision))
    }

    fn is_on_trial(&self, revision: &Revision) -> bool {
        let trial = self.trial.as_ref();
        trial.is_some_and(|trial| **trial.revision.revision() == *revision)
    }

    /// Whether there is a verdict on a revision that can be demoted.
    fn has_failed(&self) -> bool {
        let judged = [
            self.fallback().map(|_| &self.live),
            self.trial.as_ref().map(|trial| &trial.revision),
        ];
        let mut judged = judged.into_iter().flatten();
        judged.any(|revision| revision.verdict().is_some())
    }
}

/// The routes, and what changes them.
pub(super) struct Control {
    routes: ArcSwap<Routes>,
    /// Held while routes are changed, so that no change is lost.
    changing: Mutex<()>,
    options: Options,
    pub(super) metrics: Metrics,
    /// Passed down to the revisions that are judged.
    verdicts: mpsc::UnboundedSender<()>,
    demotions: mpsc::UnboundedSender<Demotion>,
}

impl Control {
    /// Begins with one revision, which is trusted. A task on `runtime` waits for verdicts.
    pub(super) fn start(
        first: Arc<dyn Scorer>,
        options: Options,
        metrics: Metrics,
        demotions: mpsc::UnboundedSender<Demotion>,
        runtime: &Handle,
    ) -> Arc<Self> {
        metrics.record_live(None, first.revision());
        let counters = metrics.of(first.revision());
        let (verdicts, mut received) = mpsc::unbounded_channel();
        let control = Arc::new(Self {
            routes: ArcSwap::from_pointee(Routes {
                live: ActiveRevision::new(first, counters, None),
                probation: None,
                trial: None,
            }),
            changing: Mutex::default(),
            options,
            metrics,
            verdicts,
            demotions,
        });
        let weak = Arc::downgrade(&control);
        runtime.spawn(async move {
            while let Some(()) = received.recv().await {
                let Some(control) = weak.upgrade() else {
                    return;
                };
                control.demote_failed();
            }
        });
        control
    }

    /// The present routes.
    pub(super) fn routes(&self) -> Guard<Arc<Routes>> {
        self.routes.load()
    }

    /// Makes a revision live, if it is not already.
    pub(super) fn activate(&self, scorer: Arc<dyn Scorer>, trust: Trust) {
        let on_probation = trust == Trust::OnProbation;
        let _changing = self.changing();
        let mut routes = Routes::clone(&self.routes.load());
        if routes.is_on_trial(scorer.revision()) {
            self.drop_trial(&mut routes);
        }
        let mut left = None;
        if routes.live.revision() != scorer.revision() {
            // Not the live revision if that is on probation itself: if both were bad,
            // nothing good would be left.
            let fallback = Arc::clone(routes.trusted());
            let lasts = self.options.probation;
            let judged =
                on_probation && !lasts.is_zero() && fallback.revision() != scorer.revision();
            self.metrics
                .record_live(Some(routes.live.revision()), scorer.revision());
            let before = std::mem::replace(&mut routes.live, self.put_into_use(scorer, judged));
            // After a rollback nobody waits for the revision that was left: each of its
            // texts has another one to answer it, and it may hang.
            left = (!on_probation && routes.fallback().is_some()).then_some(before);
            routes.probation = judged.then(|| Standby {
                fallback,
                since: Instant::now(),
                lasts,
            });
        } else if !on_probation {
            routes.live.pardon();
            routes.probation = None;
        }
        self.routes.store(Arc::new(routes));
        if let Some(left) = left {
            left.retire();
        }
    }

    pub(super) fn begin_trial(&self, scorer: Arc<dyn Scorer>, kind: TrialKind, share: Share) {
        let _changing = self.changing();
        let mut routes = Routes::clone(&self.routes.load());
        self.drop_trial(&mut routes);
        let revision = self.put_into_use(scorer, true);
        let on_trial = (&**revision.revision(), kind, share);
        self.metrics.record_trial(Some(on_trial));
        routes.trial = Some(ActiveTrial {
            revision,
            kind,
            share,
            compared: Arc::default(),
        });
        self.routes.store(Arc::new(routes));
    }

    /// Ends the trial. Returns the revision that was on trial.
    pub(super) fn end_trial(&self) -> Option<Arc<Revision>> {
        let _changing = self.changing();
        let mut routes = Routes::clone(&self.routes.load());
        let trial = self.drop_trial(&mut routes)?;
        self.routes.store(Arc::new(routes));
        Some(Arc::clone(trial.revision.revision()))
    }

    /// Lets go of the fallback if the probation is over.
    pub(super) fn end_probation(&self) {
        let _changing = self.changing();
        let mut routes = Routes::clone(&self.routes.load());
        if routes.fallback().is_none() && routes.probation.take().is_some() {
            routes.live.pardon();
            self.routes.store(Arc::new(routes));
        }
    }

    /// Takes the revision out of use that has failed too often, if one has.
    pub(super) fn demote_failed(&self) {
        let routes = self.routes.load();
        if !routes.has_failed() {
            // There is nothing to go back to.
            if routes.fallback().is_none() {
                routes.live.pardon();
            }
            return;
        }
        let _changing = self.changing();
        let mut routes = Routes::clone(&self.routes.load());
        let Some((demoted, reason)) = self.remove_failed(&mut routes) else {
            return;
        };
        let demotion = Demotion {
            revision: Arc::clone(demoted.revision()),
            live: Arc::clone(routes.live.revision()),
            reason,
        };
        self.routes.store(Arc::new(routes));
        // After the store: texts that this sends on, and whoever sees their answers, find
        // the new routes.
        demoted.retire();
        self.metrics.demotions.inc();
        tracing::error!(
            guest = demotion.revision.guest().short(),
            revision = demotion.revision.short(),
            live = demotion.live.short(),
            "a revision was taken out of use: {}",
            demotion.reason
        );
        // The receiver may be gone.
        let _ = self.demotions.send(demotion);
    }

    /// Removes the revision on trial or on probation that has failed too often, and says
    /// why. A trusted revision stays whatever it does, because nothing else could answer.
    fn remove_failed(&self, routes: &mut Routes) -> Option<(Arc<ActiveRevision>, String)> {
        let of_trial = routes.trial.as_ref().and_then(|it| it.revision.verdict());
        if let Some(reason) = of_trial.map(str::to_owned) {
            let trial = self.drop_trial(routes)?;
            return Some((trial.revision, reason));
        }
        let reason = routes.live.verdict()?.to_owned();
        let fallback = Arc::clone(routes.fallback()?);
        if routes.is_on_trial(fallback.revision()) {
            self.drop_trial(routes);
        }
        self.metrics
            .record_live(Some(routes.live.revision()), fallback.revision());
        routes.probation = None;
        Some((std::mem::replace(&mut routes.live, fallback), reason))
    }

    /// Puts a revision into use, trusted or `judged` by its failures.
    fn put_into_use(&self, scorer: Arc<dyn Scorer>, judged: bool) -> Arc<ActiveRevision> {
        let health = judged.then(|| Health::new(self.options.failures, self.verdicts.clone()));
        let counters = self.metrics.of(scorer.revision());
        ActiveRevision::new(scorer, counters, health)
    }

    /// Takes the trial out of the routes. Requests in flight end on a canary that they
    /// began with; nobody waits for a shadow.
    fn drop_trial(&self, routes: &mut Routes) -> Option<ActiveTrial> {
        let trial = routes.trial.take()?;
        if trial.kind == TrialKind::Shadow {
            trial.revision.retire();
        }
        self.metrics.record_trial(None);
        Some(trial)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
