//! The vocabulary that the layers share: texts in, scores out, and the kinds
//! of failure that a caller can act on.
//!
//! This module must not know how a prediction is made, how it is transported,
//! or what any layer looks like inside: it imports none of them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A label of the model and how strongly a text speaks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The label's name, as the model's configuration spells it.
    pub label: String,
    /// A probability in `0.0..=1.0`.
    pub score: f32,
}

/// What made an answer: two answers of equal versions are comparable, and an
/// answer may be kept only under the version that made it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// SHA-256 of the guest component's bytes.
    pub guest: Digest,
    /// SHA-256 over the model directory's files.
    pub model: Digest,
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The first 12 hexadecimal digits: enough to tell versions apart in a
    /// header or a log line.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The answer to one call: one list of scores per text, in the order of the
/// texts, each with every label, highest score first.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// One entry per text.
    pub scores: Vec<Vec<Score>>,
    /// The version that made these answers.
    pub version: Arc<Version>,
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
        /// The text's position in the request, from 0.
        index: usize,
    },
    /// More work is queued than may be; try again later.
    Overloaded,
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

/// What a prediction resolves to.
pub type PredictResult = Result<Predictions, PredictError>;

/// A layer that answers texts with scores. Layers are stacked: each holds the
/// one below it as an `Arc<dyn Predictor>` and knows nothing else of it.
pub trait Predictor: Send + Sync + 'static {
    /// Scores every text. Dropping the future abandons the request: work that
    /// has not begun is not done.
    fn predict(
        &self,
        texts: Vec<String>,
    ) -> Pin<Box<dyn Future<Output = PredictResult> + Send + '_>>;
}
