//! What people call revisions: what somebody says when a revision is added, and otherwise what
//! its component calls itself.

use std::sync::Arc;

use super::{Added, Loaded, RevisionError};
use predictor::{CancellationToken, PredictError, Revision, RevisionName, Scorer, Scores};

/// A revision under a name that somebody has given it.
struct Called {
    scorer: Arc<dyn Scorer>,
    revision: Arc<Revision>,
}

/// A revision under `name`, if there is one.
pub(super) fn called(loaded: Loaded, name: Option<&RevisionName>) -> Loaded {
    let revision = loaded.scorer.revision();
    if name.is_none() || name == revision.name() {
        return loaded;
    }
    let revision = Arc::new(Revision::clone(revision).named(name.cloned()));
    let scorer = loaded.scorer;
    Loaded {
        scorer: Arc::new(Called { scorer, revision }),
        ..loaded
    }
}

/// Refuses to call a revision by another name than it has: answers in flight carry that.
pub(super) fn keeps(added: Added, name: Option<&RevisionName>) -> Result<Added, RevisionError> {
    let known = added.revision.name();
    if name.is_none() || name == known {
        return Ok(added);
    }
    Err(RevisionError::OtherName {
        revision: added.revision.short(),
        name: known.cloned(),
    })
}

impl Scorer for Called {
    fn revision(&self) -> &Arc<Revision> {
        &self.revision
    }

    fn batch_tokens(&self) -> u32 {
        self.scorer.batch_tokens()
    }

    fn score(
        &self,
        texts: &[String],
        cancellation: &CancellationToken,
    ) -> Result<Vec<Scores>, PredictError> {
        self.scorer.score(texts, cancellation)
    }

    fn score_whole(
        &self,
        texts: &[String],
        cancellation: &CancellationToken,
    ) -> Result<Vec<Scores>, PredictError> {
        self.scorer.score_whole(texts, cancellation)
    }
}
