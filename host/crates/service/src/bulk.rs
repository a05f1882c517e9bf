//! Bulk requests: texts without end, answered in their order, with a bounded number in
//! progress.
//!
//! Texts are collected into chunks, and each chunk is a request of its own to the layers
//! below. So bulk requests take part in the fair turns between requests: another request
//! waits for about one text of each chunk in progress, and there are few of those, however
//! many bulk requests there are. A chunk that is refused because the queue is full is
//! offered again, because a caller with texts without end would rather wait than be
//! refused.
//!
//! A chunk is answered whether or not its answers are read, so that a slow reader holds up
//! nobody else.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Instrument as _;

use super::{Options, Service, in_request, late};
use predictor::{Answer, Client, ErrorKind, LongTexts, Pending, PredictError, RequestOptions};

/// The most texts in a chunk. Four such chunks keep some 60 workers busy with batches of
/// 16; and the queue counts a chunk for no more than 2,048 tokens.
const CHUNK_TEXTS: usize = 256;

/// The most bytes in a chunk, unless a single text has more: a dozen of the longest texts
/// that models read, so that every chunk is answered within the deadline.
const CHUNK_BYTES: usize = 32 * 1024;

/// How many chunks of one request are in progress, so that workers need not wait for the
/// next one. Another one is being collected meanwhile.
const CHUNKS: usize = 4;

/// How many entries of a request may wait for their turn in the order.
const ENTRIES: usize = (CHUNKS + 1) * CHUNK_TEXTS;

/// The shortest and the longest wait before a chunk is offered to a full queue again.
const OFFER_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

type Answered = Result<Answer, PredictError>;

/// A bulk request. Entries come out in the order in which they went in, each with the tag
/// that its caller gave it. Dropping it cancels the texts that are not answered.
pub struct Bulk<T> {
    service: Arc<Service>,
    options: Options,
    order: VecDeque<(T, Entry)>,
    collected: Collected,
    /// Those that are complete, and were collected while there was no room for them.
    waiting: VecDeque<Collected>,
    chunks: VecDeque<Chunk>,
    tasks: JoinSet<()>,
    /// How many texts it was given.
    texts: u64,
    /// How many of them were cancelled.
    left: u64,
    /// Set once the first chunk is sent; becomes true once it is accepted. The sender is
    /// dropped if it is refused.
    begun: Option<watch::Receiver<bool>>,
    refused: Option<PredictError>,
}

/// An entry in the order.
enum Entry {
    Passed,
    Refused(PredictError),
    Asked,
}

/// A chunk that is being collected. What becomes of long texts is the same for all of it.
#[derive(Default)]
struct Collected {
    texts: Vec<String>,
    bytes: usize,
    long_texts: LongTexts,
}

impl Collected {
    fn is_full(&self) -> bool {
        self.texts.len() >= CHUNK_TEXTS || self.bytes >= CHUNK_BYTES
    }
}

/// A chunk in progress.
struct Chunk {
    answers: mpsc::Receiver<Answered>,
    left: usize,
}

impl Service {
    /// Begins a bulk request. The time-out of `options` holds for each text, from when its
    /// chunk may begin.
    pub fn bulk<T>(self: &Arc<Self>, options: Options) -> Bulk<T> {
        self.metrics.bulk.inc();
        Bulk {
            service: Arc::clone(self),
            options,
            order: VecDeque::new(),
            collected: Collected::default(),
            waiting: VecDeque::new(),
            chunks: VecDeque::new(),
            tasks: JoinSet::new(),
            texts: 0,
            left: 0,
            begun: None,
            refused: None,
        }
    }
}

impl<T> Bulk<T> {
    /// Whether it takes more entries; if not, answers have to be read first.
    pub fn has_room(&self) -> bool {
        self.order.len() < ENTRIES && self.waiting.is_empty() && !self.collected.is_full()
    }

    /// Whether all entries have come out.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Adds a text, and says what is to become of it if it is too long for the model. One that
    /// is longer than is allowed is refused in its turn. If there is no room, nothing is lost,
    /// but more memory is used.
    pub fn push(&mut self, text: String, long_texts: LongTexts, tag: T) {
        self.texts += 1;
        if let Err(refused) = self.service.admit(std::slice::from_ref(&text)) {
            self.order.push_back((tag, Entry::Refused(refused)));
            return;
        }
        self.order.push_back((tag, Entry::Asked));
        if self.collected.long_texts != long_texts {
            self.complete();
            self.send();
            self.collected.long_texts = long_texts;
        }
        self.collected.bytes += text.len();
        self.collected.texts.push(text);
        if self.collected.is_full() {
            self.send();
        }
    }

    /// Adds an entry that needs no answer and only keeps its place in the order.
    pub fn pass(&mut self, tag: T) {
        self.order.push_back((tag, Entry::Passed));
    }

    /// The next entry in the order, with its answer if it is a text; `None` if there is no
    /// entry. Dropping the future loses nothing.
    ///
    /// If the very first text is refused because the queue is full, nothing has been done
    /// yet, and the whole request should be cancelled.
    pub async fn next(&mut self) -> Option<(T, Option<Answered>)> {
        let answer = match self.order.front()? {
            (_, Entry::Asked) => Some(self.answer().await),
            (_, Entry::Passed | Entry::Refused(_)) => None,
        };
        let (tag, entry) = self.order.pop_front()?;
        let answer = match entry {
            Entry::Refused(error) => Some(Err(error)),
            Entry::Passed | Entry::Asked => answer,
        };
        if let Some(answer) = &answer {
            let counted = answer.as_ref().map(|_| ());
            self.service.metrics.count_text(counted);
        }
        Some((tag, answer))
    }

    /// The answer to the first text that is not answered yet.
    async fn answer(&mut self) -> Answered {
        // As late as possible, so that chunks are as large as possible.
        self.send();
        let Some(chunk) = self.chunks.front_mut() else {
            return Err(PredictError::failed(
                "a text was lost before it was asked for",
            ));
        };
        let answer = chunk.answers.recv().await;
        chunk.left -= 1;
        if chunk.left == 0 {
            self.chunks.pop_front();
        }
        let answer = answer.unwrap_or_else(|| Err(PredictError::failed("the host panicked")));
        if let Err(error) = &answer
            && let ErrorKind::Overloaded { .. } = error.kind
            && self.refused.is_none()
        {
            self.refused = Some(error.clone());
        }
        answer
    }

    /// Cancels everything that is not answered.
    pub fn abandon(&mut self) {
        let texts = |entry: &&(T, Entry)| !matches!(entry.1, Entry::Passed);
        self.left += self.order.iter().filter(texts).count() as u64;
        self.order.clear();
        self.collected = Collected::default();
        self.waiting.clear();
        self.chunks.clear();
        self.tasks.abort_all();
    }

    /// Nothing is added any more to the collected chunk.
    fn complete(&mut self) {
        let collected = std::mem::take(&mut self.collected);
        if !collected.texts.is_empty() {
            self.waiting.push_back(collected);
        }
    }

    /// Sends the collected chunk and those that wait, unless enough are in progress.
    fn send(&mut self) {
        while self.chunks.len() < CHUNKS {
            if self.waiting.is_empty() {
                self.complete();
            }
            let Some(collected) = self.waiting.pop_front() else {
                return;
            };
            self.send_chunk(collected);
        }
    }

    fn send_chunk(&mut self, collected: Collected) {
        while self.tasks.try_join_next().is_some() {}
        let texts = collected.texts;
        let left = texts.len();
        let mut options = self.options;
        options.request.long_texts = collected.long_texts;
        let (replies, answers) = mpsc::channel(left);
        self.chunks.push_back(Chunk { answers, left });
        let offers = match &self.begun {
            Some(begun) => Offers::Many(begun.clone()),
            None => {
                let (taken, begun) = watch::channel(false);
                self.begun = Some(begun);
                Offers::One(taken)
            }
        };
        let service = Arc::clone(&self.service);
        let answering = service.answer_chunk(texts, options, offers, replies);
        self.tasks.spawn(answering.in_current_span());
    }
}

impl<T> Drop for Bulk<T> {
    fn drop(&mut self) {
        self.abandon();
        let metrics = &self.service.metrics;
        metrics.end_bulk(self.texts, self.refused.as_ref(), self.left);
    }
}

/// The turns of all chunks. A client has as many in line as may be in progress, so that the
/// chunks of another one wait for few of them.
pub(crate) struct Turns {
    chunks: usize,
    all: Arc<Semaphore>,
    clients: Mutex<HashMap<Client, Weak<Semaphore>>>,
}

/// A chunk may be in progress until its permits are dropped: that of all clients, and its own
/// client's, which keeps the client's place in the map. The semaphores are never closed, so
/// that none is missing.
type Turn = [Option<OwnedSemaphorePermit>; 2];

impl Turns {
    /// Turns for so many chunks in progress, at least 1.
    pub(crate) fn new(chunks: usize) -> Self {
        let chunks = chunks.max(1);
        Self {
            chunks,
            all: Arc::new(Semaphore::new(chunks)),
            clients: Mutex::default(),
        }
    }

    async fn take(&self, client: Client) -> Turn {
        let own = self.of_client(client);
        let own = own.acquire_owned().await.ok();
        let all = Arc::clone(&self.all).acquire_owned().await.ok();
        [all, own]
    }

    fn of_client(&self, client: Client) -> Arc<Semaphore> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = clients.get(&client).and_then(Weak::upgrade) {
            return own;
        }
        clients.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(self.chunks));
        clients.insert(client, Arc::downgrade(&own));
        own
    }
}

/// How often a chunk is offered to a full queue.
enum Offers {
    /// Once, because the request has not begun, and its caller can go elsewhere. The sender
    /// reports that the chunk was accepted.
    One(watch::Sender<bool>),
    /// Until it is accepted, but not before the first chunk of its request, whose place it
    /// would take.
    Many(watch::Receiver<bool>),
}

impl Service {
    /// Answers a chunk once it may begin. The channel has room for all answers.
    async fn answer_chunk(
        self: Arc<Self>,
        texts: Vec<String>,
        options: Options,
        mut offers: Offers,
        replies: mpsc::Sender<Answered>,
    ) {
        if let Offers::Many(begun) = &mut offers {
            // If the first chunk is refused, the caller decides what to do.
            let _ = begun.wait_for(|taken| *taken).await;
        }
        let _turn = self.turns.take(options.request.client).await;
        let deadline = self.deadline(options);
        let until = Instant::now() + deadline;
        let count = texts.len();
        let offered = self.offer(texts, options.request, offers);
        let taken = timeout_at(until, offered).await;
        let pending = match taken.unwrap_or_else(|_| Err(late(deadline))) {
            Ok(pending) => pending,
            Err(error) => {
                for _ in 0..count {
                    let _ = replies.try_send(Err(error.clone()));
                }
                return;
            }
        };
        for pending in pending {
            let answer = timeout_at(until, self.settled(pending)).await;
            let answer = answer.unwrap_or_else(|_| Err(late(deadline)));
            // Fails only if nobody waits any more; then this task is being aborted.
            let _ = replies.try_send(answer.map_err(|error| in_request(error, 0)));
        }
    }

    async fn offer(
        &self,
        texts: Vec<String>,
        options: RequestOptions,
        offers: Offers,
    ) -> Result<Vec<Pending>, PredictError> {
        loop {
            let taken = self.router.predict(texts.clone(), options).await;
            match (&offers, taken) {
                (Offers::One(begun), Ok(pending)) => {
                    begun.send_replace(true);
                    return Ok(pending);
                }
                (Offers::Many(_), Err(error)) => match error.kind {
                    ErrorKind::Overloaded { retry_after } => {
                        sleep(retry_after.clamp(OFFER_AGAIN.0, OFFER_AGAIN.1)).await;
                    }
                    _ => return Err(error),
                },
                (_, taken) => return taken,
            }
        }
    }
}
