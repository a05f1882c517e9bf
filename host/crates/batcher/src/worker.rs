//! A thread that scores batches.
//!
//! A batch that fails is split. If the guest refuses one of its texts, that text is answered
//! and the others are tried again together; otherwise each is tried alone. So no text makes
//! another one's request fail.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tracing::Span;

use super::aside::set_aside;
use super::{BatchLimits, Entry, Place, Shared, State, Waiter};
use predictor::{
    Answer, CancellationToken, ErrorKind, PredictError, Priority, Scores, Source, Work,
};

/// The weight of the latest batch in the moving average of a worker's throughput.
const WEIGHT: f64 = 0.1;

pub(super) type Taken = (Place, Entry<Waiter>);

/// At least one text, taken from one of the queues.
pub(super) struct Batch {
    pub(super) taken: Vec<Taken>,
    pub(super) priority: Priority,
    pub(super) yields: Yields,
    /// Set once the batch has been preempted by urgent texts.
    pub(super) preempted: Arc<AtomicBool>,
}

/// When a batch is preempted by urgent texts that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Yields {
    AtOnce,
    /// Once it has taken this long.
    After(Duration),
    Never,
}

impl Yields {
    /// Whether urgent texts may preempt a batch that has begun at `begun`.
    fn is_due(self, begun: Instant) -> bool {
        match self {
            Self::AtOnce => true,
            Self::After(time) => begun.elapsed() >= time,
            Self::Never => false,
        }
    }
}

/// Waits for a batch; `None` once the batcher is being dropped.
pub(super) type Next = fn(&Shared) -> Option<Batch>;

/// Scores batches until the batcher is dropped.
pub(super) fn work(shared: &Arc<Shared>, next: Next) {
    while let Some(batch) = next(shared) {
        let in_background = batch.priority == Priority::Background;
        // Neither work in the background counts, nor the thread for texts that were set aside.
        let busy = i64::from(matches!(batch.yields, Yields::After(_)));
        shared.metrics.busy_workers.add(busy);
        // `call` handles a panic of the scorer. Any other must not end the thread.
        if catch_unwind(AssertUnwindSafe(|| score(shared, batch))).is_err() {
            tracing::error!("the host panicked after a batch was scored");
        }
        shared.metrics.busy_workers.sub(busy);
        if in_background {
            shared.lock().background_busy = false;
        }
    }
}

/// A worker's next batch.
///
/// At most one worker takes background texts, because they compete for the memory
/// bandwidth of the machine; and not the last idle worker, if there are several, so that
/// the next urgent text need not wait.
pub(super) fn next(shared: &Shared) -> Option<Batch> {
    let limits = BatchLimits {
        texts: shared.options.batch_texts,
        tokens: shared.options.batch_tokens,
    };
    let mut state = shared.lock();
    loop {
        if state.closing {
            return None;
        }
        let idle = state.idle;
        let mut priority = Priority::Live;
        let mut taken = state.queue.take(limits, idle);
        let spare = idle > 0 || shared.options.workers <= 1;
        if taken.is_empty() && spare && !state.background_busy {
            priority = Priority::Background;
            taken = state.background.take(limits, 0);
            state.background_busy = !taken.is_empty();
        }
        if !taken.is_empty() {
            shared.record_depth(&state);
            let yields = match priority {
                Priority::Live => Yields::After(patience(shared, &state, &taken)),
                Priority::Background => Yields::AtOnce,
            };
            return Some(Batch {
                taken,
                priority,
                yields,
                preempted: Arc::default(),
            });
        }
        state.idle += 1;
        state = shared
            .work
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
    }
}

/// How long a batch may take while other texts wait.
fn patience(shared: &Shared, state: &State, batch: &[Taken]) -> Duration {
    let estimate = tokens(batch) / state.tokens_per_second;
    let estimate = Duration::try_from_secs_f64(2.0 * estimate).unwrap_or(Duration::MAX);
    shared.options.patience.saturating_add(estimate)
}

fn score(shared: &Arc<Shared>, mut batch: Batch) {
    let begun = Instant::now();
    if batch.priority == Priority::Live {
        #[expect(clippy::cast_precision_loss, reason = "batches are small")]
        let texts = batch.taken.len() as f64;
        shared.metrics.batch_texts.observe(texts);
        for (_, entry) in &batch.taken {
            let waited = begun - entry.waiter.since;
            shared.metrics.queue_seconds.observe(waited.as_secs_f64());
        }
    }
    let texts: Vec<String> = batch
        .taken
        .iter_mut()
        .map(|(_, entry)| std::mem::take(&mut entry.text))
        .collect();
    let result = call(shared, &batch, &texts);
    let spent = begun.elapsed();
    let took = spent.as_secs_f64();
    let is_preempted = batch.preempted.load(Ordering::Relaxed);
    if batch.priority == Priority::Live {
        shared.metrics.batch_seconds.observe(took);
    }
    match result {
        Ok(scores) => {
            // The background runs another revision, which may be slower, and a text that was
            // set aside is no measure of others.
            if let Yields::After(_) = batch.yields {
                learn(shared, &batch.taken, took);
            }
            for ((_, entry), scores) in batch.taken.into_iter().zip(scores) {
                let revision = Arc::clone(entry.scorer.revision());
                let answer = Answer {
                    scores,
                    revision,
                    source: Source::Computed,
                    work: Some(Work {
                        queued: begun - entry.waiter.since,
                        scored: spent,
                    }),
                };
                reply(shared, entry, Ok(answer));
            }
        }
        Err(_) if is_preempted && batch.priority == Priority::Background => {
            reply_preempted(shared, batch.taken);
        }
        Err(error) => {
            if is_preempted {
                // It takes at least as long. If this were ignored, batches could all be
                // expected to be faster than any is.
                learn(shared, &batch.taken, took);
            }
            // Of several texts, each is tried alone first: most likely one is to blame.
            if is_preempted && batch.taken.len() == 1 {
                for ((place, mut entry), text) in batch.taken.into_iter().zip(texts) {
                    entry.text = text;
                    set_aside(shared, (place, entry));
                }
            } else {
                split(shared, batch.taken, texts, &error);
            }
        }
    }
}

/// Scores the batch; a panic is an error of the batch.
fn call(
    shared: &Arc<Shared>,
    batch: &Batch,
    texts: &[String],
) -> Result<Vec<Scores>, PredictError> {
    let wanted: Vec<Arc<AtomicBool>> = batch
        .taken
        .iter()
        .map(|(_, entry)| Arc::clone(&entry.waiter.wanted))
        .collect();
    let unwanted = move || !wanted.iter().any(|wanted| wanted.load(Ordering::Relaxed));
    let begun = Instant::now();
    // The texts of a late batch wait for one another, whether or not others wait for them.
    let is_shared = batch.taken.len() > 1 && batch.priority == Priority::Live;
    let cancellation = match batch.yields {
        Yields::Never => CancellationToken::new(unwanted),
        yields => {
            let (shared, preempted) = (Arc::clone(shared), Arc::clone(&batch.preempted));
            CancellationToken::new(move || {
                unwanted() || (yields.is_due(begun) && is_preempted(&shared, &preempted, is_shared))
            })
        }
    };
    let failed = |detail: String| {
        PredictError::new(ErrorKind::Failed, "the prediction failed").with_detail(detail)
    };
    let (_, first) = &batch.taken[0];
    // Log lines about texts of several requests belong to none of them.
    let alone = batch
        .taken
        .iter()
        .all(|(_, entry)| entry.request == first.request);
    let span = alone.then(|| first.waiter.span.clone());
    let _entered = span.as_ref().map(Span::enter);
    let result = catch_unwind(AssertUnwindSafe(|| {
        first.scorer.score(texts, &cancellation)
    }));
    let scores =
        result.map_err(|_| failed("the host panicked during a call of the guest".to_owned()))??;
    if scores.len() == texts.len() {
        Ok(scores)
    } else {
        let counts = format!("{} answers to {} texts", scores.len(), texts.len());
        Err(failed(counts))
    }
}

/// Whether a batch is preempted. Once it is, it stays so: whatever error its scorer returns is
/// then no failure.
fn is_preempted(shared: &Shared, preempted: &AtomicBool, is_shared: bool) -> bool {
    if !preempted.load(Ordering::Relaxed) && (is_shared || shared.lock().needs_workers()) {
        preempted.store(true, Ordering::Relaxed);
    }
    preempted.load(Ordering::Relaxed)
}

/// Answers the texts of a preempted batch. They are not tried again, because under load
/// they would be preempted again and again.
fn reply_preempted(shared: &Shared, batch: Vec<Taken>) {
    shared.metrics.preempted.inc_by(batch.len() as u64);
    for (_, entry) in batch {
        let error = PredictError::new(
            ErrorKind::Unavailable,
            "the work was given up for work that somebody waits for",
        );
        reply(shared, entry, Err(error));
    }
}

/// Splits a batch that failed: the text at fault is answered, if it is known, and the
/// others go back to the queue; if it is not known, each is to be tried alone.
fn split(shared: &Shared, batch: Vec<Taken>, texts: Vec<String>, error: &PredictError) {
    let blamed = match error.kind {
        ErrorKind::InvalidText { index } => Some(index),
        _ if batch.len() == 1 => Some(0),
        _ => None,
    };
    let mut again = Vec::new();
    for (index, ((place, mut entry), text)) in batch.into_iter().zip(texts).enumerate() {
        if !entry.waiter.wanted.load(Ordering::Relaxed) {
            // Perhaps the call was cancelled for that reason, so it is no failure.
            record_cancelled(shared, &entry);
        } else if blamed == Some(index) {
            reply(shared, entry, Err(error.clone()));
        } else {
            entry.text = text;
            entry.alone |= blamed.is_none();
            entry.waiter.since = Instant::now();
            again.push((place, entry));
        }
    }
    let mut gone = Vec::new();
    let mut state = shared.lock();
    for (place, entry) in again {
        // A caller that leaves from now on removes its text from the queue itself.
        if entry.waiter.wanted.load(Ordering::Relaxed) {
            let queue = state.queue_of(entry.waiter.priority);
            queue.put_back(place, entry);
        } else {
            gone.push(entry);
        }
    }
    shared.record_depth(&state);
    drop(state);
    shared.work.notify_all();
    for entry in gone {
        record_cancelled(shared, &entry);
    }
}

/// Records a text whose caller has left.
pub(super) fn record_cancelled(shared: &Shared, entry: &Entry<Waiter>) {
    if entry.waiter.priority == Priority::Live {
        shared.metrics.cancelled.inc();
    }
}

pub(super) fn reply(shared: &Shared, entry: Entry<Waiter>, answer: Result<Answer, PredictError>) {
    if entry.waiter.priority == Priority::Live {
        shared.metrics.record(answer.as_ref().map(|_| ()));
    }
    // The caller may have left.
    let _ = entry.waiter.reply.send(answer);
}

/// Updates the moving average of a worker's throughput.
fn learn(shared: &Shared, batch: &[Taken], seconds: f64) {
    if seconds > 0.0 {
        let mut state = shared.lock();
        state.tokens_per_second += WEIGHT * (tokens(batch) / seconds - state.tokens_per_second);
    }
}

/// The estimated tokens of a batch.
fn tokens(batch: &[Taken]) -> f64 {
    batch.iter().map(|(_, entry)| f64::from(entry.tokens)).sum()
}
