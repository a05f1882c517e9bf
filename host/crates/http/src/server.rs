//! Accepts connections until told to stop, then lets them finish.
//!
//! This module must not know requests or routes: a connection is a task that
//! ends, and what answers is given to it.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

#[cfg(target_os = "linux")]
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use super::HttpConfig;
use super::connection::{self, Phase};
use super::exchange::Handler;

/// How long to wait after an accept that failed for want of a resource, such
/// as file descriptors: long enough not to spin, short beside the time in
/// which another connection ends and frees one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may take to be established that was begun before the listener
/// closes.
const BEGUN: Duration = Duration::from_millis(50);

/// Serves `handler` on `listener` until `shutdown` resolves; then for
/// `config.drain_delay` as before, but that clients of HTTP/1 are asked to close their
/// connections; and then until the requests in flight are answered or `config.drain` is
/// over.
///
/// After that no connection is left, so there is nothing to return: neither a
/// client nor a failed accept can end the loop.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    config: HttpConfig,
    shutdown: impl Future<Output = ()>,
) {
    let (phase, _) = watch::channel(Phase::Serving);
    let (delay, drain) = (config.drain_delay, config.drain);
    let mut connections = Connections {
        handler,
        config: Arc::new(config),
        phase,
        tasks: JoinSet::new(),
    };
    connections.accept_until(&listener, shutdown).await;
    connections.phase.send_replace(Phase::Draining);
    connections.accept_until(&listener, sleep(delay)).await;
    // A connection that is begun now would be reset when the listener closes.
    if refuse_new(&listener) {
        connections.accept_until(&listener, sleep(BEGUN)).await;
    }
    connections.open_waiting(listener);
    connections.phase.send_replace(Phase::Closing);
    let drained = tokio::time::timeout(drain, async {
        while let Some(ended) = connections.tasks.join_next().await {
            connections.note(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(
            connections = connections.tasks.len(),
            "connections were cut off: they did not finish within the drain time"
        );
        connections.tasks.shutdown().await;
        connections.handler.connections(0);
    }
}

/// The connections that are open.
struct Connections<H> {
    handler: Arc<H>,
    config: Arc<HttpConfig>,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
}

impl<H: Handler> Connections<H> {
    fn has_room(&self) -> bool {
        self.tasks.len() < self.config.max_connections
    }

    async fn accept_until(&mut self, listener: &TcpListener, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                Some(ended) = self.tasks.join_next() => self.note(ended),
                accepted = listener.accept(), if self.has_room() => match accepted {
                    Ok((socket, _)) => self.open(socket),
                    Err(error) => pause_after(error).await,
                }
            }
        }
    }

    fn open(&mut self, socket: TcpStream) {
        let (handler, config) = (Arc::clone(&self.handler), Arc::clone(&self.config));
        let connection = connection::run(socket, handler, config, self.phase.subscribe());
        self.tasks.spawn(connection);
        self.handler.connections(self.tasks.len());
    }

    /// Opens the connections that the kernel has taken on already: closing the
    /// listener would reset them, and lose what they have been sent. Closed, it
    /// refuses new ones at once, so that a load balancer turns elsewhere
    /// instead of waiting.
    fn open_waiting(&mut self, listener: TcpListener) {
        // Asked directly, since the runtime may not have heard of them yet.
        let Ok(listener) = listener.into_std() else {
            return;
        };
        while self.has_room()
            && let Ok((socket, _)) = listener.accept()
        {
            let socket = socket.set_nonblocking(true).map(|()| socket);
            if let Ok(socket) = socket.and_then(TcpStream::from_std) {
                self.open(socket);
            }
        }
    }

    fn note(&self, ended: Result<(), JoinError>) {
        note(ended);
        self.handler.connections(self.tasks.len());
    }
}

/// A connection's task cannot be cancelled while the loop runs, so a join
/// error is a panic: a defect to log, which has cost that connection only.
fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended in a panic");
    }
}

/// Has the kernel drop what would begin a connection, which its client sends again a
/// second later, and take on those that are begun. Tells whether it does.
#[cfg(target_os = "linux")]
fn refuse_new(listener: &TcpListener) -> bool {
    // In the classic instructions of BPF: drop a segment whose flags, in its 14th byte,
    // have SYN, and let all others through.
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    let filter = [
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    let attached = SockRef::from(listener).attach_filter(&filter);
    attached
        .inspect_err(|error| tracing::debug!(%error, "the listener takes no filter"))
        .is_ok()
}

#[cfg(not(target_os = "linux"))]
fn refuse_new(_listener: &TcpListener) -> bool {
    false
}

async fn pause_after(error: io::Error) {
    match error.kind() {
        // The client was gone before it was accepted, which says nothing about
        // the next one.
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset => {}
        _ => {
            tracing::warn!(%error, "a connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
        }
    }
}
