//! What a guest may take, and when a version is trusted.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;

use crate::cli::values::{AT_LEAST_ONE, whole};

/// What one guest may take.
#[derive(Args)]
#[command(next_help_heading = "Bounds on guests")]
pub(in crate::cli) struct GuestLimits {
    /// The largest guest component, in MiB
    #[arg(
        long,
        env = "FASTSENTIMENT_GUEST_MAX_MIB",
        value_name = "MIB",
        default_value_t = 64,
        value_parser = whole::<u16>(1..=1024),
        hide_short_help = true
    )]
    guest_max_mib: u16,

    /// The largest memory of a guest, in MiB
    #[arg(
        long,
        env = "FASTSENTIMENT_GUEST_MEMORY_MIB",
        value_name = "MIB",
        default_value_t = 512,
        value_parser = whole::<u16>(1..=4096),
        hide_short_help = true
    )]
    guest_memory_mib: u16,

    /// The longest that one call of a guest may take, in milliseconds
    ///
    /// The run of the model counts. It should be well below the deadline of requests,
    /// so that a guest that hangs is found out.
    #[arg(
        long,
        env = "FASTSENTIMENT_GUEST_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 10_000,
        value_parser = whole::<u64>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    guest_timeout_ms: u64,

    /// The longest that preparing a guest may take, in milliseconds
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
    /// The most bytes of a component.
    pub(super) fn component(&self) -> usize {
        usize::from(self.guest_max_mib) << 20
    }

    /// The most bytes of a guest's memory.
    pub(super) fn memory(&self) -> usize {
        usize::from(self.guest_memory_mib) << 20
    }

    pub(super) fn call(&self) -> Duration {
        Duration::from_millis(self.guest_timeout_ms)
    }

    pub(super) fn prepare(&self) -> Duration {
        Duration::from_millis(self.prepare_timeout_ms)
    }
}

/// Which versions there are, and when one is trusted.
#[derive(Args)]
#[command(next_help_heading = "Versions of the guest")]
pub(in crate::cli) struct TrustOptions {
    /// How many versions stay ready, the live one included
    ///
    /// Those in use longest ago are forgotten.
    #[arg(
        long,
        env = "FASTSENTIMENT_KEEP_VERSIONS",
        value_name = "N",
        default_value = "5",
        value_parser = whole::<NonZeroUsize>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    keep_versions: NonZeroUsize,

    /// How long a version that was made live is on probation, in seconds
    ///
    /// While it is, a text that it fails on is answered by the version that was trusted
    /// last.
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
    /// A time-out counts as three. After one more it is taken out of use, and the
    /// version that was trusted last is live again.
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

    pub(super) fn rollout(&self) -> rollout::Options {
        rollout::Options {
            probation: Duration::from_secs(self.probation_s),
            failures: self.probation_failures,
        }
    }
}
