//! The versions in use, and how they change. Every change is the store of one
//! pointer.
//!
//! This module must not know requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::mpsc;

use super::metrics::Metrics;
use super::release::{Release, Watched};
use super::shadow::Compared;
use super::{Fall, Options, Share, Trial};
use predictor::{Revision, Scorer};

/// Where texts go.
#[derive(Clone)]
pub(super) struct Routes {
    pub(super) live: Arc<Release>,
    /// Set while the live version is not trusted, and until somebody notices that
    /// it is.
    pub(super) probation: Option<Standby>,
    pub(super) trial: Option<Tried>,
}

/// The version that was trusted last, while the live one is on probation.
#[derive(Clone)]
pub(super) struct Standby {
    pub(super) fallback: Arc<Release>,
    since: Instant,
    lasts: Duration,
}

/// A version on trial.
#[derive(Clone)]
pub(super) struct Tried {
    pub(super) release: Arc<Release>,
    pub(super) trial: Trial,
    pub(super) share: Share,
    pub(super) compared: Arc<Compared>,
}

impl Standby {
    /// How much longer the probation lasts, if it does.
    pub(super) fn left(&self) -> Option<Duration> {
        let left = self.lasts.saturating_sub(self.since.elapsed());
        (!left.is_zero()).then_some(left)
    }
}

impl Routes {
    /// What answers instead of the live version, while it is on probation.
    pub(super) fn fallback(&self) -> Option<&Arc<Release>> {
        let standby = self.probation.as_ref()?;
        standby.left().map(|_| &standby.fallback)
    }

    /// The version that was trusted last: the live one, unless it is on probation.
    fn trusted(&self) -> &Arc<Release> {
        self.fallback().unwrap_or(&self.live)
    }

    fn is_on_trial(&self, revision: &Revision) -> bool {
        let tried = self.trial.as_ref();
        tried.is_some_and(|tried| **tried.release.revision() == *revision)
    }
}

/// The routes, and what changes them.
pub(super) struct Control {
    routes: ArcSwap<Routes>,
    /// Held while routes are changed, so that no change is lost.
    changing: Mutex<()>,
    options: Options,
    pub(super) metrics: Metrics,
    falls: mpsc::UnboundedSender<Fall>,
}

impl Control {
    /// Begins with one version, which is trusted.
    pub(super) fn new(
        first: Arc<dyn Scorer>,
        options: Options,
        metrics: Metrics,
        falls: mpsc::UnboundedSender<Fall>,
    ) -> Arc<Self> {
        metrics.tell_live(None, first.revision());
        let counters = metrics.of(first.revision());
        Arc::new(Self {
            routes: ArcSwap::from_pointee(Routes {
                live: Release::new(first, counters, None),
                probation: None,
                trial: None,
            }),
            changing: Mutex::default(),
            options,
            metrics,
            falls,
        })
    }

    /// The routes of now.
    pub(super) fn routes(&self) -> Guard<Arc<Routes>> {
        self.routes.load()
    }

    /// Makes a version live. The live one stays if it is the same.
    pub(super) fn activate(self: &Arc<Self>, scorer: Arc<dyn Scorer>, on_probation: bool) {
        let _changing = self.changing();
        let mut routes = Routes::clone(&self.routes.load());
        if routes.is_on_trial(scorer.revision()) {
            self.drop_trial(&mut routes);
        }
        let mut left = None;
        if routes.live.revision() != scorer.revision() {
            // Not the live one, if that is on probation itself: were both bad,
            // nothing good would be left.
            let fallback = Arc::clone(routes.trusted());
            let lasts = self.options.probation;
            let watched =
                on_probation && !lasts.is_zero() && fallback.revision() != scorer.revision();
            self.metrics
                .tell_live(Some(routes.live.revision()), scorer.revision());
            let before = std::mem::replace(&mut routes.live, self.release(scorer, watched));
            // Gone back from, it is not waited for: each of its texts has another
            // version that answers it, and it may be hanging.
            left = (!on_probation && routes.fallback().is_some()).then_some(before);
            routes.probation = watched.then(|| Standby {
                fallback,
                since: Instant::now(),
                lasts,
            });
        } else if !on_probation {
            routes.probation = None;
        }
        self.routes.store(Arc::new(routes));
        if let Some(left) = left {
            left.end();
        }
    }

    pub(super) fn begin_trial(
        self: &Arc<Self>,
        scorer: Arc<dyn Scorer>,
        trial: Trial,
        share: Share,
    ) {
        let _changing = self.changing();
        let mut routes = Routes::clone(&self.routes.load());
        self.drop_trial(&mut routes);
        let release = self.release(scorer, true);
        let on_trial = (&**release.revision(), trial, share);
        self.metrics.tell_trial(Some(on_trial));
        routes.trial = Some(Tried {
            release,
            trial,
            share,
            compared: Arc::default(),
        });
        self.routes.store(Arc::new(routes));
    }

    /// Ends the trial, and tells which version was on trial.
    pub(super) fn end_trial(&self) -> Option<Arc<Revision>> {
        let _changing = self.changing();
        let mut routes = Routes::clone(&self.routes.load());
        let tried = self.drop_trial(&mut routes)?;
        self.routes.store(Arc::new(routes));
        Some(Arc::clone(tried.release.revision()))
    }

    /// Lets go of the version before, if the probation is over by now.
    pub(super) fn end_probation(&self) {
        let _changing = self.changing();
        let mut routes = Routes::clone(&self.routes.load());
        if routes.fallback().is_none() && routes.probation.take().is_some() {
            self.routes.store(Arc::new(routes));
        }
    }

    /// Takes a version out of use that has failed too often: one on trial or one
    /// on probation. Others stay, whatever they did: nothing would answer for one
    /// that is trusted, and one that another has replaced does not matter.
    fn fall(&self, fallen: &Release, reason: String) {
        let _changing = self.changing();
        let mut routes = Routes::clone(&self.routes.load());
        let is = |release: &Arc<Release>| std::ptr::eq(Arc::as_ptr(release), fallen);
        if routes
            .trial
            .as_ref()
            .is_some_and(|tried| is(&tried.release))
        {
            self.drop_trial(&mut routes);
        } else if let (true, Some(fallback)) = (is(&routes.live), routes.fallback()) {
            let fallback = Arc::clone(fallback);
            self.metrics
                .tell_live(Some(fallen.revision()), fallback.revision());
            if routes.is_on_trial(fallback.revision()) {
                self.drop_trial(&mut routes);
            }
            routes.live = fallback;
            routes.probation = None;
        } else {
            return;
        }
        let fall = Fall {
            revision: Arc::clone(fallen.revision()),
            live: Arc::clone(routes.live.revision()),
            reason,
        };
        self.routes.store(Arc::new(routes));
        // After the store: whoever is sent on by this finds the new routes.
        fallen.end();
        self.metrics.falls.inc();
        tracing::error!(
            guest = fall.revision.guest().short(),
            revision = fall.revision.short(),
            live = fall.live.guest().short(),
            "a version was taken out of use: {}",
            fall.reason
        );
        // Nobody may want to know.
        let _ = self.falls.send(fall);
    }

    /// Brings a version into use, trusted or `watched`.
    fn release(self: &Arc<Self>, scorer: Arc<dyn Scorer>, watched: bool) -> Arc<Release> {
        let watched = watched.then(|| {
            // Weak, since the routes hold the release.
            let control = Arc::downgrade(self);
            let tell = move |release: &Release, reason: String| {
                if let Some(control) = control.upgrade() {
                    control.fall(release, reason);
                }
            };
            Watched::new(self.options.failures, Box::new(tell))
        });
        let counters = self.metrics.of(scorer.revision());
        Release::new(scorer, counters, watched)
    }

    /// Takes the trial out of the routes. Requests in flight end on a canary that
    /// they began with; nobody waits for a shadow.
    fn drop_trial(&self, routes: &mut Routes) -> Option<Tried> {
        let tried = routes.trial.take()?;
        if tried.trial == Trial::Shadow {
            tried.release.end();
        }
        self.metrics.tell_trial(None);
        Some(tried)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
