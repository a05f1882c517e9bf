//! How a server stops.

use clap::Args;

use crate::cli::values::whole;

/// How a server stops.
#[derive(Args)]
#[command(next_help_heading = "Shutdown")]
pub(super) struct ShutdownOptions {
    /// How long to keep accepting requests after SIGTERM, in milliseconds
    ///
    /// Meanwhile `/health/ready` answers with status 503, so that load balancers notice.
    #[arg(
        long,
        env = "FASTSENTIMENT_DRAIN_DELAY_MS",
        value_name = "MS",
        default_value_t = 0,
        value_parser = whole::<u64>(0..=u64::MAX),
        hide_short_help = true
    )]
    pub(super) drain_delay_ms: u64,

    /// How long to wait after that for requests in flight, in milliseconds
    ///
    /// During this time no new connections are accepted.
    #[arg(
        long,
        env = "FASTSENTIMENT_DRAIN_MS",
        value_name = "MS",
        default_value_t = 25_000,
        value_parser = whole::<u64>(0..=u64::MAX),
        hide_short_help = true
    )]
    pub(super) drain_ms: u64,
}
