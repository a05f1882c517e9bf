//! Texts without end: answered in their order, and a bounded number at a time.
//!
//! They are gathered into chunks, and each chunk is a request of its own to the
//! layers below. So a bulk request takes part in the turns that are fair between
//! requests: what somebody else asks for meanwhile waits for about one text of
//! each chunk that is under way, and of those there are few, however many bulk
//! requests there are. What there is too much to do for now is offered again, since
//! whoever sends texts without end would rather wait than be refused.
//!
//! A chunk is answered whether or not its answers are taken, so that a caller who
//! does not read holds up nobody else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Instrument as _;

use super::{Options, Service, in_request, late};
use predictor::{Answer, Caching, ErrorKind, Pending, PredictError};

/// The most texts of a chunk. Four such chunks keep some 60 workers busy with
/// batches of 16; and the queue counts a chunk for no more than 2,048 tokens.
const CHUNK_TEXTS: usize = 256;

/// The most bytes of a chunk, unless a single text has more: a dozen of the longest
/// texts that models read, so that all chunks are answered within a deadline.
const CHUNK_BYTES: usize = 32 * 1024;

/// How many chunks of one request are under way, so that workers need not wait for
/// the next one; another is being gathered.
const CHUNKS: usize = 4;

/// How many texts and other entries a request may have that are not answered.
const ENTRIES: usize = (CHUNKS + 1) * CHUNK_TEXTS;

/// When a chunk that there is too much to do for is offered again.
const OFFER_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

type Answered = Result<Answer, PredictError>;

/// A bulk request. What it is given comes out in the same order, each with a tag of
/// the caller's. Dropped, it ends the work for what is not answered.
pub struct Bulk<T> {
    service: Arc<Service>,
    options: Options,
    order: VecDeque<(T, Entry)>,
    gathered: Vec<String>,
    gathered_bytes: usize,
    chunks: VecDeque<Chunk>,
    tasks: JoinSet<()>,
    /// How many texts there have been.
    texts: u64,
    /// How many of them were given up.
    left: u64,
    /// Whether the first chunk has been taken on, once it is sent; there is no more
    /// to hear if it is refused.
    begun: Option<watch::Receiver<bool>>,
    refused: Option<PredictError>,
}

/// What the next thing in the order is.
enum Entry {
    Passed,
    Refused(PredictError),
    Asked,
}

/// A chunk that is under way.
struct Chunk {
    answers: mpsc::Receiver<Answered>,
    left: usize,
}

impl Service {
    /// Begins a bulk request. A time-out of the options is one of each text, from
    /// when its chunk's turn has come.
    pub fn bulk<T>(self: &Arc<Self>, options: Options) -> Bulk<T> {
        self.metrics.bulk.inc();
        Bulk {
            service: Arc::clone(self),
            options,
            order: VecDeque::new(),
            gathered: Vec::new(),
            gathered_bytes: 0,
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
    /// Whether more may be given: if not, answers have to be taken first.
    pub fn has_room(&self) -> bool {
        self.order.len() < ENTRIES && !self.is_full()
    }

    /// Whether everything is answered.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Gives the next text. One that is over the limit is refused in its turn.
    /// Without room nothing is lost, but more is held.
    pub fn push(&mut self, text: String, tag: T) {
        self.texts += 1;
        if let Err(refused) = self.service.admit(std::slice::from_ref(&text)) {
            self.order.push_back((tag, Entry::Refused(refused)));
            return;
        }
        self.order.push_back((tag, Entry::Asked));
        self.gathered_bytes += text.len();
        self.gathered.push(text);
        if self.is_full() {
            self.send();
        }
    }

    /// Gives something that needs no answer and only keeps its place in the order.
    pub fn pass(&mut self, tag: T) {
        self.order.push_back((tag, Entry::Passed));
    }

    /// The next in the order, once it is answered, with its answer if it was a
    /// text; nothing if there is none. If this is dropped before it resolves,
    /// nothing is lost.
    ///
    /// If the first text of all is refused because there is too much to do,
    /// nothing has been done, and the whole request should be given up.
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

    /// The answer to the first text that has been asked for and not answered.
    async fn answer(&mut self) -> Answered {
        // As late as possible, so that chunks are as large as can be.
        self.send();
        let Some(chunk) = self.chunks.front_mut() else {
            return Err(lost("a text was lost before it was asked for"));
        };
        let answer = chunk.answers.recv().await;
        chunk.left -= 1;
        if chunk.left == 0 {
            self.chunks.pop_front();
        }
        let answer = answer.unwrap_or_else(|| Err(lost("the host panicked")));
        if let Err(error) = &answer
            && let ErrorKind::Overloaded { .. } = error.kind
            && self.refused.is_none()
        {
            self.refused = Some(error.clone());
        }
        answer
    }

    /// Gives up all that is not answered.
    pub fn abandon(&mut self) {
        let texts = |entry: &&(T, Entry)| !matches!(entry.1, Entry::Passed);
        self.left += self.order.iter().filter(texts).count() as u64;
        self.order.clear();
        self.gathered.clear();
        self.gathered_bytes = 0;
        self.chunks.clear();
        self.tasks.abort_all();
    }

    fn is_full(&self) -> bool {
        self.gathered.len() >= CHUNK_TEXTS || self.gathered_bytes >= CHUNK_BYTES
    }

    /// Has what is gathered answered, unless enough is under way.
    fn send(&mut self) {
        if self.gathered.is_empty() || self.chunks.len() >= CHUNKS {
            return;
        }
        while self.tasks.try_join_next().is_some() {}
        let texts = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        let left = texts.len();
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
        let answering = service.answer_chunk(texts, self.options, offers, replies);
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

/// How often a chunk is offered while there is too much to do.
enum Offers {
    /// Once: the request has not begun, and its caller can go elsewhere. Is told if
    /// the chunk is taken on.
    One(watch::Sender<bool>),
    /// Until it is taken on, but not before the first one of its request, whose
    /// place it would take.
    Many(watch::Receiver<bool>),
}

impl Service {
    /// Answers a chunk when it is its turn. The channel has room for all answers.
    async fn answer_chunk(
        self: Arc<Self>,
        texts: Vec<String>,
        options: Options,
        mut offers: Offers,
        replies: mpsc::Sender<Answered>,
    ) {
        if let Offers::Many(begun) = &mut offers {
            // If the first one is refused, it is for the caller to give up.
            let _ = begun.wait_for(|taken| *taken).await;
        }
        let Ok(_turn) = self.chunks.acquire().await else {
            return;
        };
        let deadline = self.deadline(options);
        let until = Instant::now() + deadline;
        let count = texts.len();
        let offered = self.offer(texts, options.caching, offers);
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
            // Fails only if nobody waits any more, and then this is being ended.
            let _ = replies.try_send(answer.map_err(|error| in_request(error, 0)));
        }
    }

    async fn offer(
        &self,
        texts: Vec<String>,
        caching: Caching,
        offers: Offers,
    ) -> Result<Vec<Pending>, PredictError> {
        loop {
            let taken = self.router.predict(texts.clone(), caching).await;
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

fn lost(detail: &str) -> PredictError {
    PredictError::new(ErrorKind::Failed, "the prediction failed").with_detail(detail)
}
