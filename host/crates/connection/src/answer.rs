//! Answers that clients have not read yet.
//!
//! An answer is given to hyper in small pieces, as the client reads it, so that what is not
//! sent yet is still here. It counts as unread while its client keeps it waiting. A
//! connection that has too many unread answers gets no further ones; one whose client stops
//! reading, or that is the slowest where all connections have too many, is closed.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The most bytes that hyper is given at a time. Over HTTP/1 it asks for more until it has
/// 64 KiB that the client has not read.
const PIECE: usize = 16 * 1024;

/// What an answer of unknown length counts, in bytes: most of them are compressed on the
/// way, which takes memory.
const UNKNOWN: usize = 128 * 1024;

/// A connection with this many unread bytes gets no further answers.
const MAX_OF_CONNECTION: usize = 2 << 20;

/// If all connections have more unread bytes than this, the slowest is closed.
const MAX_OF_ALL: usize = 64 << 20;

/// For so long a client is not slow.
const GRACE: Duration = Duration::from_millis(100);

/// The unread answers of all connections.
#[derive(Default)]
pub(crate) struct AllUnread {
    bytes: AtomicUsize,
    too_many: Notify,
}

impl AllUnread {
    /// Resolves when there may be too many unread bytes.
    pub(crate) async fn too_many(&self) {
        self.too_many.notified().await;
    }

    /// Whether a connection has to be closed.
    pub(crate) fn is_too_many(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > MAX_OF_ALL
    }
}

/// The answers of a connection.
#[derive(Default)]
pub(crate) struct Answers {
    all: Arc<AllUnread>,
    own: Mutex<Own>,
    read: Notify,
}

#[derive(Default)]
struct Own {
    next: u64,
    bytes: usize,
    unread: Vec<Unread>,
}

struct Unread {
    number: u64,
    bytes: usize,
    since: Instant,
    is_watched: bool,
}

impl Answers {
    pub(crate) fn new(all: Arc<AllUnread>) -> Self {
        Self {
            all,
            ..Self::default()
        }
    }

    /// Resolves once the connection may have another answer.
    pub(crate) async fn room(&self) {
        loop {
            let read = self.read.notified();
            if self.have_room() {
                return;
            }
            read.await;
        }
    }

    /// Whether the connection may have another answer.
    pub(crate) fn have_room(&self) -> bool {
        self.own().bytes < MAX_OF_CONNECTION
    }

    /// Since when the client has kept an answer waiting, if it is slow.
    pub(crate) fn slow_since(&self) -> Option<Instant> {
        let own = self.own();
        let since = own.unread.iter().map(|unread| unread.since).min();
        since.filter(|since| since.elapsed() >= GRACE)
    }

    /// Since when the client has kept an answer waiting that nobody else watches.
    pub(crate) fn unread_since(&self) -> Option<Instant> {
        let own = self.own();
        let unread = own.unread.iter().filter(|unread| !unread.is_watched);
        unread.map(|unread| unread.since).min()
    }

    fn begin(&self) -> u64 {
        let mut own = self.own();
        own.next += 1;
        own.next
    }

    /// The client keeps so much of an answer waiting.
    fn waits(&self, number: u64, bytes: usize, is_watched: bool) {
        let unread = Unread {
            number,
            bytes,
            since: Instant::now(),
            is_watched,
        };
        let mut own = self.own();
        own.unread.push(unread);
        own.bytes += bytes;
        drop(own);
        let before = self.all.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > MAX_OF_ALL {
            self.all.too_many.notify_one();
        }
    }

    /// The client wants more of an answer, or will not get any.
    fn goes_on(&self, number: u64) {
        let mut own = self.own();
        let place = own.unread.iter().position(|unread| unread.number == number);
        let Some(place) = place else { return };
        let Unread { bytes, .. } = own.unread.swap_remove(place);
        let was_full = own.bytes >= MAX_OF_CONNECTION;
        own.bytes -= bytes;
        drop(own);
        self.all.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if was_full {
            self.read.notify_waiters();
        }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of an answer.
pub(crate) struct Answer<B> {
    body: B,
    /// What the body has given, and hyper has not been given.
    rest: Bytes,
    place: Option<Place>,
}

/// An answer among those of its connection.
struct Place {
    answers: Arc<Answers>,
    number: u64,
    /// Whether the handler gives up by itself on a client that does not read.
    is_watched: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Answer<B> {
    pub(crate) fn new(body: B, answers: &Arc<Answers>, is_watched: bool) -> Self {
        let answer = Self {
            place: (!body.is_end_stream()).then(|| Place {
                answers: Arc::clone(answers),
                number: answers.begin(),
                is_watched,
            }),
            body,
            rest: Bytes::new(),
        };
        answer.wait(0);
        answer
    }

    /// Notes that the client keeps the answer waiting. Hyper has been `given` so many bytes
    /// of it, and drops the answer once it has sent the last of them.
    fn wait(&self, given: usize) {
        if let Some(place) = &self.place {
            let body = self.body.size_hint().exact();
            let body = body.map_or(UNKNOWN, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            });
            let bytes = body.saturating_add(self.rest.len() + given);
            place.answers.waits(place.number, bytes, place.is_watched);
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if let Some(place) = &this.place {
            place.answers.goes_on(place.number);
        }
        if this.rest.is_empty() {
            match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                // Now it is the server that keeps the client waiting.
                other => return other,
            }
        }
        let piece = this.rest.split_to(PIECE.min(this.rest.len()));
        this.wait(piece.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.answers.goes_on(self.number);
    }
}
