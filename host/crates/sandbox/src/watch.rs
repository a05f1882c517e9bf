//! Stops calls that exceed their time limit, and calls that nobody waits for any
//! more.
//!
//! A guest that computes is stopped at its next epoch, but not while the model runs
//! for it, so the run of the model is interrupted as well.

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
    /// It exceeded its time limit.
    TimedOut,
    /// Nobody waits for its answer any more.
    Abandoned,
}

impl Stopped {
    /// The error of a call with the limit `time`.
    pub(super) fn error(self, time: Duration) -> CallError {
        match self {
            Self::TimedOut => CallError::TimedOut(time),
            Self::Abandoned => CallError::Abandoned,
        }
    }
}

/// All instances that exist.
#[derive(Default)]
pub(super) struct Watch(Mutex<Vec<Weak<Run>>>);

/// The state of one instance, watched until it is dropped.
pub(super) struct Run {
    /// The deadline of the call in progress, if there is one.
    deadline: Mutex<Option<Instant>>,
    abandoned: Option<CancellationToken>,
    interrupts: Vec<Interrupt>,
    stopped: OnceLock<Stopped>,
    /// Notified when the call is stopped, for a guest that waits instead of computing.
    notify: Notify,
}

/// How long after the deadline the timer fires. Normally the epoch thread has stopped
/// the call by then; the timer is for the case that this thread is not scheduled.
const GRACE: Duration = Duration::from_millis(100);

impl Watch {
    /// Watches an instance until the result is dropped. Creating the instance is its
    /// first call, with the limit `time`.
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
            notify: Notify::new(),
        });
        self.runs().push(Arc::downgrade(&run));
        run
    }

    /// Stops the calls that have to stop.
    pub(super) fn check(&self) {
        let mut running = Vec::new();
        self.runs().retain(|run| match run.upgrade() {
            Some(run) => {
                running.push(run);
                true
            }
            None => false,
        });
        // Without the lock, so that calls can begin meanwhile.
        let now = Instant::now();
        for run in running {
            run.check(now);
        }
    }

    fn runs(&self) -> MutexGuard<'_, Vec<Weak<Run>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    /// Begins a call with the limit `time`.
    pub(super) fn restart(&self, time: Duration) {
        *self.deadline() = Some(Instant::now() + time);
    }

    /// Ends a call. There is no deadline until the next one.
    pub(super) fn pause(&self) {
        *self.deadline() = None;
    }

    /// Waits for a call with the limit `time`. An error of a call that was stopped is
    /// taken for a consequence of that.
    ///
    /// # Errors
    ///
    /// If the call was stopped.
    pub(super) async fn limited<T>(
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

    /// Completes when the call is stopped.
    async fn stopping(&self) -> Stopped {
        loop {
            if let Some(stopped) = self.stopped() {
                return stopped;
            }
            self.notify.notified().await;
        }
    }

    /// Why the call was stopped, if it was.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        self.stopped.get().copied()
    }

    fn check(&self, now: Instant) {
        if self.stopped().is_some() {
            return;
        }
        let abandoned = self.abandoned.as_ref();
        let abandoned = abandoned.is_some_and(CancellationToken::is_cancelled);
        // Locked until the decision, so that the next call is not stopped for this one.
        let deadline = self.deadline();
        let late = deadline.is_some_and(|deadline| now >= deadline);
        let reason = match (abandoned, late) {
            (true, _) => Stopped::Abandoned,
            (false, true) => Stopped::TimedOut,
            (false, false) => return,
        };
        self.stopped.get_or_init(|| reason);
        drop(deadline);
        self.notify.notify_one();
        for interrupt in &self.interrupts {
            interrupt();
        }
    }

    fn deadline(&self) -> MutexGuard<'_, Option<Instant>> {
        self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
