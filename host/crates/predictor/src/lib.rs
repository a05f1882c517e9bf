//! The vocabulary that the layers share: texts in, scores out, and the kinds
//! of failure that a caller can act on.
//!
//! This module must not know how a prediction is made, how it is transported,
//! or what any layer looks like inside: it imports none of them.

pub mod contract;
mod model;
mod revision;

pub use model::{Activation, ModelCard, Side};
pub use revision::{Digest, DigestError, Revision};

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A label of the model and how strongly a text speaks for it.
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
    /// What was done for it, if it was computed.
    pub work: Option<Work>,
}

/// How long an answer was worked on. That may have begun for another request, before
/// the one that it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// How long the text waited for a worker.
    pub queued: Duration,
    /// How long the batch took that it was in, guest and model included.
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
    /// It was computed for this request, or for another one that asked for the
    /// same text at the same time.
    Computed,
    /// It was kept in this process.
    Memory,
    /// It was kept where several processes share it.
    Shared,
}

/// What went wrong, in the terms on which a caller can act. Only the HTTP edge
/// turns a kind into a status.
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
    /// The guest refuses this text.
    InvalidText {
        /// The text's position in what was asked for, from 0: in a batch, if a
        /// [`Scorer`] says it, and in the request when it reaches its caller.
        index: usize,
    },
    /// More work is queued than may be.
    Overloaded {
        /// When what is queued before a newcomer will be done, at the speed of
        /// late.
        retry_after: Duration,
    },
    /// The answer was not ready within the deadline.
    TimedOut,
    /// No guest or no model can serve just now.
    Unavailable,
    /// The guest or the model failed on this request.
    Failed,
}

/// A failure with two texts: one that is safe to show to a client, and one
/// for the log that may name internals.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct PredictError {
    /// What a caller can do about it.
    pub kind: ErrorKind,
    /// For the client: what was wrong and what is allowed; no internals.
    pub message: String,
    /// For the log only.
    pub detail: Option<String>,
}

impl PredictError {
    /// An error whose client text says everything there is to say.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            detail: None,
        }
    }

    /// Adds what only the log may see.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// How a request may be answered from what is kept of earlier answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caching {
    /// Kept answers are used, and new ones are kept.
    #[default]
    Use,
    /// Every text is computed anew, and the answers are kept.
    Renew,
    /// Nothing kept is used, and nothing of this request is kept.
    Bypass,
}

/// Whose work comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for the answers.
    #[default]
    Live,
    /// Nobody does: it is done when there is nothing else to do, and given up
    /// as soon as there is.
    Background,
}

/// Texts to be scored by one version.
#[derive(Clone)]
pub struct Request {
    /// The texts, in the order in which the answers are wanted.
    pub texts: Vec<String>,
    /// What scores them, even if another version goes live meanwhile.
    pub scorer: Arc<dyn Scorer>,
    /// What may be done with kept answers.
    pub caching: Caching,
    /// Whether anybody waits.
    pub priority: Priority,
}

/// An answer that may not be there yet. Dropping it says that nobody waits for
/// it: work that has not begun is then not done, and work that has is ended as
/// soon as nobody wants any of its results.
pub enum Pending {
    /// It is there.
    Ready(Answer),
    /// It is being made.
    Later(BoxFuture<Result<Answer, PredictError>>),
}

/// A future that can be moved between threads, of unknown type.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A layer that answers texts with scores. Layers are stacked: each holds the
/// one below it as an `Arc<dyn Predictor>` and knows nothing else of it.
pub trait Predictor: Send + Sync + 'static {
    /// Takes a request on. It resolves to one [`Pending`] for each text, in
    /// the order of the texts, so that a text which fails fails alone; or to an
    /// error if nothing of the request is taken on.
    fn predict(&self, request: Request) -> BoxFuture<Result<Vec<Pending>, PredictError>>;
}

/// Tells, whenever it is called, whether nobody wants the answers of a batch any
/// more.
pub type Abandoned = Arc<dyn Fn() -> bool + Send + Sync>;

/// One version of what computes scores.
pub trait Scorer: Send + Sync + 'static {
    /// What its answers are known by.
    fn revision(&self) -> &Arc<Revision>;

    /// Scores every text of a batch, in order. This blocks the calling thread,
    /// which must not be one that serves sockets or runs futures.
    ///
    /// Once it is `abandoned`, the call may end early with any error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidText`] with a position in `texts` if one of them is
    /// to blame; any other error is one of the whole batch.
    fn score(&self, texts: &[String], abandoned: &Abandoned) -> Result<Vec<Scores>, PredictError>;
}

/// What decides which version answers which text.
pub trait Router: Send + Sync + 'static {
    /// The version that is live now.
    fn live(&self) -> Arc<Revision>;

    /// Takes texts on, as [`Predictor::predict`] does. Each [`Answer`] names the
    /// version that made it: where a share of the texts is on trial with another
    /// version, they need not be the same for all.
    fn predict(
        &self,
        texts: Vec<String>,
        caching: Caching,
    ) -> BoxFuture<Result<Vec<Pending>, PredictError>>;
}
