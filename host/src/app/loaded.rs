//! A revision that is loaded, as the layers above call it.

use std::sync::Arc;

use predictor::{CancellationToken, PredictError, Revision, Scorer, Scores};
use sandbox::Guest;

use super::loader::LoadedModel;

/// A guest and its model.
pub(super) struct LoadedRevision {
    pub(super) guest: Arc<Guest>,
    pub(super) batch_tokens: u32,
    /// So that other guests find it.
    #[expect(dead_code, reason = "it is only kept")]
    pub(super) model: Arc<LoadedModel>,
}

impl Scorer for LoadedRevision {
    fn revision(&self) -> &Arc<Revision> {
        self.guest.revision()
    }

    fn batch_tokens(&self) -> u32 {
        self.batch_tokens
    }

    fn score(
        &self,
        texts: &[String],
        cancellation: &CancellationToken,
    ) -> Result<Vec<Scores>, PredictError> {
        self.guest.score(texts, cancellation)
    }

    fn score_whole(
        &self,
        texts: &[String],
        cancellation: &CancellationToken,
    ) -> Result<Vec<Scores>, PredictError> {
        self.guest.score_whole(texts, cancellation)
    }
}
