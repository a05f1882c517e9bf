//! One connection: HTTP/1.1 or HTTP/2, bounded in how long it may go without a
//! request, and closed cleanly when the server stops.
//!
//! This module must not know routes: every request goes to [`Api::answer`].

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::HttpConfig;
use super::routes::Api;

/// The most bytes of HTTP/1 that wait in a connection's buffer, and so the
/// longest head of a request; hyper's own 400 KiB are more than any honest
/// client needs, times the number of connections.
const MAX_BUFFER: usize = 64 * 1024;

/// Serves `stream` until the client leaves, is too slow, or `closing` turns
/// true and the requests in flight are answered.
pub(crate) async fn run(
    stream: TcpStream,
    api: Arc<Api>,
    config: HttpConfig,
    mut closing: watch::Receiver<bool>,
) {
    // Answers are written whole, so waiting for more to send only adds delay.
    // It fails only for a socket that is gone, which the first read will find.
    let _ = stream.set_nodelay(true);

    let (in_flight, mut requests) = watch::channel(0);
    let service = service_fn(|request| {
        let api = api.clone();
        let in_flight = InFlight::begin(&in_flight);
        async move {
            let response = api.answer(request).await;
            drop(in_flight);
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Hyper's own timeout runs between the requests of a kept connection too,
    // but neither for HTTP/2 nor before the protocol is known. Counting the
    // requests in flight covers all of these.
    builder.http1().header_read_timeout(None);
    builder.http1().max_buf_size(MAX_BUFFER);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));

    let overdue = async {
        let silent = timeout(config.header_timeout, requests.changed())
            .await
            .is_err();
        if !silent {
            idle_for(&mut requests, config.idle_timeout).await;
        }
        silent
    };
    tokio::select! {
        ended = connection.as_mut() => return note(ended),
        silent = overdue => if silent { return },
        _ = closing.wait_for(|closing| *closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => note(ended),
        // What is left is a client that does not read its answer, or that has
        // begun a request and does not finish it.
        () = idle_for(&mut requests, config.header_timeout) => {}
    }
}

/// Resolves once no request has begun, ended or been in flight for `limit`.
async fn idle_for(requests: &mut watch::Receiver<usize>, limit: Duration) {
    loop {
        let in_flight = *requests.borrow_and_update();
        let changed = requests.changed();
        if in_flight > 0 {
            // It cannot fail while the connection, which holds the sender, lives.
            let _ = changed.await;
        } else if timeout(limit, changed).await.is_err() {
            return;
        }
    }
}

/// Counts a request for as long as it lives, also if it is dropped half way.
struct InFlight(watch::Sender<usize>);

impl InFlight {
    fn begin(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|requests| *requests += 1);
        Self(count.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|requests| *requests -= 1);
    }
}

/// Clients that leave in mid-request or speak nonsense are everyday life.
fn note(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended early");
    }
}
