//! The threads that call guests.
//!
//! A call of a guest blocks its thread for as long as the model runs, so the
//! calls have threads of their own, never those that serve sockets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::oneshot;

use super::call::Guest;
use super::error::CallError;
use crate::predictor::{ErrorKind, PredictError, PredictResult, Predictions, Predictor, Score};

/// How a pool divides its work.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// How many threads call guests.
    pub workers: usize,
    /// How many texts one call takes at most. A larger request is divided, so
    /// that several workers share it and none is held up by it for long.
    pub texts_per_call: usize,
    /// How many calls may wait for a worker; more are refused.
    pub queue: usize,
}

/// Threads that score texts with the current guest.
pub struct Pool {
    current: ArcSwap<Guest>,
    /// `None` only while the pool is dropped, to tell the workers to end.
    calls: Option<Sender<Call>>,
    workers: Vec<JoinHandle<()>>,
    texts_per_call: usize,
}

/// What a call resolves to.
type Answer = Result<Vec<Vec<Score>>, CallError>;

/// Texts for one call of a guest, and where the answer goes.
struct Call {
    guest: Arc<Guest>,
    texts: Vec<String>,
    answer: oneshot::Sender<Answer>,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// If the system gives no more threads.
    pub fn start(guest: Guest, options: PoolOptions) -> std::io::Result<Self> {
        let (sender, receiver) = crossbeam_channel::bounded(options.queue);
        let workers = (0..options.workers.max(1))
            .map(|number| {
                // Each worker has a timer of its own, so that none waits for a
                // thread that serves sockets.
                let clock = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()?;
                let calls = receiver.clone();
                std::thread::Builder::new()
                    .name(format!("guest-{number}"))
                    .spawn(move || work(&clock, &calls))
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self {
            current: ArcSwap::from_pointee(guest),
            calls: Some(sender),
            workers,
            texts_per_call: options.texts_per_call.max(1),
        })
    }

    /// Hands one call to the workers; the answer arrives at what is returned.
    fn submit(
        &self,
        guest: &Arc<Guest>,
        texts: Vec<String>,
    ) -> Result<oneshot::Receiver<Answer>, PredictError> {
        let (answer, arrival) = oneshot::channel();
        let call = Call {
            guest: Arc::clone(guest),
            texts,
            answer,
        };
        match self.calls.as_ref().map(|calls| calls.try_send(call)) {
            Some(Ok(())) => Ok(arrival),
            Some(Err(TrySendError::Full(_))) => Err(PredictError::new(
                ErrorKind::Overloaded,
                "more predictions are waiting than may wait; try again later",
            )),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(PredictError::new(
                ErrorKind::Unavailable,
                "the server is not predicting at the moment",
            )),
        }
    }
}

impl Predictor for Pool {
    fn predict(
        &self,
        mut texts: Vec<String>,
    ) -> Pin<Box<dyn Future<Output = PredictResult> + Send + '_>> {
        Box::pin(async move {
            // All calls of a request go to one version of the guest.
            let guest = self.current.load_full();
            let mut scores = Vec::with_capacity(texts.len());
            let mut arrivals = Vec::new();
            while !texts.is_empty() {
                let rest = texts.split_off(texts.len().min(self.texts_per_call));
                arrivals.push(self.submit(&guest, texts)?);
                texts = rest;
            }
            for arrival in arrivals {
                // The sender is dropped unused only if the worker panicked.
                let answer = arrival.await.map_err(|_| {
                    PredictError::new(ErrorKind::Failed, "the prediction failed")
                        .with_detail("the host panicked during a call of the guest")
                })?;
                let first = scores.len();
                scores.extend(answer.map_err(|error| in_request(error, first))?);
            }
            Ok(Predictions {
                scores,
                version: Arc::clone(guest.version()),
            })
        })
    }
}

/// A guest counts the texts of its call; a client, those of its request.
fn in_request(error: CallError, first: usize) -> PredictError {
    match error {
        CallError::InvalidText { index, reason } => CallError::InvalidText {
            index: first + index,
            reason,
        }
        .into(),
        other => other.into(),
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.calls = None;
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its calls, so there is none here.
            let _ = worker.join();
        }
    }
}

/// What a worker does until the pool is dropped.
fn work(clock: &tokio::runtime::Runtime, calls: &Receiver<Call>) {
    for call in calls {
        // No one waits for this answer any more.
        if call.answer.is_closed() {
            continue;
        }
        let predict = || clock.block_on(call.guest.predict(&call.texts));
        match catch_unwind(AssertUnwindSafe(predict)) {
            Ok(answer) => {
                // The caller may have gone meanwhile.
                let _ = call.answer.send(answer);
            }
            Err(_) => tracing::error!("the host panicked during a call of the guest"),
        }
    }
}
