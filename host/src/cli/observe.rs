//! What a server tells of its requests beside the answers.

use clap::{ArgAction, Args};

/// Lines and figures about requests.
#[derive(Args)]
pub(super) struct ObserveOptions {
    /// Whether a line is logged about each request that has ended
    ///
    /// Its method, path, status, duration, and how many texts it had; nothing of a text.
    /// It costs some microseconds of a request.
    #[arg(
        long,
        env = "FASTSENTIMENT_LOG_REQUESTS",
        value_name = "BOOL",
        default_value_t = false,
        num_args = 0..=1,
        default_missing_value = "true",
        action = ArgAction::Set,
        help_heading = "Log",
        hide_short_help = true
    )]
    pub(super) log_requests: bool,

    /// Whether `/metrics` is on the main listener as well
    ///
    /// There it is for everybody who reaches it.
    #[arg(
        long,
        env = "FASTSENTIMENT_PUBLIC_METRICS",
        value_name = "BOOL",
        default_value_t = false,
        num_args = 0..=1,
        default_missing_value = "true",
        action = ArgAction::Set,
        help_heading = "Listeners",
        hide_short_help = true
    )]
    pub(super) public_metrics: bool,
}
