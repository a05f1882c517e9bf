//! What a thread does that scores batches.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tracing::Span;

use super::{Attached, Bounds, Entry, Place, Shared};
use predictor::{Abandoned, Answer, ErrorKind, PredictError, Priority, Scores, Source, Work};

/// How much a batch changes what is believed of the speed of a worker.
const WEIGHT: f64 = 0.1;

type Taken = (Place, Entry<Attached>);

/// What a worker has taken from one of the queues: one text at least.
struct Batch {
    taken: Vec<Taken>,
    priority: Priority,
    /// Set once the batch has been given up for those that wait.
    given_up: Arc<AtomicBool>,
}

/// Scores batches until the batcher is dropped.
pub(super) fn work(shared: &Arc<Shared>) {
    while let Some(batch) = next(shared) {
        let in_background = batch.priority == Priority::Background;
        let busy = i64::from(!in_background);
        shared.metrics.busy_workers.add(busy);
        // What a scorer's panic does is in `call`; whatever else might panic
        // must not cost the worker.
        if catch_unwind(AssertUnwindSafe(|| score(shared, batch))).is_err() {
            tracing::error!("the host panicked after a batch was scored");
        }
        shared.metrics.busy_workers.sub(busy);
        if in_background {
            shared.lock().background_busy = false;
        }
    }
}

/// Waits for a batch; none comes once the batcher is being dropped.
///
/// In the background one worker works at most, since all share the machine's
/// memory; and, if there are several, not the last one that is idle: what comes
/// next finds one that it need not wait for.
fn next(shared: &Shared) -> Option<Batch> {
    let bounds = Bounds {
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
        let mut taken = state.queue.take(bounds, idle);
        let spare = idle > 0 || shared.options.workers <= 1;
        if taken.is_empty() && spare && !state.background_busy {
            priority = Priority::Background;
            taken = state.background.take(bounds, 0);
            state.background_busy = !taken.is_empty();
        }
        if !taken.is_empty() {
            shared.tell_depth(&state);
            return Some(Batch {
                taken,
                priority,
                given_up: Arc::default(),
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
            let waited = begun - entry.attached.since;
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
            // A version in the background is another one, and may be slower.
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
                        queued: begun - entry.attached.since,
                        scored: spent,
                    }),
                };
                reply(shared, entry, Ok(answer));
            }
        }
        Err(_) if batch.given_up.load(Ordering::Relaxed) => give_up(shared, batch.taken),
        Err(error) => part(shared, batch.taken, texts, &error),
    }
}

/// Has the batch scored; a panic is an error of the batch.
fn call(
    shared: &Arc<Shared>,
    batch: &Batch,
    texts: &[String],
) -> Result<Vec<Scores>, PredictError> {
    let wanted: Vec<Arc<AtomicBool>> = batch
        .taken
        .iter()
        .map(|(_, entry)| Arc::clone(&entry.attached.wanted))
        .collect();
    let unwanted = move || !wanted.iter().any(|wanted| wanted.load(Ordering::Relaxed));
    let abandoned: Abandoned = match batch.priority {
        Priority::Live => Arc::new(unwanted),
        Priority::Background => {
            let (shared, given_up) = (Arc::clone(shared), Arc::clone(&batch.given_up));
            Arc::new(move || unwanted() || gives_way(&shared, &given_up))
        }
    };
    let failed = |detail: String| {
        PredictError::new(ErrorKind::Failed, "the prediction failed").with_detail(detail)
    };
    let (_, first) = &batch.taken[0];
    // What is logged of texts of several requests is about none of them alone.
    let alone = batch
        .taken
        .iter()
        .all(|(_, entry)| entry.request == first.request);
    let span = alone.then(|| first.attached.span.clone());
    let _entered = span.as_ref().map(Span::enter);
    let result = catch_unwind(AssertUnwindSafe(|| first.scorer.score(texts, &abandoned)));
    let scores =
        result.map_err(|_| failed("the host panicked during a call of the guest".to_owned()))??;
    if scores.len() == texts.len() {
        Ok(scores)
    } else {
        let counts = format!("{} answers to {} texts", scores.len(), texts.len());
        Err(failed(counts))
    }
}

/// Whether a batch in the background is given up. Once it is, it stays so: what
/// its scorer makes of the end must not be taken for a failure.
fn gives_way(shared: &Shared, given_up: &AtomicBool) -> bool {
    if !given_up.load(Ordering::Relaxed) && shared.lock().needs_workers() {
        given_up.store(true, Ordering::Relaxed);
    }
    given_up.load(Ordering::Relaxed)
}

/// Answers a batch that was given up. It is not tried again: as long as there is
/// so much to do, it would be given up again and again.
fn give_up(shared: &Shared, batch: Vec<Taken>) {
    shared.metrics.given_up.inc_by(batch.len() as u64);
    for (_, entry) in batch {
        let error = PredictError::new(
            ErrorKind::Unavailable,
            "the work was given up for work that somebody waits for",
        );
        reply(shared, entry, Err(error));
    }
}

/// Parts a batch that failed: the text that is to blame is answered, if it is
/// known; the others are tried again, so that a text can fail no request but its
/// own. Where nobody knows which one is to blame, each is tried by itself.
fn part(shared: &Shared, batch: Vec<Taken>, texts: Vec<String>, error: &PredictError) {
    let blamed = match error.kind {
        ErrorKind::InvalidText { index } => Some(index),
        _ if batch.len() == 1 => Some(0),
        _ => None,
    };
    let mut again = Vec::new();
    for (index, ((place, mut entry), text)) in batch.into_iter().zip(texts).enumerate() {
        if !entry.attached.wanted.load(Ordering::Relaxed) {
            // Perhaps the call was ended for that reason: it is no failure.
            left(shared, &entry);
        } else if blamed == Some(index) {
            reply(shared, entry, Err(error.clone()));
        } else {
            entry.text = text;
            entry.alone |= blamed.is_none();
            entry.attached.since = Instant::now();
            again.push((place, entry));
        }
    }
    let mut gone = Vec::new();
    let mut state = shared.lock();
    for (place, entry) in again {
        // Whoever leaves from now on takes the text out of the queue.
        if entry.attached.wanted.load(Ordering::Relaxed) {
            let queue = state.queue_of(entry.attached.priority);
            queue.put_back(place, entry);
        } else {
            gone.push(entry);
        }
    }
    shared.tell_depth(&state);
    drop(state);
    shared.work.notify_all();
    for entry in gone {
        left(shared, &entry);
    }
}

/// Counts a text whose caller has left.
fn left(shared: &Shared, entry: &Entry<Attached>) {
    if entry.attached.priority == Priority::Live {
        shared.metrics.abandoned.inc();
    }
}

fn reply(shared: &Shared, entry: Entry<Attached>, answer: Result<Answer, PredictError>) {
    if entry.attached.priority == Priority::Live {
        shared.metrics.count(answer.as_ref().map(|_| ()));
    }
    // The caller may have gone meanwhile.
    let _ = entry.attached.reply.send(answer);
}

/// Learns from a batch how fast a worker is.
fn learn(shared: &Shared, batch: &[Taken], seconds: f64) {
    let tokens: f64 = batch.iter().map(|(_, entry)| f64::from(entry.tokens)).sum();
    if seconds > 0.0 {
        let mut state = shared.lock();
        state.tokens_per_second += WEIGHT * (tokens / seconds - state.tokens_per_second);
    }
}
