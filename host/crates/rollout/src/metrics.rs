//! Metrics of the rollout. Each revision has its own instruments, looked up once, until it
//! is forgotten; so their number is bounded by the number of known revisions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::{
    GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Registry,
    register_gauge_vec_with_registry, register_histogram_vec_with_registry,
    register_int_counter_vec_with_registry, register_int_counter_with_registry,
    register_int_gauge_vec_with_registry,
};

use super::{Share, TrialKind};
use predictor::Revision;

/// The instruments of the rollout.
pub struct Metrics {
    pub(super) demotions: IntCounter,
    texts: IntCounterVec,
    failures: IntCounterVec,
    rescued: IntCounterVec,
    shadow: IntCounterVec,
    difference: HistogramVec,
    live: IntGaugeVec,
    share: GaugeVec,
    revisions: Mutex<HashMap<Revision, Arc<Counters>>>,
}

/// The instruments of one revision.
pub(super) struct Counters {
    pub(super) texts: IntCounter,
    pub(super) failures: IntCounter,
    pub(super) rescued: IntCounter,
    pub(super) agreed: IntCounter,
    pub(super) differed: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) skipped: IntCounter,
    pub(super) difference: Histogram,
}

/// The values of the label `result` of a shadow's texts.
const RESULTS: [&str; 4] = ["agreed", "differed", "failed", "skipped"];

impl Metrics {
    /// Registers the instruments.
    ///
    /// # Errors
    ///
    /// If a metric of one of these names is registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            demotions: register_int_counter_with_registry!(
                "fastsentiment_version_falls_total",
                "Versions that were taken out of use because they failed too often.",
                registry
            )?,
            texts: register_int_counter_vec_with_registry!(
                "fastsentiment_version_texts_total",
                "Texts that a version has scored.",
                &["guest", "revision"],
                registry
            )?,
            failures: register_int_counter_vec_with_registry!(
                "fastsentiment_version_failures_total",
                "Calls of a version that failed, by a trap, a time-out or a bad answer.",
                &["guest", "revision"],
                registry
            )?,
            rescued: register_int_counter_vec_with_registry!(
                "fastsentiment_version_rescued_texts_total",
                "Texts that were meant for a version and answered by the one that was trusted \
                 last, or by the live one, because the version failed.",
                &["guest", "revision"],
                registry
            )?,
            shadow: register_int_counter_vec_with_registry!(
                "fastsentiment_shadow_texts_total",
                "Texts for a version in the shadow: those for which it had the same label \
                 first as the live version, those for which it had not, those that it \
                 failed on, and those that were left out for live work.",
                &["guest", "result", "revision"],
                registry
            )?,
            difference: register_histogram_vec_with_registry!(
                "fastsentiment_shadow_score_difference",
                "For each text that a version in the shadow has scored, the largest \
                 difference to a score of the live version.",
                &["guest", "revision"],
                vec![0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
                registry
            )?,
            live: register_int_gauge_vec_with_registry!(
                "fastsentiment_live_version_info",
                "The version that is live, always 1.",
                &["configuration", "guest", "model", "name", "revision"],
                registry
            )?,
            share: register_gauge_vec_with_registry!(
                "fastsentiment_trial_share_ratio",
                "The share of the texts that a version on trial is given.",
                &["guest", "revision", "trial"],
                registry
            )?,
            revisions: Mutex::default(),
        })
    }

    /// The instruments of a revision.
    pub(super) fn of(&self, revision: &Revision) -> Arc<Counters> {
        let mut revisions = self.revisions();
        if let Some(counters) = revisions.get(revision) {
            return Arc::clone(counters);
        }
        let [guest, name] = labels(revision);
        let count = |family: &IntCounterVec| family.with_label_values(&[&guest, &name]);
        let result = |at| {
            let result: &str = RESULTS[at];
            self.shadow
                .with_label_values(&[guest.as_str(), result, name.as_str()])
        };
        let counters = Arc::new(Counters {
            texts: count(&self.texts),
            failures: count(&self.failures),
            rescued: count(&self.rescued),
            agreed: result(0),
            differed: result(1),
            failed: result(2),
            skipped: result(3),
            difference: self.difference.with_label_values(&[&guest, &name]),
        });
        revisions.insert(revision.clone(), Arc::clone(&counters));
        counters
    }

    /// The instruments of a revision, if it has any.
    pub(super) fn known(&self, revision: &Revision) -> Option<Arc<Counters>> {
        self.revisions().get(revision).map(Arc::clone)
    }

    /// Removes the series of a revision. Counts that are still held go nowhere.
    pub(super) fn forget(&self, revision: &Revision) {
        let mut revisions = self.revisions();
        if revisions.remove(revision).is_none() {
            return;
        }
        let [guest, name] = labels(revision);
        // They are there, since the revision was known.
        for family in [&self.texts, &self.failures, &self.rescued] {
            let _ = family.remove_label_values(&[&guest, &name]);
        }
        for result in RESULTS {
            let of_result = [guest.as_str(), result, name.as_str()];
            let _ = self.shadow.remove_label_values(&of_result);
        }
        let _ = self.difference.remove_label_values(&[&guest, &name]);
    }

    pub(super) fn record_live(&self, before: Option<&Revision>, live: &Revision) {
        let labels = |revision: &Revision| {
            let configuration = revision.configuration().digest();
            let parts = [configuration, revision.guest(), revision.model()];
            let [configuration, guest, model] = parts.map(|digest| digest.short());
            let name = revision.name().map(ToString::to_string);
            [
                configuration,
                guest,
                model,
                name.unwrap_or_default(),
                revision.short(),
            ]
        };
        self.live.with_label_values(&labels(live)).set(1);
        if let Some(before) = before.filter(|before| *before != live) {
            let _ = self.live.remove_label_values(&labels(before));
        }
    }

    pub(super) fn record_trial(&self, on_trial: Option<(&Revision, TrialKind, Share)>) {
        self.share.reset();
        if let Some((revision, trial, share)) = on_trial {
            let [guest, name] = labels(revision);
            self.share
                .with_label_values(&[guest.as_str(), name.as_str(), trial.name()])
                .set(share.get());
        }
    }

    fn revisions(&self) -> MutexGuard<'_, HashMap<Revision, Arc<Counters>>> {
        self.revisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The values of the labels `guest` and `revision`.
fn labels(revision: &Revision) -> [String; 2] {
    [revision.guest().short(), revision.short()]
}
