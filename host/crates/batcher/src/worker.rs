//! A thread that scores batches.
//!
//! A batch that fails is split. If the guest refuses one of its texts, that text is answered
//! and the others are tried again together; otherwise each is tried alone. So no text makes
//! another one's request fail.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tracing::Span;

use super::{BatchLimits, Entry, Place, Shared, Waiter};
use predictor::{
    Answer, CancellationToken, ErrorKind, PredictError, Priority, Scores, Source, Work,
};

/// The weight of the latest batch in the moving average of a worker's throughput.
const WEIGHT: f64 = 0.1;

type Taken = (Place, Entry<Waiter>);

/// At least one text, taken from one of the queues.
struct Batch {
    taken: Vec<Taken>,
    priority: Priority,
    /// Set once a background batch has been preempted by urgent texts.
    preempted: Arc<AtomicBool>,
}

/// Scores batches until the batcher is dropped.
pub(super) fn work(shared: &Arc<Shared>) {
    while let Some(batch) = next(shared) {
        let in_background = batch.priority == Priority::Background;
        let busy = i64::from(!in_background);
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

/// Waits for a batch; `None` once the batcher is being dropped.
///
/// At most one worker takes background texts, because they compete for the memory
/// bandwidth of the machine; and not the last idle worker, if there are several, so that
/// the next urgent text need not wait.
fn next(shared: &Shared) -> Option<Batch> {
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
            return Some(Batch {
                taken,
                priority,
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
    if batch.priority == Priority::Live {
        shared.metrics.batch_seconds.observe(took);
    }
    match result {
        Ok(scores) => {
            // The background runs another revision, which may be slower.
            if batch.priority == Priority::Live {
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
        Err(_) if batch.preempted.load(Ordering::Relaxed) => reply_preempted(shared, batch.taken),
        Err(error) => split(shared, batch.taken, texts, &error),
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
    let cancellation = match batch.priority {
        Priority::Live => CancellationToken::new(unwanted),
        Priority::Background => {
            let (shared, preempted) = (Arc::clone(shared), Arc::clone(&batch.preempted));
            CancellationToken::new(move || unwanted() || is_preempted(&shared, &preempted))
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

/// Whether a background batch is preempted. Once it is, it stays so: whatever error its
/// scorer returns is then no failure.
fn is_preempted(shared: &Shared, preempted: &AtomicBool) -> bool {
    if !preempted.load(Ordering::Relaxed) && shared.lock().needs_workers() {
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
fn record_cancelled(shared: &Shared, entry: &Entry<Waiter>) {
    if entry.waiter.priority == Priority::Live {
        shared.metrics.cancelled.inc();
    }
}

fn reply(shared: &Shared, entry: Entry<Waiter>, answer: Result<Answer, PredictError>) {
    if entry.waiter.priority == Priority::Live {
        shared.metrics.record(answer.as_ref().map(|_| ()));
    }
    // The caller may have left.
    let _ = entry.waiter.reply.send(answer);
}

/// Updates the moving average of a worker's throughput.
fn learn(shared: &Shared, batch: &[Taken], seconds: f64) {
    let tokens: f64 = batch.iter().map(|(_, entry)| f64::from(entry.tokens)).sum();
    if seconds > 0.0 {
        let mut state = shared.lock();
        state.tokens_per_second += WEIGHT * (tokens / seconds - state.tokens_per_second);
    }
}
