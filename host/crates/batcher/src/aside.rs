//! A thread for texts that take far longer than expected while others wait.
//!
//! It has no limit but that of the scorer, and scores one text at a time. So however many texts
//! hang, the workers are free for the others.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::worker::{Batch, Kind, Taken, record_cancelled, reply};
use super::{BatchLimits, Shared};
use predictor::{ErrorKind, PredictError};

/// How many texts may be set aside. If those before it hang, the last one waits for longer
/// than anybody does. With many workers there may be more: a stall of the machine delays the
/// batches of all of them.
const MOST: usize = 16;

/// The next text that was set aside; `None` once the batcher is being dropped.
pub(super) fn next(shared: &Shared) -> Option<Batch> {
    let one = BatchLimits {
        texts: 1,
        tokens: 1,
    };
    let mut state = shared.lock();
    loop {
        if state.closing {
            return None;
        }
        let taken = state.aside.take(one, 0);
        if !taken.is_empty() {
            return Some(Batch {
                taken,
                kind: Kind::SetAside,
                preempted: Arc::default(),
            });
        }
        state = shared
            .work_aside
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// Sets a text aside, or answers that it took too long if there are too many already.
pub(super) fn set_aside(shared: &Shared, (place, mut entry): Taken) {
    entry.waiter.since = Instant::now();
    let mut state = shared.lock();
    // A caller that leaves from now on removes its text itself.
    if !entry.waiter.wanted.load(Ordering::Relaxed) {
        drop(state);
        record_cancelled(shared, &entry);
    } else if state.aside.len() < MOST.max(2 * shared.options.workers) {
        state.aside.put_back(place, entry);
        drop(state);
        shared.metrics.set_aside.inc();
        shared.work_aside.notify_one();
    } else {
        drop(state);
        let error = PredictError::new(
            ErrorKind::TimedOut,
            "the prediction took too long while others were waiting",
        );
        reply(shared, entry, Err(error));
    }
}
