//! Which version answers which text: the live one, one that is on trial with a
//! share of the texts, or, where a new one proves bad, the one that was trusted last.
//!
//! This module must not know guests, files or HTTP: a version is a [`Scorer`],
//! and which there are is decided above (`versions`).

mod guard;
mod metrics;
mod release;
mod routes;
mod shadow;
mod share;
mod status;

pub use metrics::Metrics;
pub use share::Share;
pub use status::{Comparison, Fall, Probation, Status, Tally, Trial, TrialStatus};

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join;
use tokio::sync::{Semaphore, mpsc};

use guard::Guard;
use predictor::{
    BoxFuture, Caching, ErrorKind, Pending, PredictError, Predictor, Priority, Request, Revision,
    Router, Scorer,
};
use release::Release;
use routes::{Control, Routes};
use shadow::Shadow;

/// When a version that was just made live is trusted.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long it is on probation; zero for not at all.
    pub probation: Duration,
    /// How many of its calls may fail meanwhile, where a time-out counts as three.
    /// One more, and the version that was trusted last is live again, if those that failed are
    /// more than a tenth of all.
    pub failures: u32,
}

/// Routes texts to versions. Every change is the store of one pointer: a request
/// goes by the routes that there are when it comes.
pub struct Rollout {
    /// Apart, since versions that fail change the routes, on threads that must not
    /// be the last to hold what is below.
    control: Arc<Control>,
    below: Arc<dyn Predictor>,
    /// The room for texts that are copied for a shadow.
    room: Arc<Semaphore>,
}

impl Rollout {
    /// Begins with one version for all texts, which `below` has scored. Tells of
    /// each version that it takes out of use by itself.
    pub fn start(
        first: Arc<dyn Scorer>,
        below: Arc<dyn Predictor>,
        options: Options,
        metrics: Metrics,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Fall>) {
        let (falls, fallen) = mpsc::unbounded_channel();
        let rollout = Self {
            control: Control::new(first, options, metrics, falls),
            below,
            room: shadow::room(),
        };
        (Arc::new(rollout), fallen)
    }

    /// Makes a version live. Requests that are under way end on the one that
    /// they began with. A trial of this version ends.
    ///
    /// `on_probation`, its failures are answered by the version that was trusted
    /// last, which takes its place if there are too many. That is the version
    /// that was live before; or, if that was on probation itself, the one that
    /// stood by for it: a chain of bad versions ends at a good one. A version is
    /// trusted at once if it is the one that was trusted last.
    ///
    /// If the version is live already, nothing changes, but that without
    /// `on_probation` it is trusted from now on.
    pub fn activate(&self, scorer: Arc<dyn Scorer>, on_probation: bool) {
        self.control.activate(scorer, on_probation);
    }

    /// Tries a version beside the live one, with the same share of the texts
    /// until it ends; the trial before, if there is one, ends. A version on trial
    /// that fails too often is taken out of use.
    pub fn begin_trial(&self, scorer: Arc<dyn Scorer>, trial: Trial, share: Share) {
        self.control.begin_trial(scorer, trial, share);
    }

    /// Ends the trial, and tells which version was on trial.
    pub fn end_trial(&self) -> Option<Arc<Revision>> {
        self.control.end_trial()
    }

    /// What is in use, and how it does.
    pub fn status(&self) -> Status {
        let routes = self.control.routes();
        let probation = routes.probation.as_ref().and_then(|standby| {
            Some(Probation {
                left: standby.left()?,
                fallback: Arc::clone(standby.fallback.revision()),
            })
        });
        let trial = routes.trial.as_ref().map(|tried| TrialStatus {
            revision: Arc::clone(tried.release.revision()),
            trial: tried.trial,
            share: tried.share,
            comparison: match tried.trial {
                Trial::Canary => None,
                Trial::Shadow => Some(tried.compared.told()),
            },
        });
        Status {
            live: Arc::clone(routes.live.revision()),
            probation,
            trial,
        }
    }

    /// What a version has done since the start, or since it was forgotten.
    pub fn tally(&self, revision: &Revision) -> Tally {
        let counters = self.control.metrics.known(revision);
        counters.map_or_else(Tally::default, |counters| Tally {
            texts: counters.texts.get(),
            failures: counters.failures.get(),
        })
    }

    /// Drops what is counted of a version that will not be used again.
    pub fn forget(&self, revision: &Revision) {
        self.control.metrics.forget(revision);
    }

    /// Asks versions for texts: the first one, and the others in turn for texts
    /// that it fails on.
    fn ask(&self, releases: Vec<Arc<Release>>, texts: Vec<String>, caching: Caching) -> TakingOn {
        let below = Arc::clone(&self.below);
        if let [only] = &releases[..] {
            return below.predict(request(only, texts, caching));
        }
        let guard = Guard {
            below,
            caching,
            releases,
        };
        Box::pin(Arc::new(guard).predict(texts))
    }

    /// Takes texts on while there is more than a trusted live version.
    fn ask_by(&self, routes: &Routes, texts: Vec<String>, caching: Caching) -> TakingOn {
        let fallback = routes.fallback();
        if fallback.is_none() && routes.probation.is_some() {
            self.control.end_probation();
        }
        let live: Vec<Arc<Release>> = std::iter::once(&routes.live)
            .chain(fallback)
            .map(Arc::clone)
            .collect();
        let Some(tried) = &routes.trial else {
            return self.ask(live, texts, caching);
        };
        match tried.trial {
            Trial::Canary => {
                let mut canary = vec![Arc::clone(&tried.release)];
                canary.extend(live.iter().map(Arc::clone));
                self.divide(canary, tried.share, live, texts, caching)
            }
            Trial::Shadow => {
                let shadow = Shadow {
                    below: Arc::clone(&self.below),
                    release: Arc::clone(&tried.release),
                    compared: Arc::clone(&tried.compared),
                    room: Arc::clone(&self.room),
                };
                let copies = shadow.copy(tried.share, &texts);
                let asked = self.ask(live, texts, caching);
                Box::pin(async { Ok(shadow.follow(copies, asked.await?)) })
            }
        }
    }

    /// Asks a canary for its share of the texts, and the live version for the rest.
    fn divide(
        &self,
        canary: Vec<Arc<Release>>,
        share: Share,
        live: Vec<Arc<Release>>,
        texts: Vec<String>,
        caching: Caching,
    ) -> TakingOn {
        let tried: Vec<bool> = texts.iter().map(|text| share.holds(text)).collect();
        if !tried.contains(&true) {
            return self.ask(live, texts, caching);
        }
        if !tried.contains(&false) {
            return self.ask(canary, texts, caching);
        }
        let mut parts = [Vec::new(), Vec::new()];
        for (text, tried) in texts.into_iter().zip(&tried) {
            parts[usize::from(*tried)].push(text);
        }
        let [rest, share] = parts;
        let live = self.ask(live, rest, caching);
        let canary = self.ask(canary, share, caching);
        Box::pin(async move {
            // If one part is refused, all is: the other is dropped.
            let (live, canary) = try_join(live, canary).await?;
            let mut parts = [live.into_iter(), canary.into_iter()];
            let in_order = tried.into_iter();
            let in_order = in_order.map(|tried| parts[usize::from(tried)].next());
            in_order.collect::<Option<_>>().ok_or_else(|| {
                PredictError::new(ErrorKind::Failed, "the prediction failed")
                    .with_detail("a text was lost between two versions")
            })
        })
    }
}

/// What [`Predictor::predict`] gives.
type TakingOn = BoxFuture<Result<Vec<Pending>, PredictError>>;

fn request(release: &Arc<Release>, texts: Vec<String>, caching: Caching) -> Request {
    Request {
        texts,
        scorer: Arc::clone(release) as _,
        caching,
        priority: Priority::Live,
    }
}

impl Router for Rollout {
    fn live(&self) -> Arc<Revision> {
        Arc::clone(self.control.routes().live.revision())
    }

    fn predict(&self, texts: Vec<String>, caching: Caching) -> TakingOn {
        let routes = self.control.routes();
        if routes.probation.is_none() && routes.trial.is_none() {
            let request = request(&routes.live, texts, caching);
            return self.below.predict(request);
        }
        // Not held meanwhile, since few can be held at once without a count.
        let routes = arc_swap::Guard::into_inner(routes);
        self.ask_by(&routes, texts, caching)
    }
}
