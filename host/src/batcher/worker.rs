//! What a thread does that scores batches.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::{Attached, Bounds, Entry, Place, Shared};
use crate::predictor::{Abandoned, Answer, ErrorKind, PredictError, Scores, Source};

/// How much a batch changes what is believed of the speed of a worker.
const WEIGHT: f64 = 0.1;

type Taken = (Place, Entry<Attached>);

/// Scores batches until the batcher is dropped.
pub(super) fn work(shared: &Shared) {
    while let Some(batch) = next(shared) {
        shared.metrics.busy_workers.inc();
        // What a scorer's panic does is in `call`; whatever else might panic
        // must not cost the worker.
        if catch_unwind(AssertUnwindSafe(|| score(shared, batch))).is_err() {
            tracing::error!("the host panicked after a batch was scored");
        }
        shared.metrics.busy_workers.dec();
    }
}

/// Waits for a batch; none comes once the batcher is being dropped.
fn next(shared: &Shared) -> Option<Vec<Taken>> {
    let mut state = shared.lock();
    loop {
        if state.closing {
            return None;
        }
        let bounds = Bounds {
            texts: shared.options.batch_texts,
            tokens: shared.options.batch_tokens,
        };
        let idle = state.idle;
        let batch = state.queue.take(bounds, idle);
        if !batch.is_empty() {
            shared.tell_depth(&state);
            return Some(batch);
        }
        state.idle += 1;
        state = shared
            .work
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
    }
}

fn score(shared: &Shared, mut batch: Vec<Taken>) {
    let begun = Instant::now();
    #[expect(clippy::cast_precision_loss, reason = "batches are small")]
    shared.metrics.batch_texts.observe(batch.len() as f64);
    for (_, entry) in &batch {
        let waited = begun - entry.attached.since;
        shared.metrics.queue_seconds.observe(waited.as_secs_f64());
    }
    let texts: Vec<String> = batch
        .iter_mut()
        .map(|(_, entry)| std::mem::take(&mut entry.text))
        .collect();
    let result = call(&batch, &texts);
    let took = begun.elapsed().as_secs_f64();
    shared.metrics.batch_seconds.observe(took);
    match result {
        Ok(scores) => {
            learn(shared, &batch, took);
            for ((_, entry), scores) in batch.into_iter().zip(scores) {
                let version = Arc::clone(entry.scorer.version());
                let answer = Answer {
                    scores,
                    version,
                    source: Source::Computed,
                };
                reply(shared, entry, Ok(answer));
            }
        }
        Err(error) => part(shared, batch, texts, &error),
    }
}

/// Has the batch scored; a panic is an error of the batch.
fn call(batch: &[Taken], texts: &[String]) -> Result<Vec<Scores>, PredictError> {
    let wanted: Vec<Arc<AtomicBool>> = batch
        .iter()
        .map(|(_, entry)| Arc::clone(&entry.attached.wanted))
        .collect();
    let abandoned: Abandoned =
        Arc::new(move || !wanted.iter().any(|wanted| wanted.load(Ordering::Relaxed)));
    let failed = |detail: String| {
        PredictError::new(ErrorKind::Failed, "the prediction failed").with_detail(detail)
    };
    let (_, first) = &batch[0];
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
            shared.metrics.abandoned.inc();
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
            state.queue.put_back(place, entry);
        } else {
            gone.push(entry);
        }
    }
    shared.tell_depth(&state);
    drop(state);
    shared.work.notify_all();
    shared.metrics.abandoned.inc_by(gone.len() as u64);
}

fn reply(shared: &Shared, entry: Entry<Attached>, answer: Result<Answer, PredictError>) {
    shared.metrics.count(answer.as_ref().map(|_| ()));
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
