//! One connection: HTTP/1.1 or HTTP/2, bounded in how long it may go without a
//! request, and closed cleanly when the server stops.
//!
//! This module must not know routes: every request goes to a [`Handler`].

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::Instrument as _;

use super::HttpConfig;
use super::activity::{Activity, InFlight, Overdue};
use super::call::Call;
use super::exchange::Handler;
use super::stream::Stream;

/// The most bytes of HTTP/1 that wait in a connection's buffer, and so the
/// longest head of a request; hyper's own 400 KiB are more than any honest
/// client needs, times the number of connections.
const MAX_BUFFER: usize = 64 * 1024;

/// How far a server has come on its way to stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It serves.
    Serving,
    /// It still serves, and asks clients to go elsewhere with their next request.
    Draining,
    /// It accepts no more connections, and closes those that it has.
    Closing,
}

/// What a request has of its connection.
pub struct Session {
    /// The connection is busy for as long as this is kept.
    _in_flight: InFlight,
    phase: Arc<watch::Receiver<Phase>>,
    id: HeaderValue,
}

impl Session {
    /// How far the server has come on its way to stopping.
    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        watch::Receiver::clone(&self.phase)
    }

    /// What the request is known by.
    pub(crate) fn id(&self) -> HeaderValue {
        self.id.clone()
    }
}

/// Serves `socket` until the client leaves, is too slow, or `phase` says that the
/// connection is to be closed and the requests in flight are answered.
pub(crate) async fn run<H: Handler>(
    socket: TcpStream,
    handler: Arc<H>,
    config: Arc<HttpConfig>,
    mut phase: watch::Receiver<Phase>,
) {
    // Answers are written whole, so waiting for more to send only adds delay.
    // It fails only for a socket that is gone, which the first read will find.
    let _ = socket.set_nodelay(true);

    let activity = Activity::new();
    let stream = Stream::new(socket, Arc::clone(&activity), config.half_close);
    let shared = Arc::new(phase.clone());
    let log_requests = config.log_requests;
    let service = service_fn(|request: Request<Incoming>| {
        let handler = Arc::clone(&handler);
        let call = Call::begin(&request, log_requests);
        let session = Session {
            _in_flight: activity.begin(request.version()),
            phase: Arc::clone(&shared),
            id: call.id(),
        };
        let (phase, version) = (Arc::clone(&shared), request.version());
        async move {
            let answer = handler.answer(request, session);
            let mut answer = answer.instrument(call.span()).await;
            // HTTP/2 says the same of a whole connection (GOAWAY).
            if version < Version::HTTP_2 && *phase.borrow() != Phase::Serving {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(call.end(answer))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Hyper's own timeout runs between the requests of a kept connection too,
    // but neither for HTTP/2 nor before the protocol is known. Counting the
    // requests in flight covers all of these.
    builder.http1().header_read_timeout(None);
    builder.http1().max_buf_size(MAX_BUFFER);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));

    let told_to_close = async {
        closing(&mut phase).await;
        // A client of HTTP/2 is told to go away, and loses nothing. One of HTTP/1 may
        // just be sending its next request, which would be lost; with the answer to that
        // it is told, too.
        if !activity.is_http2() {
            activity.idle(config.close_grace).await;
        }
    };
    // Biased: the connection is what a task is nearly always woken for.
    tokio::select! {
        biased;
        ended = connection.as_mut() => return note(ended),
        overdue = activity.overdue(config.header_timeout, config.idle_timeout) => {
            // Nothing has been asked, so that there is nothing to finish.
            if overdue == Overdue::Silent {
                return;
            }
        }
        () = told_to_close => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => note(ended),
        // What is left is a client that does not read its answer, or that has
        // begun a request and does not finish it.
        () = activity.idle(config.header_timeout) => {}
    }
}

/// Resolves when connections are to be closed.
pub(crate) async fn closing(phase: &mut watch::Receiver<Phase>) {
    // The server holds the sender for as long as there are connections.
    let _ = phase.wait_for(|phase| *phase == Phase::Closing).await;
}

/// Clients that leave in mid-request or speak nonsense are everyday life.
fn note(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended early");
    }
}
