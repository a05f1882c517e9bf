//! When texts are refused, and when they may be offered again.

use std::time::Duration;

use super::{Shared, State};
use predictor::{Client, ErrorKind, PredictError, Priority};

/// The longest `retry_after` that is suggested.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Work in the background is accepted while fewer estimated tokens wait there: at least a second
/// of one worker's time. What would wait longer is dropped instead.
const BACKGROUND_TOKENS: u64 = 8192;

impl Shared {
    /// Refuses a request if too much work is waiting.
    pub(super) fn admit(
        &self,
        state: &State,
        priority: Priority,
        client: Client,
    ) -> Result<(), PredictError> {
        if !self.is_full(state, priority, client) {
            return Ok(());
        }
        if priority == Priority::Live {
            self.metrics.refused.inc();
        }
        let retry_after = self.retry_after(state);
        Err(PredictError::new(
            ErrorKind::Overloaded { retry_after },
            "more texts are waiting than may wait; try again later",
        ))
    }

    fn is_full(&self, state: &State, priority: Priority, client: Client) -> bool {
        match priority {
            Priority::Live => state.queue.is_full(client, self.options.queue_tokens),
            // Not the load: this bounds memory and age.
            Priority::Background => state.background.tokens() >= BACKGROUND_TOKENS,
        }
    }

    /// When a request that arrives now would have its turn. (Nobody asks for work in the
    /// background again.)
    fn retry_after(&self, state: &State) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = state.queue.load() as f64
            / (state.tokens_per_second * self.options.workers.max(1) as f64);
        Duration::try_from_secs_f64(seconds)
            .map_or(MAX_RETRY_AFTER, |time| time.min(MAX_RETRY_AFTER))
    }
}
