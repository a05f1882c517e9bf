//! Queueing texts, forming batches of them, and handing out the answers.
//!
//! Texts of all requests wait in one queue. A worker that becomes free takes
//! the next batch, so that batches are formed as late as they can be: nothing
//! waits while a worker is idle, and under load batches fill up by themselves.
//!
//! Texts that nobody waits for have a queue of their own, the background. It costs
//! the others nothing: one worker at most takes from it, when nothing else waits,
//! and gives up what it has begun as soon as something does.
//!
//! This module must not know guests or caches: a
//! [`Scorer`](predictor::Scorer) scores the batches.

mod calibration;
mod estimate;
mod metrics;
mod queue;
mod worker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::Span;

pub use calibration::Calibration;
pub use metrics::Metrics;
use predictor::{
    Answer, BoxFuture, ErrorKind, Pending, PredictError, Predictor, Priority, Request,
};
use queue::{Bounds, Entry, Place, Queue};

/// How a batcher works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many threads score batches.
    pub workers: usize,
    /// The most texts in a batch; 1 for none but single ones.
    pub batch_texts: usize,
    /// The most tokens in a batch, padding included, as estimated. A text that
    /// has more is a batch of its own.
    pub batch_tokens: u32,
    /// How many tokens may wait, as estimated, before requests are refused. A
    /// request that is taken on is taken on as a whole, and counts for 2,048 at
    /// most, since others have their turn between its texts.
    pub queue_tokens: u64,
    /// How many tokens one worker is expected to score in a second, until there
    /// is experience.
    pub tokens_per_second: f64,
}

/// Scores texts in batches, on threads of its own.
pub struct Batcher {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// What callers and workers share.
struct Shared {
    state: Mutex<State>,
    /// Signalled when there is work, or when there will be none.
    work: Condvar,
    options: Options,
    metrics: Metrics,
}

struct State {
    queue: Queue<Attached>,
    background: Queue<Attached>,
    /// Whether a worker works on what was in the background.
    background_busy: bool,
    idle: usize,
    closing: bool,
    /// Tokens that a worker scores in a second, of late.
    tokens_per_second: f64,
}

/// What a text in the queue carries along.
struct Attached {
    reply: oneshot::Sender<Result<Answer, PredictError>>,
    wanted: Arc<AtomicBool>,
    priority: Priority,
    since: Instant,
    /// What lines of the log about it belong to.
    span: Span,
}

/// The longest after which another try is suggested.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How many tokens may wait in the background, as estimated: a second or more of
/// one worker's time. What waits for longer is no better than what is dropped.
const BACKGROUND_TOKENS: u64 = 8192;

impl Batcher {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// If the system gives no more threads.
    pub fn start(options: Options, metrics: Metrics) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: Queue::default(),
                background: Queue::default(),
                background_busy: false,
                idle: 0,
                closing: false,
                tokens_per_second: options.tokens_per_second,
            }),
            work: Condvar::new(),
            options,
            metrics,
        });
        // Made first, so that the threads that did start end if one does not.
        let mut batcher = Self {
            shared,
            workers: Vec::new(),
        };
        for number in 0..options.workers.max(1) {
            let shared = Arc::clone(&batcher.shared);
            let worker = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || worker::work(&shared))?;
            batcher.workers.push(worker);
        }
        Ok(batcher)
    }

    fn submit(&self, request: Request) -> Result<Vec<Pending>, PredictError> {
        let shared = &self.shared;
        let since = Instant::now();
        let (priority, span) = (request.priority, Span::current());
        let prepare = |text: String| {
            let (reply, answer) = oneshot::channel();
            let wanted = Arc::new(AtomicBool::new(true));
            let entry = Entry {
                tokens: estimate::tokens(&text),
                text,
                scorer: Arc::clone(&request.scorer),
                alone: false,
                request: 0,
                attached: Attached {
                    reply,
                    wanted: Arc::clone(&wanted),
                    priority,
                    since,
                    span: span.clone(),
                },
            };
            (entry, wanted, answer)
        };
        // What takes time is done before the lock is taken, and after.
        let prepared: Vec<_> = request.texts.into_iter().map(prepare).collect();
        let mut state = shared.lock();
        if !prepared.is_empty() && shared.is_full(&state, priority) {
            let retry_after = shared.retry_after(&mut state, priority);
            drop(state);
            if priority == Priority::Live {
                shared.metrics.refused.inc();
            }
            return Err(PredictError::new(
                ErrorKind::Overloaded { retry_after },
                "more texts are waiting than may wait; try again later",
            ));
        }
        let queue = state.queue_of(priority);
        let (number, mut turn) = queue.begin();
        let mut waiting = Vec::with_capacity(prepared.len());
        for (mut entry, wanted, answer) in prepared {
            entry.request = number;
            let place = queue.push(&mut turn, entry);
            waiting.push((place, wanted, answer));
        }
        shared.tell_depth(&state);
        let wake = state.idle.min(waiting.len());
        drop(state);
        for _ in 0..wake {
            shared.work.notify_one();
        }
        let pending = |(place, wanted, answer)| {
            let waiting = Waiting {
                place,
                priority,
                wanted,
                shared: Arc::clone(shared),
            };
            Pending::Later(Box::pin(waiting.resolve(answer)))
        };
        Ok(waiting.into_iter().map(pending).collect())
    }
}

impl Predictor for Batcher {
    fn predict(&self, request: Request) -> BoxFuture<Result<Vec<Pending>, PredictError>> {
        Box::pin(std::future::ready(self.submit(request)))
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its batches, so there is none here.
            let _ = worker.join();
        }
        // Whoever still waits is told, by the loss of the sender.
        let mut state = self.shared.lock();
        let left = [state.queue.clear(), state.background.clear()];
        drop(state);
        drop(left);
    }
}

impl State {
    fn queue_of(&mut self, priority: Priority) -> &mut Queue<Attached> {
        match priority {
            Priority::Live => &mut self.queue,
            Priority::Background => &mut self.background,
        }
    }

    /// Whether what a worker does in the background keeps others waiting. An idle
    /// worker takes what waits in a moment.
    fn needs_workers(&self) -> bool {
        self.closing || (self.idle == 0 && self.queue.len() > 0)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic is done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self, state: &State, priority: Priority) -> bool {
        match priority {
            Priority::Live => state.queue.load() >= self.options.queue_tokens,
            // Not as load: what counts here is what it holds.
            Priority::Background => state.background.tokens() >= BACKGROUND_TOKENS,
        }
    }

    /// When a newcomer of now would have had its turn.
    fn retry_after(&self, state: &mut State, priority: Priority) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = state.queue_of(priority).load() as f64
            / (state.tokens_per_second * self.options.workers.max(1) as f64);
        Duration::try_from_secs_f64(seconds)
            .map_or(MAX_RETRY_AFTER, |time| time.min(MAX_RETRY_AFTER))
    }

    fn tell_depth(&self, state: &State) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics
            .queue_texts
            .set(gauge(state.queue.len() as u64));
        self.metrics.queue_tokens.set(gauge(state.queue.tokens()));
        self.metrics
            .background_texts
            .set(gauge(state.background.len() as u64));
    }
}

/// Somebody who waits for a text's answer. Dropped, it takes the text out of
/// the queue, or tells the worker that has it.
struct Waiting {
    place: Place,
    priority: Priority,
    wanted: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

impl Waiting {
    async fn resolve(
        self,
        answer: oneshot::Receiver<Result<Answer, PredictError>>,
    ) -> Result<Answer, PredictError> {
        let answer = answer.await;
        // It is answered, and in no queue any more.
        self.wanted.store(false, Ordering::Relaxed);
        answer.unwrap_or_else(|_| {
            Err(PredictError::new(
                ErrorKind::Unavailable,
                "the server is not predicting at the moment",
            ))
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.wanted.swap(false, Ordering::Relaxed) {
            let mut state = self.shared.lock();
            let left = state.queue_of(self.priority).remove(self.place);
            self.shared.tell_depth(&state);
            drop(state);
            if left.is_some() && self.priority == Priority::Live {
                self.shared.metrics.abandoned.inc();
            }
        }
    }
}
