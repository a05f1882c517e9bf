//! Decides which revision answers which text: the live one, one that is on trial with a
//! share of the texts, or, where a new one proves bad, the one that was trusted last.
//!
//! The choice is made once for each text, when its request arrives. Nearly always there is
//! one revision and it is trusted; a request then costs the load of one pointer. Otherwise:
//!
//! - **Probation.** For some time after a revision goes live, the one that was trusted last
//!   stands by. Texts that the live revision fails on (by a trap, a time-out or a bad
//!   answer) are answered by that one, so texts are kept until they are answered. If a
//!   revision on probation is replaced, its fallback stands by for the next one too: in a
//!   chain of bad revisions, none becomes the fallback.
//! - **Canary.** A revision on trial answers a share of the texts. A digest of the text
//!   alone decides which ([`Share`]), so a text never changes sides. What a canary fails
//!   on is answered by the live revision.
//! - **A request for one revision** ([`RequestOptions::revision`]) is answered by that one
//!   alone, if it is live or a canary: without a share, a fallback or copies for a shadow.
//! - **Shadow.** A revision on trial scores copies of a share of the texts, in the
//!   background of the batcher, after the live revision has answered them. Its answers are
//!   compared, counted and dropped, and never cached. Copies are bounded in bytes; those
//!   for which there is no room or no time are counted as skipped.
//!
//! **Demotion.** The recent calls of a revision that is not trusted are counted. It is
//! taken out of use once more of them have failed than are tolerated, and more than a
//! tenth; a time-out counts for three. The new routes are stored first; then its running
//! calls are cancelled, and the texts that wait for it go on to the next revision, those
//! of a request together. If the queue is full they are offered again, because they have
//! been accepted once. The count is taken below the batcher, on worker threads, which
//! report a verdict through a channel; only this layer's own task and requests act on it.
//!
//! A call that was cancelled because nobody wanted its answer is no failure. So a revision
//! that hangs is found out only by the time limit of calls, which must be well below the
//! deadline of requests, because a batch that timed out is split and tried again.
//!
//! This crate must not know guests, files or HTTP. A revision is a [`Scorer`], and which
//! revisions exist is decided above, in `revisions`.

mod active;
mod fallback;
mod metrics;
mod probation;
mod routes;
mod shadow;
mod share;
mod status;

pub use metrics::Metrics;
pub use share::Share;
pub use status::{Comparison, Demotion, Probation, Status, Tally, TrialKind, TrialStatus, Trust};

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use active::ActiveRevision;
use fallback::FallbackChain;
use predictor::{
    BoxFuture, Digest, ErrorKind, Pending, PredictError, Predictor, Priority, Request,
    RequestOptions, Revision, Router, Scorer,
};
use routes::{Control, Routes};
use shadow::Shadow;

/// When a revision that has just gone live is trusted.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long it is on probation; zero for not at all.
    pub probation: Duration,
    /// How many of its recent calls may fail meanwhile; a time-out counts for three. With
    /// one more, the revision that was trusted last goes live again, provided that more
    /// than a tenth of all recent calls have failed.
    pub failures: u32,
}

/// Routes texts to revisions. Every change is the store of one pointer: a request follows
/// the routes of the moment it arrives.
pub struct Rollout {
    control: Arc<Control>,
    below: Arc<dyn Predictor>,
    /// The room for copies of texts, in bytes.
    room: Arc<Semaphore>,
}

impl Rollout {
    /// Begins with one trusted revision for all texts; `below` has them scored. A task on
    /// `runtime` takes revisions out of use that fail too often, and each such demotion is
    /// sent to the receiver.
    pub fn start(
        first: Arc<dyn Scorer>,
        below: Arc<dyn Predictor>,
        options: Options,
        metrics: Metrics,
        runtime: &Handle,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Demotion>) {
        let (demotions, received) = mpsc::unbounded_channel();
        let rollout = Self {
            control: Control::start(first, options, metrics, demotions, runtime),
            below,
            room: shadow::room(),
        };
        (Arc::new(rollout), received)
    }

    /// Makes a revision live. Requests in flight end on the one that they began with. If
    /// this revision is on trial, the trial ends.
    ///
    /// On probation, its failures are answered by the revision that was trusted last,
    /// which takes its place if there are too many. That is the revision that was live
    /// before; or, if that was on probation itself, its fallback. A revision is trusted at
    /// once if it is the one that was trusted last.
    ///
    /// If the revision is live already, nothing changes, except that it may be trusted from
    /// now on.
    pub fn activate(&self, scorer: Arc<dyn Scorer>, trust: Trust) {
        self.control.activate(scorer, trust);
    }

    /// Tries a revision beside the live one, with a fixed share of the texts; a previous
    /// trial ends. A revision on trial that fails too often is taken out of use.
    pub fn begin_trial(&self, scorer: Arc<dyn Scorer>, kind: TrialKind, share: Share) {
        self.control.begin_trial(scorer, kind, share);
    }

    /// Ends the trial. Returns the revision that was on trial.
    pub fn end_trial(&self) -> Option<Arc<Revision>> {
        self.control.end_trial()
    }

    /// The revisions in use, and how they do.
    pub fn status(&self) -> Status {
        let routes = self.control.routes();
        let probation = routes.probation.as_ref().and_then(|standby| {
            Some(Probation {
                left: standby.left()?,
                fallback: Arc::clone(standby.fallback.revision()),
            })
        });
        let trial = routes.trial.as_ref().map(|active| TrialStatus {
            revision: Arc::clone(active.revision.revision()),
            kind: active.kind,
            share: active.share,
            comparison: match active.kind {
                TrialKind::Canary => None,
                TrialKind::Shadow => Some(active.compared.report()),
            },
        });
        Status {
            live: Arc::clone(routes.live.revision()),
            probation,
            trial,
        }
    }

    /// What a revision has done since the start, or since it was forgotten.
    pub fn tally(&self, revision: &Revision) -> Tally {
        let counters = self.control.metrics.known(revision);
        counters.map_or_else(Tally::default, |counters| Tally {
            texts: counters.texts.get(),
            failures: counters.failures.get(),
        })
    }

    /// Drops the counters of a revision that will not be used again.
    pub fn forget(&self, revision: &Revision) {
        self.control.metrics.forget(revision);
    }

    /// Asks the first of these revisions, and the others in turn for the texts that it
    /// fails on.
    fn ask(
        &self,
        revisions: Vec<Arc<ActiveRevision>>,
        texts: Vec<String>,
        options: RequestOptions,
    ) -> Accepting {
        let below = Arc::clone(&self.below);
        if let [only] = &revisions[..] {
            return below.predict(request(only, texts, options));
        }
        let chain = FallbackChain {
            below,
            control: Arc::clone(&self.control),
            options,
            revisions,
        };
        Box::pin(Arc::new(chain).predict(texts))
    }

    /// The revision with this digest, if it answers texts.
    fn only(routes: &Routes, digest: Digest) -> Option<&Arc<ActiveRevision>> {
        let mut answering = routes.answering();
        answering.find(|active| active.revision().digest() == digest)
    }

    /// Accepts texts while there is more than a trusted live revision.
    fn ask_by(&self, routes: &Routes, texts: Vec<String>, options: RequestOptions) -> Accepting {
        let fallback = routes.fallback();
        if fallback.is_none() && routes.probation.is_some() {
            self.control.end_probation();
        }
        let live: Vec<Arc<ActiveRevision>> = std::iter::once(&routes.live)
            .chain(fallback)
            .map(Arc::clone)
            .collect();
        let Some(active) = &routes.trial else {
            return self.ask(live, texts, options);
        };
        match active.kind {
            TrialKind::Canary => {
                let mut canary = vec![Arc::clone(&active.revision)];
                canary.extend(live.iter().map(Arc::clone));
                self.divide(canary, active.share, live, texts, options)
            }
            TrialKind::Shadow => {
                let shadow = Shadow {
                    below: Arc::clone(&self.below),
                    revision: Arc::clone(&active.revision),
                    compared: Arc::clone(&active.compared),
                    room: Arc::clone(&self.room),
                };
                let copies = shadow.copy(active.share, &texts);
                let asked = self.ask(live, texts, options);
                Box::pin(async { Ok(shadow.follow(copies, asked.await?)) })
            }
        }
    }

    /// Asks a canary for its share of the texts, and the live revision for the rest.
    fn divide(
        &self,
        canary: Vec<Arc<ActiveRevision>>,
        share: Share,
        live: Vec<Arc<ActiveRevision>>,
        texts: Vec<String>,
        options: RequestOptions,
    ) -> Accepting {
        let in_share: Vec<bool> = texts.iter().map(|text| share.holds(text)).collect();
        if !in_share.contains(&true) {
            return self.ask(live, texts, options);
        }
        if !in_share.contains(&false) {
            return self.ask(canary, texts, options);
        }
        let mut parts = [Vec::new(), Vec::new()];
        for (text, in_share) in texts.into_iter().zip(&in_share) {
            parts[usize::from(*in_share)].push(text);
        }
        let [rest, share] = parts;
        let live = self.ask(live, rest, options);
        let canary = self.ask(canary, share, options);
        Box::pin(async move {
            // If one part is refused, the request is, and the other part is dropped.
            let (live, canary) = try_join(live, canary).await?;
            let mut parts = [live.into_iter(), canary.into_iter()];
            let in_order = in_share.into_iter();
            let in_order = in_order.map(|in_share| parts[usize::from(in_share)].next());
            let answers = in_order.collect::<Option<_>>();
            answers.ok_or_else(|| PredictError::failed("a text was lost between two revisions"))
        })
    }
}

fn unknown_revision() -> PredictError {
    PredictError::new(
        ErrorKind::UnknownRevision,
        "the version that is asked for answers no texts now",
    )
}

/// What [`Predictor::predict`] returns.
type Accepting = BoxFuture<Result<Vec<Pending>, PredictError>>;

fn request(revision: &Arc<ActiveRevision>, texts: Vec<String>, options: RequestOptions) -> Request {
    Request {
        texts,
        scorer: Arc::clone(revision) as _,
        options,
        priority: Priority::Live,
    }
}

impl Router for Rollout {
    fn live(&self) -> Arc<Revision> {
        Arc::clone(self.control.routes().live.revision())
    }

    fn answering(&self) -> Vec<Arc<Revision>> {
        let routes = self.control.routes();
        let answering = routes.answering();
        answering.map(|active| active.revision().clone()).collect()
    }

    fn predict(&self, texts: Vec<String>, options: RequestOptions) -> Accepting {
        let routes = self.control.routes();
        if let Some(digest) = options.revision {
            return match Self::only(&routes, digest) {
                Some(only) => self.below.predict(request(only, texts, options)),
                None => Box::pin(async { Err(unknown_revision()) }),
            };
        }
        if routes.probation.is_none() && routes.trial.is_none() {
            let request = request(&routes.live, texts, options);
            return self.below.predict(request);
        }
        // A loaded pointer is for a moment only: there are few slots for them, and what is
        // kept longer is counted.
        let routes = arc_swap::Guard::into_inner(routes);
        self.ask_by(&routes, texts, options)
    }
}
