//! Accepts connections until told to stop, then lets them finish.
//!
//! This module must not know requests or routes: a connection is a task that
//! ends, and what answers is given to it.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::HttpConfig;
use super::connection;
use super::exchange::Handler;

/// How long to wait after an accept that failed for want of a resource, such
/// as file descriptors: long enough not to spin, short beside the time in
/// which another connection ends and frees one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `handler` on `listener` until `shutdown` resolves, and then until
/// the requests in flight are answered or `config.drain` is over.
///
/// After that no connection is left, so there is nothing to return: neither a
/// client nor a failed accept can end the loop.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    config: HttpConfig,
    shutdown: impl Future<Output = ()>,
) {
    let (close, closing) = watch::channel(false);
    let config = Arc::new(config);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => {
                note(ended);
                handler.connections(connections.len());
            }
            accepted = listener.accept(), if connections.len() < config.max_connections => {
                match accepted {
                    Ok((stream, _)) => {
                        let (handler, config) = (Arc::clone(&handler), Arc::clone(&config));
                        let connection =
                            connection::run(stream, Arc::clone(&handler), config, closing.clone());
                        connections.spawn(connection);
                        handler.connections(connections.len());
                    }
                    Err(error) => pause_after(error).await,
                }
            }
        }
    }

    // A closed listener refuses new connections at once, so that a load
    // balancer turns elsewhere instead of waiting.
    drop(listener);
    close.send_replace(true);
    let drained = tokio::time::timeout(config.drain, async {
        while let Some(ended) = connections.join_next().await {
            note(ended);
            handler.connections(connections.len());
        }
    });
    if drained.await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "connections were cut off: they did not finish within the drain time"
        );
        connections.shutdown().await;
        handler.connections(0);
    }
}

/// A connection's task cannot be cancelled while the loop runs, so a join
/// error is a panic: a defect to log, which has cost that connection only.
fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended in a panic");
    }
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
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}
