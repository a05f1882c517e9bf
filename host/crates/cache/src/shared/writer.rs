//! The task that writes to Redis, so that no request waits for a write.
//!
//! This module must not know where answers come from.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Marks;
use super::link::Link;
use super::metrics::Metrics;
use crate::key::Key;
use predictor::Scores;

/// How many answers may wait to be written: some 10 MB.
const MAX_WAITING: u32 = 65_536;

/// The most answers in one write.
const MAX_WRITE: usize = 4096;

/// The shortest time-out of a write. Nobody waits for one.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The answers to the texts of one request.
struct Batch {
    answers: Vec<(Key, Scores)>,
    /// Released when they have been written.
    _room: OwnedSemaphorePermit,
}

/// The way to the writer.
#[derive(Clone)]
pub(super) struct Writes {
    batches: UnboundedSender<Batch>,
    /// The limit on the channel: a permit for each answer.
    room: Arc<Semaphore>,
    link: Arc<Link>,
    metrics: Metrics,
}

impl Writes {
    pub(super) fn new(link: Arc<Link>, metrics: &Metrics) -> (Self, Writer) {
        let (batches, receiver) = unbounded_channel();
        let task = Writer {
            batches: receiver,
            link: Arc::clone(&link),
            metrics: metrics.clone(),
        };
        let writes = Self {
            batches,
            room: Arc::new(Semaphore::new(MAX_WAITING as usize)),
            link,
            metrics: metrics.clone(),
        };
        (writes, task)
    }

    fn send(&self, answers: Vec<(Key, Scores)>) {
        let count = answers.len();
        if !self.link.is_usable() {
            self.metrics.dropped_unavailable.inc_by(count as u64);
            return;
        }
        let places = u32::try_from(count).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(places) else {
            self.metrics.dropped_full.inc_by(count as u64);
            return;
        };
        let batch = Batch {
            answers,
            _room: room,
        };
        // The writer ends only with the runtime.
        let _ = self.batches.send(batch);
    }
}

/// Collects the answers of one request. When it is dropped, after the last answer, they go
/// to the writer together.
pub(crate) struct Outbox {
    writes: Writes,
    answers: Mutex<Vec<(Key, Scores)>>,
}

impl Outbox {
    pub(super) fn new(writes: &Writes) -> Self {
        Self {
            writes: writes.clone(),
            answers: Mutex::default(),
        }
    }

    pub(crate) fn put(&self, key: Key, scores: Scores) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.push((key, scores));
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let answers = self
            .answers
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if !answers.is_empty() {
            self.writes.send(std::mem::take(answers));
        }
    }
}

/// Writes answers to Redis.
pub(super) struct Writer {
    batches: UnboundedReceiver<Batch>,
    link: Arc<Link>,
    metrics: Metrics,
}

impl Writer {
    /// Writes until all senders are gone. Each write takes whatever waits.
    pub(super) async fn run(mut self, marks: Marks, ttl: Duration) {
        while let Some(first) = self.batches.recv().await {
            let mut count = first.answers.len();
            let mut batches = vec![first];
            while count < MAX_WRITE {
                let Ok(next) = self.batches.try_recv() else {
                    break;
                };
                count += next.answers.len();
                batches.push(next);
            }
            let answers = batches.iter().flat_map(|batch| &batch.answers);
            let entries: Vec<(String, Vec<u8>)> = answers
                .filter_map(|(key, scores)| Some((marks.name(key), marks.write(key, scores)?)))
                .collect();
            self.write(&entries, ttl).await;
        }
    }

    async fn write(&self, entries: &[(String, Vec<u8>)], ttl: Duration) {
        let count = entries.len() as u64;
        let Some(lease) = self.link.lease() else {
            self.metrics.dropped_unavailable.inc_by(count);
            return;
        };
        if entries.is_empty() {
            return;
        }
        let begun = Instant::now();
        let timeout = self.link.timeout();
        let written = lease.connection.set(entries, ttl, timeout).await;
        self.metrics
            .write_seconds
            .observe(begun.elapsed().as_secs_f64());
        match &written {
            Ok(()) => self.metrics.written.inc_by(count),
            Err(_) => self.metrics.dropped_unavailable.inc_by(count),
        }
        lease.report(&self.link, written.as_ref().copied());
    }
}

/// The time-out of writes, given that of lookups.
pub(super) fn timeout(of_lookups: Duration) -> Duration {
    of_lookups.max(MIN_TIMEOUT)
}
