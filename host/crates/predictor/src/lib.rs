//! The vocabulary that the layers share: texts in, scores out, and the kinds of failure
//! that a caller can act on.
//!
//! Layers are stacked. `http` asks the `service`, which asks the [`Router`] of the
//! `rollout`; each layer below that holds the next one as an `Arc<dyn Predictor>`, and the
//! lowest calls a [`Scorer`]. So every layer can be tested over a fake. Calls go down only:
//! a layer learns what happened below from the answers, or from a handle that it gave away,
//! such as a [`CancellationToken`].
//!
//! A [`Revision`] names what answers. A request is pinned to revisions when it arrives and
//! ends on them, whatever goes live meanwhile.
//!
//! This crate must not know how a prediction is made, how it is transported, or what any
//! layer looks like inside: it depends on none of them.

mod configuration;
pub mod contract;
mod model;
mod name;
mod options;
mod revision;
mod text_tokens;

pub use configuration::{Configuration, ConfigurationError, ConfigurationValue};
pub use model::{Activation, Description, Limit, ModelCard, Side};
pub use name::{RevisionName, RevisionNameError};
pub use options::{Caching, Client, LongTexts, Priority, RequestOptions, Weight, WeightError};
pub use revision::{Digest, DigestError, Revision};
pub use text_tokens::estimated_tokens;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A label of the model and how strongly a text supports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The label's name, as the model's configuration spells it.
    pub label: Arc<str>,
    /// A probability in `0.0..=1.0`.
    pub score: f32,
}

/// The scores of one text: every label, highest score first.
pub type Scores = Arc<[Score]>;

/// The answer to one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Every label, highest score first.
    pub scores: Scores,
    /// The revision that made the answer.
    pub revision: Arc<Revision>,
    /// Where the answer comes from.
    pub source: Source,
    /// The work done for it, if it was computed.
    pub work: Option<Work>,
}

/// How long an answer was worked on. The work may have begun for an earlier request that
/// asked for the same text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// How long the text waited for a worker.
    pub queued: Duration,
    /// How long the text's batch took, guest and model included.
    pub scored: Duration,
}

impl Work {
    /// The longer of both times, each by itself.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            queued: self.queued.max(other.queued),
            scored: self.scored.max(other.scored),
        }
    }
}

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// It was computed, for this request or for a concurrent one with the same text.
    Computed,
    /// From this process's cache.
    Memory,
    /// From the cache that several processes share.
    Shared,
}

/// What went wrong, in the terms on which a caller can act. Only the HTTP edge turns a
/// kind into a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request holds more texts than are allowed.
    TooManyTexts {
        /// How many texts the request holds.
        given: usize,
        /// How many are allowed.
        allowed: usize,
    },
    /// A text is longer than is allowed.
    TextTooLong {
        /// The text's position in the request, from 0.
        index: usize,
        /// Its length in UTF-8 bytes.
        given: usize,
        /// The longest allowed, in UTF-8 bytes.
        allowed: usize,
    },
    /// The revision that the request asks for is not one that answers texts now.
    UnknownRevision,
    /// The guest refuses this text.
    InvalidText {
        /// The text's position, from 0: in the batch, if a [`Scorer`] reports it, and in
        /// the request when it reaches the request's caller.
        index: usize,
    },
    /// The queue is full.
    Overloaded {
        /// When the present queue will have been worked off, estimated from recent
        /// throughput.
        retry_after: Duration,
    },
    /// The answer was not ready within the deadline.
    TimedOut,
    /// No guest or no model can serve at the moment.
    Unavailable,
    /// The guest or the model failed on this request.
    Failed,
}

/// A failure with two texts: one that is safe to show to a client, and one for the log
/// that may name internals.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct PredictError {
    /// What a caller can do about it.
    pub kind: ErrorKind,
    /// For the client: what was wrong and what is allowed; no internals.
    pub message: String,
    /// For the log only.
    pub detail: Option<String>,
    /// The detail with the guest's own words, which may contain a client's text: for the
    /// user of a command who sent the text, and never for a log.
    pub full_detail: Option<String>,
}

impl PredictError {
    /// An error whose client text says everything there is to say.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            detail: None,
            full_detail: None,
        }
    }

    /// A failure of which the client learns nothing else; the detail is for the log.
    pub fn failed(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, "the prediction failed").with_detail(detail)
    }

    /// No work is taken on: the server is starting or ending.
    pub fn unavailable() -> Self {
        Self::new(
            ErrorKind::Unavailable,
            "the server is not predicting at the moment",
        )
    }

    /// Adds what only the log may see.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what only the one who sent the text may see.
    #[must_use]
    pub fn with_full_detail(mut self, detail: impl Into<String>) -> Self {
        self.full_detail = Some(detail.into());
        self
    }
}

/// Texts to be scored by one revision.
#[derive(Clone)]
pub struct Request {
    /// The texts, in the order in which the answers are wanted.
    pub texts: Vec<String>,
    /// What scores them, even if another revision goes live meanwhile.
    pub scorer: Arc<dyn Scorer>,
    /// How they are to be scored.
    pub options: RequestOptions,
    /// How urgent the request is.
    pub priority: Priority,
}

/// The future answer to one text.
///
/// Dropping it cancels the work for it: a text that no worker has taken yet is never
/// scored, and a batch ends as soon as nobody wants any of its results.
pub enum Pending {
    /// The answer is there, and polling costs nothing. A layer that can treat these apart
    /// saves itself a task.
    Ready(Answer),
    /// The answer is being made.
    Later(BoxFuture<Result<Answer, PredictError>>),
}

impl Future for Pending {
    type Output = Result<Answer, PredictError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Ready(answer) => Poll::Ready(Ok(answer.clone())),
            Self::Later(answer) => answer.as_mut().poll(context),
        }
    }
}

/// A future that can be moved between threads, of unknown type.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A layer that answers texts with scores, below the choice of a revision.
pub trait Predictor: Send + Sync + 'static {
    /// Accepts a request. It resolves to one [`Pending`] for each text, in the order of
    /// the texts, so that each text fails by itself; or to an error if the request is
    /// refused as a whole.
    fn predict(&self, request: Request) -> BoxFuture<Result<Vec<Pending>, PredictError>>;
}

/// Tells a worker when nobody wants the results of its batch any more.
///
/// A worker polls it from a thread that runs no futures, and what it asks is different for
/// each batch: whether all callers have left, or whether urgent work waits. So this is a
/// predicate and not a flag that somebody has to set.
#[derive(Clone)]
pub struct CancellationToken(Arc<dyn Fn() -> bool + Send + Sync>);

impl CancellationToken {
    /// A token that is cancelled once `is_cancelled` says so, and from then on.
    pub fn new(is_cancelled: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_cancelled))
    }

    /// A token that is never cancelled.
    pub fn never() -> Self {
        Self::new(|| false)
    }

    /// Whether the work should end.
    pub fn is_cancelled(&self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for CancellationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("CancellationToken");
        debug.field("is_cancelled", &self.is_cancelled()).finish()
    }
}

/// What computes the scores of one revision.
pub trait Scorer: Send + Sync + 'static {
    /// The revision that its answers are made by.
    fn revision(&self) -> &Arc<Revision>;

    /// The most tokens, as estimated and with padding, of a batch that is worth the wait; 1 if
    /// texts are scored no faster together than one by one.
    fn batch_tokens(&self) -> u32 {
        u32::MAX
    }

    /// Scores every text of a batch, in order. This blocks the calling thread, which must
    /// not be one that serves sockets or runs futures.
    ///
    /// Once `cancellation` is cancelled, the call may end early with any error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidText`] with a position in `texts` if the guest refuses one of
    /// them; any other error is one of the whole batch.
    fn score(
        &self,
        texts: &[String],
        cancellation: &CancellationToken,
    ) -> Result<Vec<Scores>, PredictError>;

    /// The same for texts that must not be truncated: one that would be is refused.
    ///
    /// # Errors
    ///
    /// As for [`Self::score`]. A scorer that cannot tell which texts are too long refuses all,
    /// as this does by default.
    fn score_whole(
        &self,
        _: &[String],
        _: &CancellationToken,
    ) -> Result<Vec<Scores>, PredictError> {
        Err(cannot_refuse())
    }
}

/// The error for a text that must not be truncated, of a scorer that cannot tell whether it
/// would be.
#[must_use]
pub fn cannot_refuse() -> PredictError {
    PredictError::new(
        ErrorKind::InvalidText { index: 0 },
        "the guest cannot tell whether a text is too long for the model: allow it to truncate \
         texts",
    )
}

/// Decides which revision answers which text.
///
/// This is not a [`Predictor`], because its requests name no scorer: to choose one is what
/// it is for.
pub trait Router: Send + Sync + 'static {
    /// The revision that is live now.
    fn live(&self) -> Arc<Revision>;

    /// The revisions that answer texts now: the live one, and then any other.
    fn answering(&self) -> Vec<Arc<Revision>> {
        vec![self.live()]
    }

    /// Accepts texts, as [`Predictor::predict`] does. Each [`Answer`] names the revision
    /// that made it; while another one is on trial with a share of the texts, they differ
    /// within one request.
    fn predict(
        &self,
        texts: Vec<String>,
        options: RequestOptions,
    ) -> BoxFuture<Result<Vec<Pending>, PredictError>>;
}
