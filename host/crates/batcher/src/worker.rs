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
    Answer, CancellationToken, ErrorKind, LongTexts, PredictError, Priority, Scores, Source, Work,
};

/// The weight of the latest batch in the moving average of a worker's throughput.
const WEIGHT: f64 = 0.1;

pub(super) type Taken = (Place, Entry<Waiter>);

/// At least one text, taken from one of the queues.
pub(super) struct Batch {
    pub(super) taken: Vec<Taken>,
    pub(super) kind: Kind,
    /// Set once the batch has been preempted by urgent texts.
    pub(super) preempted: Arc<AtomicBool>,
}

/// What a batch is, and so when it has to make way for texts that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Texts that somebody waits for. Once it has taken this long, it makes way.
    Ordinary { patience: Duration },
    /// Texts that nobody waits for. It makes way at once.
    Background,
    /// A text that has taken too long before. It makes way for none, since it has a thread of
    /// its own.
    SetAside,
}

impl Kind {
    /// Whether a batch that has begun at `begun` has to make way if its worker is needed.
    fn is_due(self, begun: Instant) -> bool {
        match self {
            Self::Ordinary { patience } => begun.elapsed() >= patience,
            Self::Background => true,
            Self::SetAside => false,
        }
    }

    /// Whether it occupies a worker, and says how fast workers are. Texts in the background
    /// may be those of a slower revision, and a text that was set aside is no measure of others.
    fn is_ordinary(self) -> bool {
        matches!(self, Self::Ordinary { .. })
    }
}

/// Waits for a batch; `None` once the batcher is being dropped.
pub(super) type Next = fn(&Shared) -> Option<Batch>;

/// Scores batches until the batcher is dropped.
pub(super) fn work(shared: &Arc<Shared>, next: Next) {
    while let Some(batch) = next(shared) {
        let in_background = batch.kind == Kind::Background;
        let busy = i64::from(batch.kind.is_ordinary());
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
        let mut taken = state.queue.take(limits, idle);
        let mut in_background = false;
        let spare = idle > 0 || shared.options.workers <= 1;
        if taken.is_empty() && spare && !state.background_busy {
            in_background = true;
            taken = state.background.take(limits, 0);
            state.background_busy = !taken.is_empty();
        }
        if !taken.is_empty() {
            shared.record_depth(&state);
            let kind = if in_background {
                Kind::Background
            } else {
                let patience = patience(shared, &state, &taken);
                Kind::Ordinary { patience }
            };
            return Some(Batch {
                taken,
                kind,
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
    if batch.kind != Kind::Background {
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
    let took = begun.elapsed();
    let is_preempted = batch.preempted.load(Ordering::Relaxed);
    if batch.kind != Kind::Background {
        shared.metrics.batch_seconds.observe(took.as_secs_f64());
    }
    match result {
        Ok(scores) => {
            if batch.kind.is_ordinary() {
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
                        scored: took,
                    }),
                };
                reply(shared, entry, Ok(answer));
            }
        }
        Err(_) if is_preempted && batch.kind == Kind::Background => {
            reply_preempted(shared, batch.taken);
        }
        Err(error) => {
            if is_preempted {
                // It takes at least as long. If this were ignored, batches could all be
                // expected to be faster than any is.
                learn(shared, &batch.taken, took);
            }
            // A refusal is an answer, however late it is. Of several texts, each is tried alone
            // first: most likely one is to blame.
            let is_refused = matches!(error.kind, ErrorKind::InvalidText { .. });
            if is_preempted && !is_refused && batch.taken.len() == 1 {
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
    let is_shared = batch.taken.len() > 1 && batch.kind != Kind::Background;
    let cancellation = match batch.kind {
        Kind::SetAside => CancellationToken::new(unwanted),
        kind => {
            let (shared, preempted) = (Arc::clone(shared), Arc::clone(&batch.preempted));
            CancellationToken::new(move || {
                unwanted()
                    || (kind.is_due(begun) && preempt_if_needed(&shared, &preempted, is_shared))
            })
        }
    };
    let (_, first) = &batch.taken[0];
    // Log lines about texts of several requests belong to none of them.
    let alone = batch
        .taken
        .iter()
        .all(|(_, entry)| entry.request == first.request);
    let span = alone.then(|| first.waiter.span.clone());
    let _entered = span.as_ref().map(Span::enter);
    let score = || match first.long_texts {
        LongTexts::AsConfigured => first.scorer.score(texts, &cancellation),
        LongTexts::Refuse => first.scorer.score_whole(texts, &cancellation),
    };
    let result = catch_unwind(AssertUnwindSafe(score));
    let panicked = |_| PredictError::failed("the host panicked during a call of the guest");
    let scores = result.map_err(panicked)??;
    if scores.len() == texts.len() {
        Ok(scores)
    } else {
        let counts = format!("{} answers to {} texts", scores.len(), texts.len());
        Err(PredictError::failed(counts))
    }
}

/// Preempts a batch that is due if others need its worker, and one of several texts at any
/// rate. Returns whether it is preempted, by now or before: whatever error its scorer returns is
/// then no failure.
fn preempt_if_needed(shared: &Shared, preempted: &AtomicBool, is_shared: bool) -> bool {
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
fn learn(shared: &Shared, batch: &[Taken], took: Duration) {
    let seconds = took.as_secs_f64();
    if seconds > 0.0 {
        let mut state = shared.lock();
        state.tokens_per_second += WEIGHT * (tokens(batch) / seconds - state.tokens_per_second);
    }
}

/// The estimated tokens of a batch.
fn tokens(batch: &[Taken]) -> f64 {
    batch.iter().map(|(_, entry)| f64::from(entry.tokens)).sum()
}
