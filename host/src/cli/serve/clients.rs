//! Limits on clients of `serve`.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use http::HttpConfig;

use crate::cli::values::{AT_LEAST_ONE, AT_LEAST_ONE_32, OptionalOrigin, optional_origin, whole};

/// Limits on clients and their connections.
#[derive(Args)]
#[command(next_help_heading = "Client limits")]
pub(super) struct ClientLimits {
    /// Maximum size of a request body, in bytes
    #[arg(
        long,
        env = "FASTSENTIMENT_MAX_BODY_BYTES",
        value_name = "BYTES",
        default_value_t = HttpConfig::default().max_body_bytes,
        value_parser = whole::<usize>(0..=u64::MAX),
        hide_short_help = true
    )]
    pub(super) max_body_bytes: usize,

    /// Memory for the bodies of all requests in flight, in MiB
    ///
    /// Requests beyond that are rejected with status 503.
    #[arg(
        long,
        env = "FASTSENTIMENT_BODY_MEMORY_MIB",
        value_name = "MIB",
        default_value_t = 256,
        value_parser = whole::<u32>(AT_LEAST_ONE_32),
        hide_short_help = true
    )]
    pub(super) body_memory_mib: u32,

    /// Maximum number of open connections
    ///
    /// When they are all open, a new client gets the place of the one that has been without
    /// a request for longest.
    #[arg(
        long,
        env = "FASTSENTIMENT_MAX_CONNECTIONS",
        value_name = "N",
        default_value = "4096",
        value_parser = whole::<NonZeroUsize>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    pub(super) max_connections: NonZeroUsize,

    /// Time limit for receiving the headers of a connection's first request, in
    /// milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_HEADER_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 10_000,
        value_parser = whole::<u64>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    pub(super) header_timeout_ms: u64,

    /// Time limit for receiving the body of a request, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_BODY_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 30_000,
        value_parser = whole::<u64>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    pub(super) body_timeout_ms: u64,

    /// How long an idle connection stays open, in milliseconds
    ///
    /// Set it higher than the idle timeout of a load balancer in front of the server.
    #[arg(
        long,
        env = "FASTSENTIMENT_IDLE_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 75_000,
        value_parser = whole::<u64>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    pub(super) idle_timeout_ms: u64,

    /// Origins of web pages that may call the API from a browser (CORS) [default: none]
    ///
    /// For example `https://example.org`, or `*` for all. Separate several with commas.
    #[arg(
        long,
        env = "FASTSENTIMENT_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = optional_origin,
        hide_short_help = true
    )]
    pub(super) cors_origin: Vec<OptionalOrigin>,
}

impl ClientLimits {
    pub(super) fn connections(&self) -> connection::Config {
        connection::Config {
            header_timeout: Duration::from_millis(self.header_timeout_ms),
            body_timeout: Duration::from_millis(self.body_timeout_ms),
            idle_timeout: Duration::from_millis(self.idle_timeout_ms),
            ..connection::Config::default()
        }
    }

    pub(super) fn http(&self) -> HttpConfig {
        let origins = self
            .cors_origin
            .iter()
            .filter_map(|origin| origin.0.clone());
        HttpConfig {
            max_body_bytes: self.max_body_bytes,
            body_memory: (self.body_memory_mib as usize).saturating_mul(1024 * 1024),
            body_timeout: Duration::from_millis(self.body_timeout_ms),
            cors_origins: origins.collect(),
            ..HttpConfig::default()
        }
    }

    /// An error if the limits conflict with each other.
    pub(super) fn conflict(&self) -> Option<String> {
        let http = self.http();
        // A request needs a little more memory than its body.
        let has_room = http.max_body_bytes < http.body_memory;
        (!has_room).then(|| {
            format!(
                "--body-memory-mib {} is too small for one body of --max-body-bytes {}",
                self.body_memory_mib, self.max_body_bytes,
            )
        })
    }
}
