//! What texts cost with the guests of a model.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use batcher::Calibration;
use predictor::Digest;

/// What was measured, by the guest. Revisions of one guest cost the same.
#[derive(Default)]
pub(super) struct Calibrations(Mutex<HashMap<Digest, Calibration>>);

/// Far more guests than are ready at a time.
const MOST: usize = 1024;

impl Calibrations {
    pub(super) fn get(&self, guest: &Digest) -> Option<Calibration> {
        self.all().get(guest).copied()
    }

    pub(super) fn keep(&self, guest: Digest, calibration: Calibration) {
        let mut all = self.all();
        if all.len() == MOST {
            all.clear();
        }
        all.insert(guest, calibration);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Digest, Calibration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
