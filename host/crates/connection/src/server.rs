//! Accepts connections until told to stop, then lets them finish.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Request, Response};
#[cfg(target_os = "linux")]
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tower_service::Service;

use crate::connection::{self, Phase};
use crate::{Config, RequestBody};

/// How long to wait after an accept that failed for want of a resource, such as file
/// descriptors: long enough not to spin, short beside the time in which another
/// connection ends and frees one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    listener: TcpListener,
    service: S,
    config: Config,
    report_open: impl Fn(usize),
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (phase, _) = watch::channel(Phase::Serving);
    let (delay, drain) = (config.drain_delay, config.drain);
    let mut connections = Connections {
        service,
        config: Arc::new(config),
        phase,
        tasks: JoinSet::new(),
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
        while let Some(ended) = connections.tasks.join_next().await {
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
    config: Arc<Config>,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
    report_open: F,
}

impl<S, F, B> Connections<S, F>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Fn(usize),
{
    fn has_room(&self) -> bool {
        self.tasks.len() < self.config.max_connections
    }

    async fn accept_until(&mut self, listener: &TcpListener, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                accepted = listener.accept(), if self.has_room() => match accepted {
                    Ok((socket, _)) => self.open(socket),
                    Err(error) => pause_after(error).await,
                }
            }
        }
    }

    fn open(&mut self, socket: TcpStream) {
        let (service, config) = (self.service.clone(), Arc::clone(&self.config));
        let connection = connection::run(socket, service, config, self.phase.subscribe());
        self.tasks.spawn(connection);
        (self.report_open)(self.tasks.len());
    }

    /// Opens the connections that the kernel has accepted already: closing the listener
    /// would reset them, and lose what was sent. Once closed, it refuses new ones at
    /// once, so that a load balancer turns elsewhere instead of waiting.
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

    /// A connection's task is never cancelled while the loop runs, so that a join error
    /// is a panic: a defect that has cost that connection only.
    fn ended(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended {
            tracing::error!(%error, "a connection panicked");
        }
        (self.report_open)(self.tasks.len());
    }
}

/// Has the kernel drop the first packet of new connections, which clients send again a
/// second later, and finish handshakes that have begun. Returns whether it does.
#[cfg(target_os = "linux")]
fn refuse_new(listener: &TcpListener) -> bool {
    // Classic BPF: drop a segment whose flags (byte 13) include SYN, pass all others.
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
        .inspect_err(|error| tracing::debug!(%error, "no filter on the listener"))
        .is_ok()
}

#[cfg(not(target_os = "linux"))]
fn refuse_new(_listener: &TcpListener) -> bool {
    false
}

async fn pause_after(error: io::Error) {
    match error.kind() {
        // The client left before it was accepted, which says nothing about the next.
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset => {}
        _ => {
            tracing::warn!(%error, "a connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
        }
    }
}
