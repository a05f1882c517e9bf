//! Copies of texts for a revision on trial as a shadow: they are scored while the machine
//! is otherwise idle, and the answers are compared with those of the live revision and
//! dropped.
//!
//! No request waits for this or fails because of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::active::ActiveRevision;
use super::{Comparison, Share};
use predictor::{Caching, ErrorKind, Pending, PredictError, Predictor, Priority, Request, Scores};

/// How much memory copies may take, in bytes: some thousands of short texts, which is more
/// than the background queue of the batcher holds. Texts beyond it are not copied.
const ROOM: usize = 4 << 20;

/// What a copy takes beside its text, in bytes.
const COPY: usize = 256;

/// The memory that all copies share, one permit for a byte.
pub(super) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ROOM))
}

/// Where copies go.
pub(super) struct Shadow {
    pub(super) below: Arc<dyn Predictor>,
    pub(super) revision: Arc<ActiveRevision>,
    pub(super) compared: Arc<Compared>,
    pub(super) room: Arc<Semaphore>,
}

/// The copies of a request's texts.
#[derive(Default)]
pub(super) struct Copies {
    /// Each with its place in the request.
    texts: Vec<(usize, String)>,
    room: Option<OwnedSemaphorePermit>,
}

impl Shadow {
    /// Copies the texts of the share, as far as there is room.
    pub(super) fn copy(&self, share: Share, texts: &[String]) -> Copies {
        let mut copies = Copies::default();
        let mut skipped = 0;
        for (place, text) in texts.iter().enumerate() {
            if !share.holds(text) {
                continue;
            }
            let size = u32::try_from(text.len() + COPY).unwrap_or(u32::MAX);
            match Arc::clone(&self.room).try_acquire_many_owned(size) {
                Ok(room) => {
                    copies.texts.push((place, text.clone()));
                    match &mut copies.room {
                        Some(all) => all.merge(room),
                        none => *none = Some(room),
                    }
                }
                Err(_) => skipped += 1,
            }
        }
        self.skip(skipped);
        copies
    }

    /// Scores the copies once the live revision has answered their texts. `pending` has
    /// its answers, which are returned unchanged. If one fails or is dropped, so is its
    /// copy.
    pub(super) fn follow(self, copies: Copies, mut pending: Vec<Pending>) -> Vec<Pending> {
        let mut texts = Vec::with_capacity(copies.texts.len());
        for (place, text) in copies.texts {
            let (sender, scores) = oneshot::channel();
            // There is one for each text.
            let Some(pending) = pending.get_mut(place) else {
                continue;
            };
            texts.push((text, scores));
            match pending {
                Pending::Ready(answer) => {
                    let _ = sender.send(Arc::clone(&answer.scores));
                }
                Pending::Later(answer) => {
                    let before = std::mem::replace(answer, Box::pin(std::future::pending()));
                    *answer = Box::pin(async {
                        let answer = before.await;
                        if let Ok(answer) = &answer {
                            let _ = sender.send(Arc::clone(&answer.scores));
                        }
                        answer
                    });
                }
            }
        }
        if !texts.is_empty() {
            tokio::spawn(async move {
                let _room = copies.room;
                // Dropping the comparison removes its texts from the queue below.
                tokio::select! {
                    () = self.revision.retired() => {}
                    () = self.compare(texts) => {}
                }
            });
        }
        pending
    }

    async fn compare(&self, copies: Vec<(String, oneshot::Receiver<Scores>)>) {
        let mut texts = Vec::with_capacity(copies.len());
        let mut live = Vec::with_capacity(copies.len());
        for (text, scores) in copies {
            if let Ok(scores) = scores.await {
                texts.push(text);
                live.push(scores);
            }
        }
        if texts.is_empty() {
            return;
        }
        let request = Request {
            texts,
            scorer: Arc::clone(&self.revision) as _,
            // The comparison needs an answer that the shadow made itself, and a cached one
            // would still be served after the shadow has gone live.
            options: Caching::Bypass.into(),
            priority: Priority::Background,
        };
        let Ok(pending) = self.below.predict(request).await else {
            return self.skip(live.len() as u64);
        };
        for (pending, live) in pending.into_iter().zip(live) {
            match pending.await {
                Ok(answer) => self.count(&live, &answer.scores),
                Err(error) if was_not_tried(&error) => self.skip(1),
                Err(_) => {
                    self.compared.lock().failed += 1;
                    self.revision.counters.failed.inc();
                }
            }
        }
    }

    fn count(&self, live: &Scores, shadow: &Scores) {
        let (agreed, difference) = (agree(live, shadow), difference(live, shadow));
        let counters = &self.revision.counters;
        counters.difference.observe(difference);
        if agreed {
            counters.agreed.inc();
        } else {
            counters.differed.inc();
        }
        let mut sums = self.compared.lock();
        sums.texts += 1;
        sums.agreed += u64::from(agreed);
        sums.differences += difference;
        sums.largest_difference = sums.largest_difference.max(difference);
    }

    fn skip(&self, texts: u64) {
        self.compared.lock().skipped += texts;
        self.revision.counters.skipped.inc_by(texts);
    }
}

/// Whether an error says nothing about the revision.
fn was_not_tried(error: &PredictError) -> bool {
    matches!(
        error.kind,
        ErrorKind::Unavailable | ErrorKind::Overloaded { .. }
    )
}

fn agree(live: &Scores, shadow: &Scores) -> bool {
    let first = |scores: &Scores| scores.first().map(|score| Arc::clone(&score.label));
    first(live) == first(shadow)
}

/// The largest difference between the scores of a label. A label that only one of the two
/// has scores 0 in the other.
fn difference(live: &Scores, shadow: &Scores) -> f64 {
    let mut differences: HashMap<&str, f64> = HashMap::with_capacity(live.len());
    for (scores, sign) in [(live, 1.0), (shadow, -1.0)] {
        for score in scores.iter() {
            *differences.entry(&score.label).or_default() += sign * f64::from(score.score);
        }
    }
    let differences = differences.into_values().map(f64::abs);
    differences.fold(0.0, f64::max)
}

/// How the answers of a shadow compare, so far.
#[derive(Default)]
pub(super) struct Compared(Mutex<Sums>);

#[derive(Default)]
struct Sums {
    texts: u64,
    agreed: u64,
    differences: f64,
    largest_difference: f64,
    failed: u64,
    skipped: u64,
}

impl Compared {
    pub(super) fn report(&self) -> Comparison {
        let sums = self.lock();
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let texts = sums.texts.max(1) as f64;
        Comparison {
            texts: sums.texts,
            agreed: sums.agreed,
            mean_difference: sums.differences / texts,
            largest_difference: sums.largest_difference,
            failed: sums.failed,
            skipped: sums.skipped,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
