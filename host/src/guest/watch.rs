//! Ends the calls of guests that take too long, and those whose answer nobody
//! wants any more.
//!
//! A guest that computes can be stopped between two of its instructions, but
//! not while the model runs for it: so the model is told as well.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::error::CallError;
use super::runtime::Interrupt;
use crate::predictor::Abandoned;

/// Why a call was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It took longer than it may.
    TimedOut,
    /// Nobody wants its answer any more.
    Abandoned,
}

impl Stopped {
    /// What it means for a call that had `time`.
    pub(super) fn error(self, time: Duration) -> CallError {
        match self {
            Self::TimedOut => CallError::TimedOut(time),
            Self::Abandoned => CallError::Abandoned,
        }
    }
}

/// The instances that there are.
#[derive(Default)]
pub(super) struct Watch(Mutex<Vec<Weak<Run>>>);

/// What one instance does, watched until it is dropped.
pub(super) struct Run {
    /// By when the call under way has to end, if there is one.
    deadline: Mutex<Option<Instant>>,
    abandoned: Option<Abandoned>,
    interrupts: Vec<Interrupt>,
    stopped: OnceLock<Stopped>,
}

impl Watch {
    /// Watches an instance from now on, for as long as what is returned lives:
    /// making it has to be done within `time`.
    pub(super) fn begin(
        &self,
        time: Duration,
        abandoned: Option<Abandoned>,
        interrupts: Vec<Interrupt>,
    ) -> Arc<Run> {
        let run = Arc::new(Run {
            deadline: Mutex::new(Some(Instant::now() + time)),
            abandoned,
            interrupts,
            stopped: OnceLock::new(),
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

    fn runs(&self) -> MutexGuard<'_, Vec<Weak<Run>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    /// Begins a call: from now on it has `time`, whatever was left before.
    pub(super) fn restart(&self, time: Duration) {
        *self.deadline() = Some(Instant::now() + time);
    }

    /// Ends a call: until the next one, time does not count.
    pub(super) fn pause(&self) {
        *self.deadline() = None;
    }

    /// Why the instance was stopped, if it was.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        self.stopped.get().copied()
    }

    fn look(&self, now: Instant) {
        if self.stopped().is_some() {
            return;
        }
        let abandoned = self.abandoned.as_ref().is_some_and(|abandoned| abandoned());
        // Held until it is decided, so that a call that begins anew meanwhile is
        // not stopped for the one before it.
        let deadline = self.deadline();
        let late = deadline.is_some_and(|deadline| now >= deadline);
        let reason = match (abandoned, late) {
            (true, _) => Stopped::Abandoned,
            (false, true) => Stopped::TimedOut,
            (false, false) => return,
        };
        self.stopped.get_or_init(|| reason);
        drop(deadline);
        for interrupt in &self.interrupts {
            interrupt();
        }
    }

    fn deadline(&self) -> MutexGuard<'_, Option<Instant>> {
        self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
