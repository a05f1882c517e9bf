//! Ends the calls of guests that take too long, and those whose answer nobody
//! wants any more.
//!
//! A guest that computes can be stopped between two of its instructions, but
//! not while the model runs for it: so the model is told as well.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::runtime::Interrupt;

/// Tells whether nobody wants the answer of a call any more.
pub(super) type Abandoned = Arc<dyn Fn() -> bool + Send + Sync>;

/// Why a call was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It took longer than it may.
    TimedOut,
    /// Nobody wants its answer any more.
    Abandoned,
}

/// The calls that are running.
#[derive(Default)]
pub(super) struct Watch(Mutex<Vec<Weak<Run>>>);

/// One call that is being watched, until it is dropped.
pub(super) struct Run {
    deadline: Mutex<Instant>,
    abandoned: Option<Abandoned>,
    interrupts: Vec<Interrupt>,
    /// 0 as long as it may go on; see [`Run::stopped`].
    stopped: AtomicU8,
}

impl Watch {
    /// Watches a call from now on, for as long as what is returned lives.
    pub(super) fn begin(
        &self,
        time: Duration,
        abandoned: Option<Abandoned>,
        interrupts: Vec<Interrupt>,
    ) -> Arc<Run> {
        let run = Arc::new(Run {
            deadline: Mutex::new(Instant::now() + time),
            abandoned,
            interrupts,
            stopped: AtomicU8::new(0),
        });
        self.runs().push(Arc::downgrade(&run));
        run
    }

    /// Stops what has to be stopped.
    pub(super) fn look(&self) {
        let mut running = Vec::new();
        self.runs().retain(|run| match run.upgrade() {
            Some(run) => {
                running.push(run);
                true
            }
            None => false,
        });
        // Not under the lock: whoever begins a call must not wait for this.
        let now = Instant::now();
        for run in running {
            run.look(now);
        }
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Run>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    /// Begins the time of the call anew.
    pub(super) fn restart(&self, time: Duration) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + time;
    }

    /// Why the call was stopped, if it was.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        match self.stopped.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Stopped::TimedOut),
            _ => Some(Stopped::Abandoned),
        }
    }

    fn look(&self, now: Instant) {
        if self.stopped().is_some() {
            return;
        }
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = if self.abandoned.as_ref().is_some_and(|abandoned| abandoned()) {
            2
        } else if now >= deadline {
            1
        } else {
            return;
        };
        self.stopped.store(reason, Ordering::Relaxed);
        for interrupt in &self.interrupts {
            interrupt();
        }
    }
}
