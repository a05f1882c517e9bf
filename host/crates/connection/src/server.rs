//! Accepts connections until told to stop, then lets them finish.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Request, Response};
#[cfg(target_os = "linux")]
use socket2::{SockFilter, SockRef};
use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, sleep};
use tower_service::Service;

use crate::activity::Activity;
use crate::answer::AllUnread;
use crate::connection::{self, Accepted, Phase};
#[cfg(target_os = "linux")]
use crate::listener::Kind;
use crate::memory::{Shares, peer_of};
use crate::socket::Socket;
use crate::{Config, Listener, RequestBody, Tls};

/// How long to wait after an accept that failed for want of a resource, such as file
/// descriptors: long enough not to spin, short beside the time in which another
/// connection ends and frees one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often such failures are logged at most.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How often a server that is full looks whether a connection has become idle.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a TCP handshake that began before the listener closes may take.
const HANDSHAKE: Duration = Duration::from_millis(50);

/// Serves `service` on `listener` until `shutdown` resolves. After that it goes on for
/// `config.drain_delay` while it asks HTTP/1 clients to close their connections, and
/// then waits until the requests in flight are answered, for at most `config.drain`.
///
/// Calls `report_open` with the number of open connections whenever it changes.
///
/// No connection is left when this returns. Neither a client nor a failed accept can end
/// the loop, so that there is no error to return.
pub async fn serve<S, B>(
    listener: impl Into<Listener>,
    service: S,
    config: Config,
    report_open: impl Fn(usize),
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = listener.into();
    let (phase, _) = watch::channel(Phase::Serving);
    let (delay, drain) = (config.drain_delay, config.drain);
    let mut connections = Connections {
        service,
        tls: listener.handshake(),
        config: Arc::new(config),
        phase,
        tasks: JoinSet::new(),
        open: HashMap::new(),
        unread: Arc::default(),
        peers: HashMap::new(),
        warned: None,
        report_open,
    };
    connections.accept_until(&listener, shutdown).await;
    connections.phase.send_replace(Phase::Draining);
    connections.accept_until(&listener, sleep(delay)).await;
    // A connection whose handshake begins now would be reset when the listener closes.
    if refuse_new(&listener) {
        connections.accept_until(&listener, sleep(HANDSHAKE)).await;
    }
    connections.open_waiting(listener);
    connections.phase.send_replace(Phase::Closing);
    let drained = tokio::time::timeout(drain, async {
        while let Some(ended) = connections.tasks.join_next_with_id().await {
            connections.ended(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(
            connections = connections.tasks.len(),
            "closed connections that did not finish within the drain time"
        );
        connections.tasks.shutdown().await;
        (connections.report_open)(0);
    }
}

/// The open connections.
struct Connections<S, F> {
    service: S,
    /// What a connection begins with.
    tls: Option<Tls>,
    config: Arc<Config>,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
    open: HashMap<task::Id, Arc<Activity>>,
    unread: Arc<AllUnread>,
    /// What the bodies of each peer use, for as long as it has a connection.
    peers: HashMap<IpAddr, Weak<AtomicUsize>>,
    /// When it was last logged that connections cannot be accepted.
    warned: Option<Instant>,
    report_open: F,
}

impl<S, F, B> Connections<S, F>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Fn(usize),
{
    fn has_room(&self) -> bool {
        self.tasks.len() < self.config.max_connections
    }

    async fn accept_until(&mut self, listener: &Listener, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        // Accepted, and not served for want of room.
        let mut next = None;
        loop {
            if next.is_some()
                && (self.has_room() || self.make_room())
                && let Some((socket, address)) = next.take()
            {
                self.open(socket, address);
            }
            tokio::select! {
                () = &mut end => break,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                accepted = listener.accept(), if next.is_none() => match accepted {
                    Ok(accepted) => next = Some(accepted),
                    Err(error) => self.pause_after(error).await,
                },
                () = sleep(LOOK_EVERY), if next.is_some() => {}
                () = self.unread.too_many() => self.cut_slowest(),
            }
        }
        if let Some((socket, address)) = next {
            self.open(socket, address);
        }
    }

    /// The connection of which something has been true for longest; `since` says since when.
    fn longest(&self, since: impl Fn(&Activity) -> Option<Instant>) -> Option<&Activity> {
        let open = self.open.values();
        let open = open.filter_map(|activity| Some((since(activity)?, activity)));
        let longest = open.min_by_key(|(since, _)| *since);
        longest.map(|(_, activity)| &**activity)
    }

    /// Closes the connection that has been without a request for longest. Clients that keep
    /// connections and do not use them must not keep others out. Returns whether there was
    /// one.
    fn make_room(&self) -> bool {
        let idle = self.longest(Activity::idle_since);
        idle.inspect(|activity| activity.give_way()).is_some()
    }

    fn open(&mut self, socket: Socket, address: IpAddr) {
        if !has_date(SystemTime::now()) {
            self.warn("the clock is before 1970 or after 9999; set it");
            return;
        }
        let activity = Activity::new(Arc::clone(&self.unread));
        let peer = peer_of(address);
        let shares = Shares::of_connection(self.used_by(peer));
        let (service, config) = (self.service.clone(), Arc::clone(&self.config));
        let phase = self.phase.subscribe();
        let tls = self.tls.clone();
        let accepted = Accepted { socket, tls, peer };
        let connection = connection::run(
            accepted,
            Arc::clone(&activity),
            shares,
            service,
            config,
            phase,
        );
        let task = self.tasks.spawn(connection);
        self.open.insert(task.id(), activity);
        (self.report_open)(self.tasks.len());
    }

    /// Closes the connection whose client has kept an answer waiting for longest.
    fn cut_slowest(&self) {
        if !self.unread.is_too_many() {
            return;
        }
        if let Some(slow) = self.longest(|activity| activity.answers.slow_since()) {
            slow.cut();
        }
    }

    fn used_by(&mut self, peer: IpAddr) -> Arc<AtomicUsize> {
        // Those without a connection are forgotten now and then.
        if self.peers.len() > 2 * self.tasks.len() + 16 {
            self.peers.retain(|_, used| used.strong_count() > 0);
        }
        let used = self.peers.entry(peer).or_default();
        used.upgrade().unwrap_or_else(|| {
            let new = Arc::default();
            *used = Arc::downgrade(&new);
            new
        })
    }

    /// Opens the connections that the kernel has accepted already: closing the listener
    /// would reset them, and lose what was sent. Once closed, it refuses new ones at
    /// once, so that a load balancer turns elsewhere instead of waiting.
    fn open_waiting(&mut self, listener: Listener) {
        let waiting = listener.waiting();
        while self.has_room()
            && let Some((socket, address)) = waiting.next()
        {
            self.open(socket, address);
        }
    }

    /// A connection's task is never cancelled while the loop runs, so that a join error
    /// is a panic: a defect that has cost that connection only.
    fn ended(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let (id, ()) = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "a connection panicked");
            (error.id(), ())
        });
        self.open.remove(&id);
        (self.report_open)(self.tasks.len());
    }

    fn warn(&mut self, error: &str) {
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            tracing::warn!(error, "connections cannot be accepted");
        }
    }

    /// Waits after an accept that failed.
    async fn pause_after(&mut self, error: io::Error) {
        match error.kind() {
            // The client left before it was accepted, which says nothing about the next.
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset => {}
            _ => {
                self.warn(&error.to_string());
                // Most likely there are no more file descriptors, of which this frees one.
                self.make_room();
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether HTTP can express a time. Hyper gives every answer a `Date`, looks at the clock
/// even for one that has its own, and panics at any other time.
fn has_date(time: SystemTime) -> bool {
    /// The first second of the year 10000.
    const END: Duration = Duration::from_secs(253_402_300_800);
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.is_ok_and(|since| since < END)
}

/// Has the kernel drop the first packet of new connections, which clients send again a
/// second later, and finish handshakes that have begun. Returns whether it does.
#[cfg(target_os = "linux")]
fn refuse_new(listener: &Listener) -> bool {
    // Classic BPF: drop a segment whose flags (byte 13) include SYN, pass all others.
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    // A Unix socket has no handshakes, and its file goes before it does.
    let Kind::Tcp(listener, _) = &listener.0 else {
        return false;
    };
    let filter = [
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    let attached = SockRef::from(listener).attach_filter(&filter);
    attached
        .inspect_err(|error| tracing::debug!(%error, "no filter on the listener"))
        .is_ok()
}

#[cfg(not(target_os = "linux"))]
fn refuse_new(_listener: &Listener) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_served_at_times_that_http_can_express() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert!(has_date(SystemTime::now()));
        assert!(has_date(epoch));
        assert!(!has_date(epoch - Duration::from_nanos(1)));
        let last = Duration::from_secs(253_402_300_799);
        assert!(has_date(epoch + last));
        assert!(!has_date(epoch + last + Duration::from_secs(1)));
    }
}
