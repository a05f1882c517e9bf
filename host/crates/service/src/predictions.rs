//! The answer to a request, collected from the answers to its texts.

use std::sync::Arc;
use std::time::Duration;

use predictor::{Answer, Revision, Scores, Source, Work};

/// The answer to a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// One entry for each text, in the order of the texts.
    pub scores: Vec<Scores>,
    /// The revisions that made them: nearly always just the live one, which is also named
    /// if there was no text.
    pub revisions: Vec<Arc<Revision>>,
    /// How many of the texts were answered from the cache.
    pub hits: usize,
    /// How long it took until each text was found in the cache or queued.
    pub lookup: Duration,
    /// The work for the texts that were computed: the longest of each time.
    pub work: Option<Work>,
}

impl Predictions {
    /// For this many texts, none of which is answered yet.
    pub(super) fn of(texts: usize, lookup: Duration) -> Self {
        Self {
            scores: Vec::with_capacity(texts),
            lookup,
            ..Self::default()
        }
    }

    /// Adds the answer to the next text.
    pub(super) fn add(&mut self, answer: Answer) {
        self.hits += usize::from(answer.source != Source::Computed);
        if let Some(work) = answer.work {
            self.work = Some(self.work.unwrap_or_default().max(work));
        }
        self.scores.push(answer.scores);
        if !self.revisions.contains(&answer.revision) {
            self.revisions.push(answer.revision);
        }
    }
}
