//! Ends the calls of guests that take too long, and those whose answer nobody
//! wants any more.
//!
//! A guest that computes can be stopped between two of its instructions, but
//! not while the model runs for it: so the model is told as well.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::error::CallError;
use super::runtime::Interrupt;
use predictor::CancellationToken;

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
    abandoned: Option<CancellationToken>,
    interrupts: Vec<Interrupt>,
    stopped: OnceLock<Stopped>,
    /// Told when it is stopped, for a guest that waits instead of computing.
    told: Notify,
}

/// Lets a call that is stopped by the epoch say so first: the timer behind it
/// is for the case that nobody looks any more.
const GRACE: Duration = Duration::from_millis(100);

impl Watch {
    /// Watches an instance from now on, for as long as what is returned lives:
    /// making it has to be done within `time`.
    pub(super) fn begin(
        &self,
        time: Duration,
        abandoned: Option<CancellationToken>,
        interrupts: Vec<Interrupt>,
    ) -> Arc<Run> {
        let run = Arc::new(Run {
            deadline: Mutex::new(Some(Instant::now() + time)),
            abandoned,
            interrupts,
            stopped: OnceLock::new(),
            told: Notify::new(),
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

    /// Waits for a call that has `time`, until it has to end. A call that fails
    /// after it was stopped was stopped.
    ///
    /// # Errors
    ///
    /// Why it was stopped.
    pub(super) async fn bound<T>(
        &self,
        time: Duration,
        call: impl Future<Output = wasmtime::Result<T>>,
    ) -> Result<wasmtime::Result<T>, CallError> {
        tokio::select! {
            biased;
            answer = call => match (answer, self.stopped()) {
                (Err(_), Some(stopped)) => Err(stopped.error(time)),
                (answer, _) => Ok(answer),
            },
            stopped = self.stopping() => Err(stopped.error(time)),
            () = tokio::time::sleep(time + GRACE) => Err(CallError::TimedOut(time)),
        }
    }

    /// Resolves once it is stopped.
    async fn stopping(&self) -> Stopped {
        loop {
            if let Some(stopped) = self.stopped() {
                return stopped;
            }
            self.told.notified().await;
        }
    }

    /// Why the instance was stopped, if it was.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        self.stopped.get().copied()
    }

    fn look(&self, now: Instant) {
        if self.stopped().is_some() {
            return;
        }
        let abandoned = self.abandoned.as_ref();
        let abandoned = abandoned.is_some_and(CancellationToken::is_cancelled);
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
        self.told.notify_one();
        for interrupt in &self.interrupts {
            interrupt();
        }
    }

    fn deadline(&self) -> MutexGuard<'_, Option<Instant>> {
        self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
