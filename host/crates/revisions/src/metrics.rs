//! Metrics of the registry.

use std::time::{Duration, SystemTime};

use prometheus::{
    Gauge, Histogram, IntCounterVec, IntGauge, Registry, exponential_buckets,
    register_gauge_with_registry, register_histogram_with_registry,
    register_int_counter_vec_with_registry, register_int_gauge_with_registry,
};

use super::RevisionError;

/// What made a revision live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// The configured guest's file has changed.
    File,
    /// Somebody asked to read the configured guest again.
    Signal,
    /// Somebody chose the revision.
    Api,
    /// Somebody asked to go back.
    Rollback,
    /// The revision before failed.
    Automatic,
}

impl Trigger {
    const ALL: [Self; 5] = [
        Self::File,
        Self::Signal,
        Self::Api,
        Self::Rollback,
        Self::Automatic,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Signal => "signal",
            Self::Api => "api",
            Self::Rollback => "rollback",
            Self::Automatic => "automatic",
        }
    }
}

/// The instruments of the registry.
pub struct Metrics {
    swaps: IntCounterVec,
    last_swap: Gauge,
    candidates: IntCounterVec,
    load_seconds: Histogram,
    known: IntGauge,
    models: IntGauge,
    quarantined: IntGauge,
    unserved: IntGauge,
    in_sync: IntGauge,
    generation: IntGauge,
    last_fetch: Gauge,
}

/// What the registry holds.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) revisions: usize,
    pub(super) models: usize,
    pub(super) quarantined: usize,
    /// Whether the configured guest cannot be served.
    pub(super) is_unserved: bool,
    /// Whether what is in use is what is declared.
    pub(super) is_in_sync: bool,
    /// The generation of the rollout file; 0 without one.
    pub(super) generation: u64,
    /// When what the rollout file names was last there.
    pub(super) last_fetch: Option<SystemTime>,
}

impl Metrics {
    /// Registers the instruments.
    ///
    /// # Errors
    ///
    /// If a metric of one of these names is registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let swaps = register_int_counter_vec_with_registry!(
            "fastsentiment_swaps_total",
            "Versions that were made live in the place of another one, by what asked for it.",
            &["trigger"],
            registry
        )?;
        for trigger in Trigger::ALL {
            swaps.with_label_values(&[trigger.name()]);
        }
        let candidates = register_int_counter_vec_with_registry!(
            "fastsentiment_candidates_total",
            "Components that were to become versions, by outcome: ready, known already, or \
             the step at which they were refused.",
            &["outcome"],
            registry
        )?;
        // Created with 0, so that the first event of a kind is an increase. The steps of a
        // load belong to the loader, and appear when one has failed.
        for outcome in ["ready", "known", "read", "quarantined", "failed"] {
            candidates.with_label_values(&[outcome]);
        }
        Ok(Self {
            swaps,
            last_swap: register_gauge_with_registry!(
                "fastsentiment_last_swap_timestamp_seconds",
                "When another version was made live last, in seconds since 1970; 0 if none was.",
                registry
            )?,
            candidates,
            // 1 millisecond to 2 minutes.
            load_seconds: register_histogram_with_registry!(
                "fastsentiment_candidate_load_duration_seconds",
                "How long loading and testing a component took that was not known.",
                exponential_buckets(0.001, 2.0, 18)?,
                registry
            )?,
            known: register_int_gauge_with_registry!(
                "fastsentiment_known_versions",
                "Versions that are ready to be made live, the live one included.",
                registry
            )?,
            models: register_int_gauge_with_registry!(
                "fastsentiment_loaded_models",
                "Models that versions have loaded, the live one's included.",
                registry
            )?,
            quarantined: register_int_gauge_with_registry!(
                "fastsentiment_quarantined_guests",
                "Guests that have failed in use and are kept out of it, known or not.",
                registry
            )?,
            unserved: register_int_gauge_with_registry!(
                "fastsentiment_configured_guest_unserved",
                "1 while the configured guest cannot be served, and another version is; 0 \
                 otherwise.",
                registry
            )?,
            in_sync: register_int_gauge_with_registry!(
                "fastsentiment_rollout_in_sync",
                "1 while what is in use is what the rollout file declares, or, without one, \
                 while the configured guest can be served; 0 otherwise.",
                registry
            )?,
            generation: register_int_gauge_with_registry!(
                "fastsentiment_rollout_generation",
                "The generation of the rollout file that is followed; 0 without one.",
                registry
            )?,
            last_fetch: register_gauge_with_registry!(
                "fastsentiment_last_fetch_timestamp_seconds",
                "When an artifact that the rollout file names was last pulled, or found to be \
                 here, in seconds since 1970; 0 if none was.",
                registry
            )?,
        })
    }

    pub(super) fn swapped(&self, trigger: Trigger) {
        self.swaps.with_label_values(&[trigger.name()]).inc();
        self.last_swap.set(seconds(SystemTime::now()));
    }

    /// Records a candidate. Its labels are few, because steps are named by the host.
    pub(super) fn candidate(&self, outcome: Result<&'static str, &RevisionError>) {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(RevisionError::Refused(refusal)) => refusal.step,
            Err(RevisionError::Unreadable { .. }) => "read",
            Err(RevisionError::Quarantined { .. }) => "quarantined",
            Err(_) => "failed",
        };
        self.candidates.with_label_values(&[outcome]).inc();
    }

    pub(super) fn loaded(&self, took: Duration) {
        self.load_seconds.observe(took.as_secs_f64());
    }

    #[expect(
        clippy::cast_possible_wrap,
        reason = "generations beyond 2^63 are as good as negative ones"
    )]
    pub(super) fn hold(&self, held: Held) {
        self.known.set(held.revisions as i64);
        self.models.set(held.models as i64);
        self.quarantined.set(held.quarantined as i64);
        self.unserved.set(held.is_unserved.into());
        self.in_sync.set(held.is_in_sync.into());
        self.generation.set(held.generation as i64);
        self.last_fetch.set(held.last_fetch.map_or(0.0, seconds));
    }
}

/// Since 1970.
fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
