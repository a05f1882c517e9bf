//! Tracks when a connection was last active.
//!
//! A request costs two atomic additions and one look at the clock. Timers are set again
//! when they fire, and not whenever a request comes or goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Version;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::answer::{AllUnread, Answers};

/// The activity of one connection, shared by its socket and its requests.
pub(crate) struct Activity {
    opened: Instant,
    /// Whether there has been a request.
    begun: AtomicBool,
    /// Whether requests come over HTTP/2.
    is_http2: AtomicBool,
    in_flight: AtomicUsize,
    /// When a request last ended or a part of an answer was last sent, in nanoseconds
    /// since the opening.
    last: AtomicU64,
    /// Whether the connection is to make room for another one.
    gives_way: AtomicBool,
    told: Notify,
    is_cut: AtomicBool,
    /// How many more requests were refused for want of capacity than were not, of late.
    refusals: AtomicU32,
    pub(crate) answers: Arc<Answers>,
}

/// How long a request of a client waits for each refusal that the client has not heeded.
const PAUSE: Duration = Duration::from_millis(10);

/// A request waits for at most so many pauses, so that a refusal is told in time.
const MAX_PAUSES: u32 = 5;

impl Activity {
    /// A connection that has just been opened.
    pub(crate) fn new(all: Arc<AllUnread>) -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            begun: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            gives_way: AtomicBool::new(false),
            told: Notify::new(),
            is_cut: AtomicBool::new(false),
            refusals: AtomicU32::new(0),
            answers: Arc::new(Answers::new(all)),
        })
    }

    /// Since when the connection has been without a request; `None` if it has one, or is
    /// about to close.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let is_idle = !self.is_busy() && !self.gives_way.load(Ordering::SeqCst);
        is_idle.then(|| self.last())
    }

    /// Has the connection close to make room for another one.
    pub(crate) fn give_way(&self) {
        self.gives_way.store(true, Ordering::SeqCst);
        self.told.notify_one();
    }

    /// Has the connection close at once, whatever it is doing.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.give_way();
    }

    /// Resolves when the connection is to make room for another one; returns whether at
    /// once.
    pub(crate) async fn gives_way(&self) -> bool {
        self.told.notified().await;
        self.is_cut.load(Ordering::SeqCst)
    }

    /// How long the connection's next request should wait. To refuse a request costs as much
    /// as to answer one from the cache, so that clients which ask again at once would take
    /// the cores from the work that others wait for. A single refusal costs nothing.
    pub(crate) fn pause(&self) -> Duration {
        PAUSE * self.refusals.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Notes whether a request was refused for want of capacity.
    pub(crate) fn record_refusal(&self, is_refused: bool) {
        let change = |refusals: u32| {
            if is_refused {
                (refusals <= MAX_PAUSES).then_some(refusals + 1)
            } else {
                refusals.checked_sub(1)
            }
        };
        // Nothing changes at either end.
        let _ = self
            .refusals
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// Counts a request of this version for as long as what is returned lives.
    pub(crate) fn begin(self: &Arc<Self>, version: Version) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        self.is_http2
            .store(version == Version::HTTP_2, Ordering::Relaxed);
        self.begun.store(true, Ordering::SeqCst);
        InFlight(Arc::clone(self))
    }

    /// Notes that the client has read a part of an answer. A client that reads a large
    /// answer slowly but steadily is not idle.
    pub(crate) fn touch(&self) {
        let elapsed = u64::try_from(self.opened.elapsed().as_nanos());
        self.last
            .store(elapsed.unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Whether a request is in flight.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) > 0
    }

    /// Whether requests come over HTTP/2; not before the first one.
    pub(crate) fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    /// Resolves once the connection has not had its first request within
    /// `first`, or has been without one for `idle` afterwards.
    pub(crate) async fn overdue(&self, first: Duration, idle: Duration) -> Overdue {
        loop {
            match self.look(self.opened.elapsed(), first, idle) {
                Look::Overdue(found) => return found,
                Look::Again(at) => sleep_until(self.opened + at).await,
            }
        }
    }

    /// Resolves once the connection has been idle for `limit`, counted from now.
    pub(crate) async fn idle(&self, limit: Duration) {
        let since = self.opened.elapsed();
        while let Look::Again(at) = self.look_idle(self.opened.elapsed(), limit, since) {
            sleep_until(self.opened + at).await;
        }
    }

    /// Resolves once the client has kept an answer waiting for `limit`.
    pub(crate) async fn unread(&self, limit: Duration) {
        loop {
            let mut since = self.answers.unread_since().unwrap_or_else(Instant::now);
            // Over HTTP/1 there is one answer, and hyper takes more of it than it sends.
            if !self.is_http2() {
                since = since.max(self.last());
            }
            if since.elapsed() >= limit {
                return;
            }
            sleep_until(since + limit).await;
        }
    }

    fn last(&self) -> Instant {
        self.opened + Duration::from_nanos(self.last.load(Ordering::SeqCst))
    }

    /// What to do at `now`. All times count from the opening.
    fn look(&self, now: Duration, first: Duration, idle: Duration) -> Look {
        if self.begun.load(Ordering::SeqCst) {
            self.look_idle(now, idle, Duration::ZERO)
        } else if now >= first {
            Look::Overdue(Overdue::Silent)
        } else {
            // The first request may come and go soon after this look.
            Look::Again(first.min(now.saturating_add(idle)))
        }
    }

    fn look_idle(&self, now: Duration, limit: Duration, since: Duration) -> Look {
        let idle_since = if self.is_busy() {
            now
        } else {
            since.max(Duration::from_nanos(self.last.load(Ordering::SeqCst)))
        };
        let at = idle_since.saturating_add(limit);
        if now >= at {
            Look::Overdue(Overdue::Idle)
        } else {
            Look::Again(at)
        }
    }
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// There was no request at all.
    Silent,
    /// There was none for too long.
    Idle,
}

#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// Nothing can be overdue before this.
    Again(Duration),
    Overdue(Overdue),
}

/// A request in flight, until this is dropped.
pub(crate) struct InFlight(Arc<Activity>);

impl InFlight {
    /// The answers of the request's connection.
    pub(crate) fn answers(&self) -> &Answers {
        &self.0.answers
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // Before the count: a connection never looks idle for longer than it is.
        self.0.touch();
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const FIRST: Duration = seconds(10);
    const IDLE: Duration = seconds(75);

    /// A connection whose only request has ended at this second.
    fn ended_at(second: u64) -> Arc<Activity> {
        let activity = Activity::new(Arc::default());
        drop(activity.begin(Version::HTTP_11));
        activity
            .last
            .store(second * 1_000_000_000, Ordering::SeqCst);
        activity
    }

    #[test]
    fn a_first_request_is_waited_for() {
        let activity = Activity::new(Arc::default());
        let look = |now| activity.look(seconds(now), FIRST, IDLE);
        assert_eq!(look(0), Look::Again(FIRST));
        assert_eq!(look(9), Look::Again(FIRST));
        assert_eq!(look(10), Look::Overdue(Overdue::Silent));
        // Looked for as often as it may be idle, if that is shorter.
        let often = activity.look(seconds(1), IDLE, FIRST);
        assert_eq!(often, Look::Again(seconds(11)));
    }

    #[test]
    fn idle_time_counts_from_the_end_of_a_request() {
        let activity = ended_at(7);
        let look = |now| activity.look(seconds(now), FIRST, IDLE);
        assert_eq!(look(10), Look::Again(seconds(82)));
        assert_eq!(look(82), Look::Overdue(Overdue::Idle));
        let busy = activity.begin(Version::HTTP_11);
        assert_eq!(look(500), Look::Again(seconds(575)));
        drop(busy);
    }

    #[test]
    fn a_client_that_does_not_heed_refusals_waits_for_longer_up_to_a_bound() {
        let activity = Activity::new(Arc::default());
        let pauses = |refused: &[bool]| {
            for is_refused in refused {
                activity.record_refusal(*is_refused);
            }
            activity.pause().as_millis()
        };
        assert_eq!(pauses(&[]), 0);
        assert_eq!(pauses(&[true]), 0);
        assert_eq!(pauses(&[true]), 10);
        assert_eq!(pauses(&[false, true, true]), 20);
        assert_eq!(pauses(&[true; 20]), 50);
        assert_eq!(pauses(&[false; 5]), 0);
        assert_eq!(pauses(&[false; 20]), 0);
        assert_eq!(pauses(&[true, true]), 10);
    }

    #[test]
    fn time_before_the_look_does_not_count() {
        let activity = ended_at(7);
        let look = |now| activity.look_idle(seconds(now), FIRST, seconds(100));
        assert_eq!(look(100), Look::Again(seconds(110)));
        assert_eq!(look(110), Look::Overdue(Overdue::Idle));
        activity.last.store(105_000_000_000, Ordering::SeqCst);
        assert_eq!(look(110), Look::Again(seconds(115)));
    }
}
