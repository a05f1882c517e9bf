//! One connection: HTTP/1.1 or HTTP/2, bounded in how long it may go without a request,
//! and closed cleanly when the server stops.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::sync::watch;
use tokio::time::sleep;
use tower_service::Service;

use crate::activity::{Activity, InFlight, Overdue};
use crate::answer::Answer;
use crate::body::{self, BodyError, Whole};
use crate::decompress::{Coding, Decompressed};
use crate::memory::Shares;
use crate::request_body::Flags;
use crate::socket::Socket;
use crate::stream::Stream;
use crate::{Config, Memory, NoRoom, RequestBody, Reservation, Tls};

/// The most bytes of HTTP/1 in a connection's read buffer, and so the longest head of a
/// request. Hyper's default of 400 KiB is more than any honest client needs, times the
/// number of connections.
const MAX_BUFFER: usize = 64 * 1024;

/// How long an HTTP/2 connection that makes room for another one stays open without a
/// request, so that its client learns of it.
const GOING_AWAY: Duration = Duration::from_millis(100);

/// How far the server has come on its way to stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Serving,
    /// It still serves, and asks clients to go elsewhere with their next request.
    Draining,
    /// It accepts no more connections, and closes those that are open.
    Closing,
}

/// A request's handle on its connection, found in the request's extensions. The
/// connection counts as busy until the answer has begun and all clones are dropped.
#[derive(Clone)]
pub struct Session {
    pub(crate) in_flight: Arc<InFlight>,
    /// Shared by the requests of a connection: each receiver of its own would count
    /// itself in and out of all connections.
    phase: Arc<watch::Receiver<Phase>>,
    shares: Arc<Shares>,
    peer: IpAddr,
    pub(crate) flags: Arc<Flags>,
}

impl Session {
    /// How far the server has come on its way to stopping.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Resolves when the connection is to be closed.
    pub async fn closing(&self) {
        closing(&mut watch::Receiver::clone(&self.phase)).await;
    }

    /// Reads the whole body of the request, decompressed from `coding`. One that does not
    /// arrive in time, or has to make room for faster ones, closes the connection.
    ///
    /// A body whose announced length is over `limit` (bytes), or over what is left of
    /// `memory`, is refused without being polled: a client that waits for `100 Continue`
    /// then never sends it.
    ///
    /// # Errors
    ///
    /// If it is too large, too slow, cut off, cannot be decompressed, or if there is no
    /// memory for it, or not any more.
    pub async fn read_body<B>(
        &self,
        body: B,
        coding: Option<Coding>,
        limit: usize,
        patience: Duration,
        memory: &Memory,
    ) -> Result<Whole, BodyError>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let announced = match coding {
            None => body::announced(&body, limit)?,
            Some(_) => 0,
        };
        let reservation = self.reserve(memory, announced)?;
        let mut body = Decompressed::new(body, coding, limit, &reservation);
        let whole = body::read(&mut body, limit, patience, reservation).await;
        let whole = match whole {
            Ok(whole) => self.wait_for_room(whole).await,
            Err(error) => Err(error),
        };
        if matches!(whole, Err(BodyError::TimedOut { .. } | BodyError::Evicted)) {
            self.close_after_answer();
        }
        whole
    }

    /// Waits until the client has read enough of its other answers. Meanwhile others may
    /// have the memory of the body.
    async fn wait_for_room(&self, whole: Whole) -> Result<Whole, BodyError> {
        let answers = self.in_flight.answers();
        if !answers.have_room() {
            let waiting = whole.reservation.wait();
            tokio::select! {
                () = answers.room() => {}
                () = waiting.evicted() => return Err(BodyError::Evicted),
            }
        }
        Ok(whole)
    }

    /// Reserves memory for the request, if there is enough for `announced` bytes of its body
    /// as well.
    ///
    /// # Errors
    ///
    /// If there is not.
    pub fn reserve(&self, memory: &Memory, announced: usize) -> Result<Reservation, NoRoom> {
        let reserved = memory.begin_for(Arc::clone(&self.shares), announced);
        reserved.inspect_err(|NoRoom| self.refuse())
    }

    /// Notes that the request is refused for want of capacity. The next requests of a client
    /// that goes on to ask are read later.
    pub fn refuse(&self) {
        self.flags.is_refused.store(true, Ordering::Release);
    }

    /// The peer's address; of IPv6 its network, because a host has one of its own.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Has the rest of the request's body ignored from now on, instead of read.
    pub fn ignore_rest(&self) {
        self.flags.is_ignored.store(true, Ordering::Release);
    }

    /// Leaves it to the handler to give up on a client that does not read the answer.
    pub fn watch_answer(&self) {
        self.flags.is_watched.store(true, Ordering::Release);
    }

    /// Closes an HTTP/1 connection after this answer, which has not begun, and has the rest
    /// of the request's body ignored: there is no telling where the next request would
    /// begin.
    fn close_after_answer(&self) {
        self.flags.closes.store(true, Ordering::Release);
        self.ignore_rest();
    }
}

/// A connection that was just accepted.
pub(crate) struct Accepted {
    pub(crate) socket: Socket,
    /// What it begins with.
    pub(crate) tls: Option<Tls>,
    pub(crate) peer: IpAddr,
}

/// Serves a connection until the client leaves or is too slow, or until `phase` says that
/// connections close and the requests in flight are answered.
pub(crate) async fn run<S, B>(
    Accepted { socket, tls, peer }: Accepted,
    activity: Arc<Activity>,
    shares: Arc<Shares>,
    service: S,
    config: Arc<Config>,
    mut phase: watch::Receiver<Phase>,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Some(socket) = begin(socket, tls, &activity, &config, &mut phase).await else {
        return;
    };
    let stream = Stream::new(socket, Arc::clone(&activity), config.half_close);
    let shared_phase = Arc::new(phase.clone());
    let body_timeout = config.body_timeout;
    let service = service_fn(|request: Request<Incoming>| {
        let mut service = service.clone();
        let version = request.version();
        let session = Session {
            in_flight: Arc::new(activity.begin(version)),
            phase: Arc::clone(&shared_phase),
            shares: Arc::clone(&shares),
            peer,
            flags: Arc::default(),
        };
        let (mut head, body) = request.into_parts();
        let body = RequestBody::new(&head, body, body_timeout, &session);
        head.extensions.insert(session.clone());
        let activity = Arc::clone(&activity);
        async move {
            activity.answers.room().await;
            let pause = activity.pause();
            if !pause.is_zero() && session.phase() == Phase::Serving {
                sleep(pause).await;
            }
            let answer = service.call(Request::from_parts(head, body)).await?;
            activity.record_refusal(session.flags.is_refused.load(Ordering::Acquire));
            let is_watched = session.flags.is_watched.load(Ordering::Acquire);
            let mut answer = answer.map(|body| Answer::new(body, &activity.answers, is_watched));
            let closes = session.flags.closes.load(Ordering::Acquire);
            // HTTP/2 says the same of a whole connection (GOAWAY).
            if version < Version::HTTP_2 && (closes || session.phase() != Phase::Serving) {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Hyper's own timeout covers neither HTTP/2 nor the time before the protocol is
    // known. Counting the requests in flight covers both.
    builder.http1().header_read_timeout(None);
    builder.http1().max_buf_size(MAX_BUFFER);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));

    let told_to_close = async {
        closing(&mut phase).await;
        // GOAWAY loses nothing. An HTTP/1 client may just be sending its next request,
        // which closing would lose; the answer to that one says `Connection: close`.
        if !activity.is_http2() {
            activity.idle(config.close_grace).await;
        }
    };
    let mut patience = config.header_timeout;
    // Biased: the connection is what the task is nearly always woken for.
    tokio::select! {
        biased;
        ended = connection.as_mut() => return log(ended),
        overdue = activity.overdue(config.header_timeout, config.idle_timeout) => {
            // Without a request there is nothing to finish.
            if overdue == Overdue::Silent {
                return;
            }
        }
        () = told_to_close => {}
        () = activity.unread(config.body_timeout) => {
            tracing::debug!("a client did not read its answer");
            return;
        }
        at_once = activity.gives_way() => {
            // Only HTTP/2 has a way to say so.
            if at_once || (!activity.is_busy() && !activity.is_http2()) {
                return;
            }
            patience = GOING_AWAY;
        }
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => log(ended),
        // What is left is a client that does not read its answer, or that has begun a
        // request and does not finish it.
        () = activity.idle(patience) => {}
    }
}

/// Prepares a socket, and shakes hands if there is TLS. `None` if that fails, or if the
/// connection is to be closed meanwhile.
async fn begin(
    socket: Socket,
    tls: Option<Tls>,
    activity: &Activity,
    config: &Config,
    phase: &mut watch::Receiver<Phase>,
) -> Option<Socket> {
    let Socket::Tcp(socket) = socket else {
        return Some(socket);
    };
    // Answers are written whole, so that waiting for more to send only adds delay. It
    // fails only for a socket that is gone, which the first read will find.
    let _ = socket.set_nodelay(true);
    let Some(tls) = tls else {
        return Some(Socket::Tcp(socket));
    };
    let told_to_close = async {
        closing(phase).await;
        activity.idle(config.close_grace).await;
    };
    tokio::select! {
        biased;
        shaken = tls.accept(socket, config.header_timeout) => shaken,
        _ = activity.gives_way() => None,
        () = told_to_close => None,
    }
}

async fn closing(phase: &mut watch::Receiver<Phase>) {
    // The server holds the sender for as long as there are connections.
    let _ = phase.wait_for(|phase| *phase == Phase::Closing).await;
}

/// Clients that leave in mid-request or speak nonsense are everyday life.
fn log(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended early");
    }
}
