//! Copies of texts for a version in the shadow: they are scored when there is
//! nothing else to do, and the answers are compared with those of the live version
//! and dropped.
//!
//! No request waits for any of this, and none fails of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::release::Release;
use super::{Comparison, Share};
use predictor::{Caching, ErrorKind, Pending, PredictError, Predictor, Priority, Request, Scores};

/// How much copies may hold at once, in bytes: some thousands of short texts, more
/// than wait in the background below. What is beyond is not copied.
const ROOM: usize = 4 << 20;

/// What a copy counts for beside its text, in bytes.
const COPY: usize = 256;

/// The room that all copies share.
pub(super) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ROOM))
}

/// Where copies go.
pub(super) struct Shadow {
    pub(super) below: Arc<dyn Predictor>,
    pub(super) release: Arc<Release>,
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
    /// Copies the share's texts, as far as there is room.
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

    /// Has the copies scored once the live version has answered their texts, whose
    /// answers these are. They pass through unchanged; the copies of those that
    /// are dropped or that fail are dropped.
    pub(super) fn follow(self, copies: Copies, mut pending: Vec<Pending>) -> Vec<Pending> {
        let mut texts = Vec::with_capacity(copies.texts.len());
        for (place, text) in copies.texts {
            let (tell, told) = oneshot::channel();
            // There is one for each text.
            let Some(pending) = pending.get_mut(place) else {
                continue;
            };
            texts.push((text, told));
            match pending {
                Pending::Ready(answer) => {
                    let _ = tell.send(Arc::clone(&answer.scores));
                }
                Pending::Later(answer) => {
                    let before = std::mem::replace(answer, Box::pin(std::future::pending()));
                    *answer = Box::pin(async {
                        let answer = before.await;
                        if let Ok(answer) = &answer {
                            let _ = tell.send(Arc::clone(&answer.scores));
                        }
                        answer
                    });
                }
            }
        }
        if !texts.is_empty() {
            tokio::spawn(async move {
                let _room = copies.room;
                // Whatever waits below is taken out of there when this is dropped.
                tokio::select! {
                    () = self.release.ended() => {}
                    () = self.compare(texts) => {}
                }
            });
        }
        pending
    }

    async fn compare(&self, copies: Vec<(String, oneshot::Receiver<Scores>)>) {
        let mut texts = Vec::with_capacity(copies.len());
        let mut live = Vec::with_capacity(copies.len());
        for (text, told) in copies {
            if let Ok(scores) = told.await {
                texts.push(text);
                live.push(scores);
            }
        }
        if texts.is_empty() {
            return;
        }
        let request = Request {
            texts,
            scorer: Arc::clone(&self.release) as _,
            // An answer of the shadow is to be its own, and is none to be kept: it
            // must not decide what the version answers when it is live.
            caching: Caching::Bypass,
            priority: Priority::Background,
        };
        let Ok(pending) = self.below.predict(request).await else {
            return self.skip(live.len() as u64);
        };
        for (pending, live) in pending.into_iter().zip(live) {
            let answer = match pending {
                Pending::Ready(answer) => Ok(answer),
                Pending::Later(answer) => answer.await,
            };
            match answer {
                Ok(answer) => self.count(&live, &answer.scores),
                Err(error) if was_not_tried(&error) => self.skip(1),
                Err(_) => {
                    self.compared.lock().failed += 1;
                    self.release.counters.failed.inc();
                }
            }
        }
    }

    fn count(&self, live: &Scores, shadow: &Scores) {
        let (agreed, difference) = (agree(live, shadow), difference(live, shadow));
        let counters = &self.release.counters;
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
        self.release.counters.skipped.inc_by(texts);
    }
}

/// Whether an error says nothing of the version.
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

/// The largest difference between the scores of a label; one that only one of both
/// knows has a score of 0 in the other.
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

/// How the answers of a version in the shadow compare, so far.
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
    /// What is told of it.
    pub(super) fn told(&self) -> Comparison {
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
