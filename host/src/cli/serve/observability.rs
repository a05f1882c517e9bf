//! Logging and metrics options of `serve`.

use clap::{ArgAction, Args};

/// What a server logs of its requests, and where its metrics are.
#[derive(Args)]
pub(in crate::cli) struct ObservabilityOptions {
    /// Log a line for each finished request
    ///
    /// The line has the method, path, status, duration and number of texts, and nothing
    /// of the texts themselves. It costs a request a few microseconds.
    #[arg(
        long,
        env = "FASTSENTIMENT_LOG_REQUESTS",
        value_name = "BOOL",
        default_value_t = false,
        num_args = 0..=1,
        default_missing_value = "true",
        action = ArgAction::Set,
        help_heading = "Logging",
        hide_short_help = true
    )]
    pub(in crate::cli) log_requests: bool,

    /// Serve `/metrics` on the main listener as well
    ///
    /// There, every client can read it.
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
    pub(in crate::cli) public_metrics: bool,
}
