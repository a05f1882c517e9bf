//! What a single request may ask for.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use service::Limits;

use crate::cli::values::{AT_LEAST_ONE, whole};

/// What a single request may ask for.
#[derive(Args)]
#[command(next_help_heading = "Bounds on requests")]
pub(in crate::cli) struct RequestLimits {
    /// The most texts in one request
    #[arg(
        long,
        env = "FASTSENTIMENT_MAX_TEXTS",
        value_name = "N",
        default_value = "1024",
        value_parser = whole::<NonZeroUsize>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    max_texts: NonZeroUsize,

    /// The longest text, in bytes of UTF-8
    #[arg(
        long,
        env = "FASTSENTIMENT_MAX_TEXT_BYTES",
        value_name = "BYTES",
        default_value = "131072",
        value_parser = whole::<NonZeroUsize>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    max_text_bytes: NonZeroUsize,

    /// The longest that a request may wait for its answer, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_DEADLINE_MS",
        value_name = "MS",
        default_value_t = 30_000,
        value_parser = whole::<u64>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    deadline_ms: u64,
}

impl RequestLimits {
    /// The limits, beside a queue of so many tokens.
    pub(super) fn resolve(&self, queue_tokens: u32) -> Limits {
        Limits {
            max_texts: self.max_texts.get(),
            max_text_bytes: self.max_text_bytes.get(),
            deadline: Duration::from_millis(self.deadline_ms),
            bulk_chunks: bulk_chunks(queue_tokens),
        }
    }
}

/// How many chunks of bulk requests share the queue with other requests: of its
/// tokens, 2,048 count for each at most, and half are for the others.
fn bulk_chunks(queue_tokens: u32) -> usize {
    (queue_tokens / (2 * 2048)).clamp(1, 16) as usize
}
