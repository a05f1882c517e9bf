//! When texts are refused, and when to try again.

use std::time::Duration;

use super::{Shared, State};
use predictor::{Client, Priority};

/// The longest `retry_after` that is suggested.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How many estimated tokens may wait in the background: at least a second of one worker's
/// time. Work that would wait longer is dropped instead.
const BACKGROUND_TOKENS: u64 = 8192;

impl Shared {
    pub(super) fn is_full(&self, state: &State, priority: Priority, client: Client) -> bool {
        match priority {
            Priority::Live => state.queue.is_full(client, self.options.queue_tokens),
            // Not the load: this bounds memory and age.
            Priority::Background => state.background.tokens() >= BACKGROUND_TOKENS,
        }
    }

    /// When a request that arrives now would have its turn.
    pub(super) fn retry_after(&self, state: &mut State, priority: Priority) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = state.queue_of(priority).load() as f64
            / (state.tokens_per_second * self.options.workers.max(1) as f64);
        Duration::try_from_secs_f64(seconds)
            .map_or(MAX_RETRY_AFTER, |time| time.min(MAX_RETRY_AFTER))
    }
}
