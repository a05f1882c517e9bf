//! What the holders of keys ask for. The values of labels are bounded: the names of the file.

use prometheus::{IntCounter, IntCounterVec, Registry, register_int_counter_vec_with_registry};

use crate::Denied;
use crate::quota::Unit;

/// The label with the name of a key.
const KEY: &str = "key";

pub(crate) struct Metrics {
    requests: IntCounterVec,
    tokens: IntCounterVec,
    refused: IntCounterVec,
    missing: IntCounter,
    unknown: IntCounter,
    revoked: IntCounter,
}

/// The metrics of one key, found beforehand so that a request costs no lookup.
pub(crate) struct KeyMetrics {
    pub(crate) requests: IntCounter,
    pub(crate) tokens: IntCounter,
    requests_refused: IntCounter,
    tokens_refused: IntCounter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name, help, labels: &[&str]| {
            register_int_counter_vec_with_registry!(name, help, labels, registry)
        };
        let denied = counter(
            "fastsentiment_api_key_denied_total",
            "Requests for predictions without an API key that may be used, by reason: missing, \
             unknown or revoked.",
            &["reason"],
        )?;
        Ok(Self {
            requests: counter(
                "fastsentiment_api_key_requests_total",
                "Requests with an API key, by the name of the key.",
                &[KEY],
            )?,
            tokens: counter(
                "fastsentiment_api_key_tokens_total",
                "Estimated tokens of the texts in these requests, known ones included.",
                &[KEY],
            )?,
            refused: counter(
                "fastsentiment_api_key_refused_total",
                "Times that a quota did not allow a request or a line at once, by what it \
                 counts: requests or tokens.",
                &[KEY, "quota"],
            )?,
            missing: denied.with_label_values(&["missing"]),
            unknown: denied.with_label_values(&["unknown"]),
            revoked: denied.with_label_values(&["revoked"]),
        })
    }

    pub(crate) fn of_key(&self, name: &str) -> KeyMetrics {
        let refused = |unit: Unit| self.refused.with_label_values(&[name, unit.name()]);
        KeyMetrics {
            requests: self.requests.with_label_values(&[name]),
            tokens: self.tokens.with_label_values(&[name]),
            requests_refused: refused(Unit::Requests),
            tokens_refused: refused(Unit::Tokens),
        }
    }

    /// The key is gone.
    pub(crate) fn forget(&self, name: &str) {
        // One that is not there needs no removal.
        let _ = self.requests.remove_label_values(&[name]);
        let _ = self.tokens.remove_label_values(&[name]);
        for unit in [Unit::Requests, Unit::Tokens] {
            let _ = self.refused.remove_label_values(&[name, unit.name()]);
        }
    }

    pub(crate) fn deny(&self, denied: &Denied) {
        match denied {
            Denied::Missing => self.missing.inc(),
            Denied::Unknown => self.unknown.inc(),
            Denied::Revoked(_) => self.revoked.inc(),
        }
    }
}

impl KeyMetrics {
    pub(crate) fn refuse(&self, unit: Unit) {
        match unit {
            Unit::Requests => self.requests_refused.inc(),
            Unit::Tokens => self.tokens_refused.inc(),
        }
    }
}
