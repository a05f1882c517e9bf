//! TLS on a listener.
//!
//! A handshake happens in the task of its connection, so that it takes one of the places that
//! connections have, and a slow one keeps nobody else waiting. It is a part of the time in
//! which the first request must arrive.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::socket::Socket;

/// The TLS of a listener. Its settings can be replaced while it runs; clones share them.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    settings: ArcSwap<ServerConfig>,
    on_failure: Box<dyn Fn(HandshakeFailure) + Send + Sync>,
}

/// Why a handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client left. Load balancers that only try whether a port is open do that.
    Closed,
    /// The client was too slow.
    TimedOut,
    /// The client and the server do not agree, such as on a certificate, or the client does not
    /// speak TLS.
    Refused,
}

impl Tls {
    /// Settings of TLS, and what is to be done about a handshake that fails; it must not block.
    pub fn new(
        settings: ServerConfig,
        on_failure: impl Fn(HandshakeFailure) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            settings: ArcSwap::from_pointee(settings),
            on_failure: Box::new(on_failure),
        }))
    }

    /// Uses other settings for the connections that are accepted from now on.
    pub fn replace(&self, settings: ServerConfig) {
        self.0.settings.store(Arc::new(settings));
    }

    /// Shakes hands for at most `patience`. `None` if that fails, which has been reported.
    pub(crate) async fn accept(&self, socket: TcpStream, patience: Duration) -> Option<Socket> {
        let acceptor = TlsAcceptor::from(self.0.settings.load_full());
        let failure = match timeout(patience, acceptor.accept(socket)).await {
            Ok(Ok(stream)) => return Some(Socket::Tls(Box::new(stream))),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                match error.kind() {
                    ErrorKind::UnexpectedEof
                    | ErrorKind::ConnectionReset
                    | ErrorKind::BrokenPipe => HandshakeFailure::Closed,
                    _ => HandshakeFailure::Refused,
                }
            }
            Err(_) => HandshakeFailure::TimedOut,
        };
        (self.0.on_failure)(failure);
        None
    }
}
