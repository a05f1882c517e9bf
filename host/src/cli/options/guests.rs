//! Limits on guests, and when a new version is trusted.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;

use crate::cli::values::{AT_LEAST_ONE, AT_LEAST_ONE_32, whole};

/// Limits on one guest.
#[derive(Args)]
#[command(next_help_heading = "Guest limits")]
pub(in crate::cli) struct GuestLimits {
    /// Maximum size of a guest component, in MiB
    #[arg(
        long,
        env = "FASTSENTIMENT_GUEST_MAX_MIB",
        value_name = "MIB",
        default_value_t = 64,
        value_parser = whole::<u16>(1..=1024),
        hide_short_help = true
    )]
    guest_max_mib: u16,

    /// Maximum size of a model that is uploaded, in MiB
    #[arg(
        long,
        env = "FASTSENTIMENT_MODEL_MAX_MIB",
        value_name = "MIB",
        default_value_t = 4096,
        value_parser = whole::<u32>(AT_LEAST_ONE_32),
        hide_short_help = true
    )]
    model_max_mib: u32,

    /// Maximum memory of a guest, in MiB
    #[arg(
        long,
        env = "FASTSENTIMENT_GUEST_MEMORY_MIB",
        value_name = "MIB",
        default_value_t = 512,
        value_parser = whole::<u16>(1..=4096),
        hide_short_help = true
    )]
    guest_memory_mib: u16,

    /// Time limit for one call of a guest, in milliseconds
    ///
    /// It includes inference. Keep it well below --deadline-ms, so that a guest that hangs
    /// is detected before requests time out.
    #[arg(
        long,
        env = "FASTSENTIMENT_GUEST_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 10_000,
        value_parser = whole::<u64>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    guest_timeout_ms: u64,

    /// Time limit for preparing a guest, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_PREPARE_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 60_000,
        value_parser = whole::<u64>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    prepare_timeout_ms: u64,
}

impl GuestLimits {
    /// The maximum size of a component, in bytes.
    pub(super) fn component(&self) -> usize {
        usize::from(self.guest_max_mib) << 20
    }

    /// The maximum size of a model that is uploaded, in bytes.
    pub(super) fn model(&self) -> u64 {
        u64::from(self.model_max_mib) << 20
    }

    /// The maximum memory of a guest, in bytes.
    pub(super) fn memory(&self) -> usize {
        usize::from(self.guest_memory_mib) << 20
    }

    /// The time limit for one call.
    pub(super) fn call(&self) -> Duration {
        Duration::from_millis(self.guest_timeout_ms)
    }

    /// The time limit for `prepare`.
    pub(super) fn prepare(&self) -> Duration {
        Duration::from_millis(self.prepare_timeout_ms)
    }
}

/// How many versions are kept, and when a new one is trusted.
#[derive(Args)]
#[command(next_help_heading = "Guest versions")]
pub(in crate::cli) struct TrustOptions {
    /// How many versions to keep ready, including the live one
    ///
    /// Beyond that, the least recently used are removed.
    #[arg(
        long,
        env = "FASTSENTIMENT_KEEP_VERSIONS",
        value_name = "N",
        default_value = "5",
        value_parser = whole::<NonZeroUsize>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    keep_versions: NonZeroUsize,

    /// How many models to keep loaded, including the live one
    ///
    /// A version can be gone back to only while its model is loaded. More are loaded only
    /// while more are in use, and fewer if there is no room for another one.
    #[arg(
        long,
        env = "FASTSENTIMENT_KEEP_MODELS",
        value_name = "N",
        default_value = "2",
        value_parser = whole::<NonZeroUsize>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    keep_models: NonZeroUsize,

    /// How long a version is on probation after it is made live, in seconds
    ///
    /// During probation, a text that the version fails on is answered by the last trusted
    /// version.
    #[arg(
        long,
        env = "FASTSENTIMENT_PROBATION_S",
        value_name = "S",
        default_value_t = 300,
        value_parser = whole::<u64>(0..=u64::MAX),
        hide_short_help = true
    )]
    probation_s: u64,

    /// How many calls of a version on probation or on trial may fail
    ///
    /// A timeout counts as three failures. One more failure, and the version is
    /// quarantined and the last trusted version is live again.
    #[arg(
        long,
        env = "FASTSENTIMENT_PROBATION_FAILURES",
        value_name = "N",
        default_value_t = 4,
        value_parser = whole::<u32>(0..=u32::MAX.into()),
        hide_short_help = true
    )]
    probation_failures: u32,
}

impl TrustOptions {
    pub(super) fn keep(&self) -> usize {
        self.keep_versions.get()
    }

    pub(super) fn keep_models(&self) -> usize {
        self.keep_models.get()
    }

    pub(super) fn rollout(&self) -> rollout::Options {
        rollout::Options {
            probation: Duration::from_secs(self.probation_s),
            failures: self.probation_failures,
        }
    }
}
