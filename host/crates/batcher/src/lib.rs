//! Queues texts, forms batches, and scores them on threads of its own.
//!
//! Texts of all requests wait in one queue. A worker that becomes free takes the text whose
//! turn it is, and with it others of like length, up to a number of tokens. So batches are
//! formed as late as possible: no text waits while a worker is idle, and under load batches
//! fill up by themselves. If other workers are idle, a worker leaves them their share.
//!
//! Turns are fair between clients, and between the requests of a client: the next text of a
//! request has its turn once every other request has been served as many tokens, where a
//! long text counts for only a few short ones. So a short request does not wait for a long
//! one, nor the other way round, and nobody waits for the many requests of one client.
//! Tokens are estimated, because only the guest can count them. There is one exception: a
//! request for a text that another request already waits for shares that one's turn,
//! because the cache above merges them.
//!
//! The limit on the queue counts tokens, but only a part of those of one large request,
//! because others have their turn between its texts. A request is accepted or refused as a
//! whole, whatever its size. While the queue is full, clients that ask for little are still
//! accepted.
//!
//! A batch that takes far longer than expected while other texts wait makes room for them:
//! its texts are *set aside*, and one thread more than the workers scores these one by one. So
//! texts that hang, however many, cost the others a moment each, and one thread's share of the
//! processor.
//!
//! A caller that leaves removes its waiting texts. A batch that nobody waits for any more
//! is cancelled through its [`CancellationToken`](predictor::CancellationToken).
//!
//! Texts with [`Priority::Background`] have a queue of their own. It costs the others
//! nothing: at most one worker takes from it, only when nothing else waits, and it drops
//! its batch as soon as something does.
//!
//! This crate must not know guests, wasmtime, caches or Redis: a
//! [`Scorer`](predictor::Scorer) scores the batches.

mod aside;
mod calibration;
mod metrics;
mod overload;
mod queue;
mod worker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::Span;

pub use calibration::{Calibration, Clock};
pub use metrics::Metrics;
use predictor::{Answer, BoxFuture, Pending, PredictError, Predictor, Priority, Request};
use queue::{BatchLimits, Entry, Place, Queue};

/// Options of a batcher.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The number of threads that score batches.
    pub workers: usize,
    /// The most texts in a batch; 1 to score each text alone.
    pub batch_texts: usize,
    /// The most estimated tokens in a batch, padding included. A longer text is a batch of
    /// its own.
    pub batch_tokens: u32,
    /// How many estimated tokens may wait before requests are refused, except those of
    /// clients that ask for little. A request is accepted as a whole, and counts for 2,048
    /// at most, because others have their turn between its texts.
    pub queue_tokens: u64,
    /// The initial estimate of how many tokens a worker scores in a second.
    pub tokens_per_second: f64,
    /// How long a batch may take, beyond twice its estimate, while other texts wait; such as
    /// [`PATIENCE`].
    pub patience: Duration,
}

/// More than what delays a batch now and then without its own doing, such as a container's
/// quota of processor time, of which the system gives the next part after 100 ms.
pub const PATIENCE: Duration = Duration::from_millis(150);

/// Scores texts in batches, on threads of its own.
pub struct Batcher {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// The state that callers and workers share.
struct Shared {
    state: Mutex<State>,
    /// Signalled when there is work, and when the batcher is dropped.
    work: Condvar,
    /// Signalled when a text is set aside, and when the batcher is dropped.
    work_aside: Condvar,
    options: Options,
    metrics: Metrics,
}

struct State {
    queue: Queue<Waiter>,
    background: Queue<Waiter>,
    /// The texts that were set aside.
    aside: Queue<Waiter>,
    /// Whether a worker has a background batch.
    background_busy: bool,
    idle: usize,
    closing: bool,
    /// The recent throughput of a worker, in tokens per second.
    tokens_per_second: f64,
}

/// Who waits for a text, and since when.
struct Waiter {
    reply: oneshot::Sender<Result<Answer, PredictError>>,
    wanted: Arc<AtomicBool>,
    priority: Priority,
    since: Instant,
    /// The span of the request, for log lines about the text.
    span: Span,
}

impl Batcher {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn start(options: Options, metrics: Metrics) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: Queue::default(),
                background: Queue::default(),
                aside: Queue::default(),
                background_busy: false,
                idle: 0,
                closing: false,
                tokens_per_second: options.tokens_per_second,
            }),
            work: Condvar::new(),
            work_aside: Condvar::new(),
            options,
            metrics,
        });
        // Constructed before the threads: if one cannot be started, dropping this ends the
        // others.
        let mut batcher = Self {
            shared,
            workers: Vec::new(),
        };
        for number in 0..options.workers.max(1) {
            batcher.spawn(format!("worker-{number}"), worker::next)?;
        }
        batcher.spawn("worker-aside".to_owned(), aside::next)?;
        Ok(batcher)
    }

    fn spawn(&mut self, name: String, next: worker::Next) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let worker = std::thread::Builder::new()
            .name(name)
            .spawn(move || worker::work(&shared, next))?;
        self.workers.push(worker);
        Ok(())
    }

    fn submit(&self, request: Request) -> Result<Vec<Pending>, PredictError> {
        let shared = &self.shared;
        let since = Instant::now();
        let (priority, span) = (request.priority, Span::current());
        let client = request.options.client;
        if request.texts.is_empty() {
            return Ok(Vec::new());
        }
        // A refusal has to cost little, so the texts are not looked at before.
        shared.admit(&shared.lock(), priority, client)?;
        let prepare = |text: String| {
            let (reply, answer) = oneshot::channel();
            let wanted = Arc::new(AtomicBool::new(true));
            let entry = Entry {
                tokens: predictor::estimated_tokens(&text),
                text,
                scorer: Arc::clone(&request.scorer),
                long_texts: request.options.long_texts,
                alone: false,
                request: 0,
                waiter: Waiter {
                    reply,
                    wanted: Arc::clone(&wanted),
                    priority,
                    since,
                    span: span.clone(),
                },
            };
            (entry, wanted, answer)
        };
        // Everything that takes time happens outside the lock.
        let prepared: Vec<_> = request.texts.into_iter().map(prepare).collect();
        let mut state = shared.lock();
        // Others may have come meanwhile.
        shared.admit(&state, priority, client)?;
        let queue = state.queue_of(priority);
        let (number, mut turn) = queue.begin(client);
        let mut waiting = Vec::with_capacity(prepared.len());
        for (mut entry, wanted, answer) in prepared {
            entry.request = number;
            let place = queue.push(client, &mut turn, entry);
            waiting.push((place, wanted, answer));
        }
        shared.record_depth(&state);
        let wake = state.idle.min(waiting.len());
        drop(state);
        for _ in 0..wake {
            shared.work.notify_one();
        }
        let pending = |(place, wanted, answer)| {
            let waiting = Ticket {
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
        self.shared.work_aside.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches panics, so there is nothing to report.
            let _ = worker.join();
        }
        // Callers that still wait learn of it because their senders are dropped.
        let mut state = self.shared.lock();
        let State {
            queue,
            background,
            aside,
            ..
        } = &mut *state;
        let left = [queue, background, aside].map(Queue::clear);
        drop(state);
        drop(left);
    }
}

impl State {
    fn queue_of(&mut self, priority: Priority) -> &mut Queue<Waiter> {
        match priority {
            Priority::Live => &mut self.queue,
            Priority::Background => &mut self.background,
        }
    }

    /// Takes a text out of the queue that it waits in, if it still waits.
    fn remove(&mut self, priority: Priority, place: Place) -> Option<Entry<Waiter>> {
        match priority {
            // A text that is set aside keeps its place, which no other text has.
            Priority::Live => {
                let waiting = self.queue.remove(place);
                waiting.or_else(|| self.aside.remove(place))
            }
            Priority::Background => self.background.remove(place),
        }
    }

    /// Whether a batch keeps urgent texts waiting. It does not while a worker is idle: that one
    /// takes them in a moment.
    fn needs_workers(&self) -> bool {
        self.closing || (self.idle == 0 && self.queue.len() > 0)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record_depth(&self, state: &State) {
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

/// A caller that waits for an answer. When dropped, it removes the text from the queue, or
/// tells the worker that has it.
struct Ticket {
    place: Place,
    priority: Priority,
    wanted: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

impl Ticket {
    async fn resolve(
        self,
        answer: oneshot::Receiver<Result<Answer, PredictError>>,
    ) -> Result<Answer, PredictError> {
        let answer = answer.await;
        // Answered, so it is in no queue any more.
        self.wanted.store(false, Ordering::Relaxed);
        answer.unwrap_or_else(|_| Err(PredictError::unavailable()))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.wanted.swap(false, Ordering::Relaxed) {
            let mut state = self.shared.lock();
            let left = state.remove(self.priority, self.place);
            self.shared.record_depth(&state);
            drop(state);
            if left.is_some() && self.priority == Priority::Live {
                self.shared.metrics.cancelled.inc();
            }
        }
    }
}
