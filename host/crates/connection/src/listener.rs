//! What connections are accepted from: a TCP port, with TLS or without, or a Unix socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::socket::Socket;
use crate::{SocketFile, Tls};

/// The peer of every client of a Unix socket. They have no address to be told apart by, and most
/// often there is one, a proxy on this machine; so they are treated as all clients behind one
/// proxy are.
const OF_UNIX: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A socket that listens.
pub struct Listener(pub(crate) Kind);

pub(crate) enum Kind {
    Tcp(TcpListener, Option<Tls>),
    /// With the file that is removed when the server stops, unless somebody else has made it.
    Unix(UnixListener, Option<SocketFile>),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(Kind::Tcp(listener, None))
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self(Kind::Unix(listener, None))
    }
}

impl Listener {
    /// Serves a TCP port over TLS only.
    pub fn tls(listener: TcpListener, tls: Tls) -> Self {
        Self(Kind::Tcp(listener, Some(tls)))
    }

    /// Listens on a Unix socket whose file was made for it.
    pub fn unix(listener: UnixListener, file: SocketFile) -> Self {
        Self(Kind::Unix(listener, Some(file)))
    }

    /// The TLS that a new connection begins with.
    pub(crate) fn handshake(&self) -> Option<Tls> {
        match &self.0 {
            Kind::Tcp(_, tls) => tls.clone(),
            Kind::Unix(..) => None,
        }
    }

    /// Accepts a connection. If this is dropped before it resolves, none is lost.
    pub(crate) async fn accept(&self) -> io::Result<(Socket, IpAddr)> {
        match &self.0 {
            Kind::Tcp(listener, _) => {
                let (socket, address) = listener.accept().await?;
                Ok((Socket::Tcp(socket), address.ip()))
            }
            Kind::Unix(listener, _) => {
                let (socket, _) = listener.accept().await?;
                Ok((Socket::Unix(socket), OF_UNIX))
            }
        }
    }

    /// The connections that the kernel has accepted already, asked directly, since the runtime
    /// may not have heard of them yet. New ones go nowhere from the beginning of this on for a
    /// Unix socket, and from its end on for a port.
    pub(crate) fn waiting(self) -> Waiting {
        match self.0 {
            Kind::Tcp(listener, _) => Waiting::Tcp(listener.into_std().ok()),
            Kind::Unix(listener, file) => {
                drop(file);
                Waiting::Unix(listener.into_std().ok())
            }
        }
    }
}

/// Connections that wait to be accepted; `None` if the listener is broken.
pub(crate) enum Waiting {
    Tcp(Option<std::net::TcpListener>),
    Unix(Option<std::os::unix::net::UnixListener>),
}

impl Waiting {
    /// The next one. An error is that there is none.
    pub(crate) fn next(&self) -> Option<(Socket, IpAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, address) = listener.as_ref()?.accept().ok()?;
                socket.set_nonblocking(true).ok()?;
                let socket = TcpStream::from_std(socket).ok()?;
                Some((Socket::Tcp(socket), address.ip()))
            }
            Self::Unix(listener) => {
                let (socket, _) = listener.as_ref()?.accept().ok()?;
                socket.set_nonblocking(true).ok()?;
                let socket = UnixStream::from_std(socket).ok()?;
                Some((Socket::Unix(socket), OF_UNIX))
            }
        }
    }
}
