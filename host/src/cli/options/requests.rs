//! Limits on a single request.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use service::Limits;

use crate::cli::values::{AT_LEAST_ONE, whole};

/// Limits on a single request.
#[derive(Args)]
#[command(next_help_heading = "Request limits")]
pub(in crate::cli) struct RequestLimits {
    /// Maximum number of texts in one request
    #[arg(
        long,
        env = "FASTSENTIMENT_MAX_TEXTS",
        value_name = "N",
        default_value = "1024",
        value_parser = whole::<NonZeroUsize>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    max_texts: NonZeroUsize,

    /// Maximum length of a text, in bytes of UTF-8
    #[arg(
        long,
        env = "FASTSENTIMENT_MAX_TEXT_BYTES",
        value_name = "BYTES",
        default_value = "131072",
        value_parser = whole::<NonZeroUsize>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    max_text_bytes: NonZeroUsize,

    /// Time limit for answering a request, in milliseconds
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
    /// The limits of the service, given how many tokens its queue holds.
    pub(super) fn resolve(&self, queue_tokens: u32) -> Limits {
        Limits {
            max_texts: self.max_texts.get(),
            max_text_bytes: self.max_text_bytes.get(),
            deadline: Duration::from_millis(self.deadline_ms),
            bulk_chunks: bulk_chunks(queue_tokens),
        }
    }
}

/// How many chunks of bulk requests may be queued at once. A chunk counts as at most
/// 2,048 tokens, and half of the queue is left to other requests.
fn bulk_chunks(queue_tokens: u32) -> usize {
    (queue_tokens / (2 * 2048)).clamp(1, 16) as usize
}
