//! The stream to a Redis: opens it, and bounds what comes back on it. The client keeps what
//! it reads until a reply is complete, however long the reply is.
//!
//! This module must not know commands.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::select_ok;
use redis::ConnectionAddr;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::secret::TAG;
use super::value::MAX_VALUE;

/// How many bytes may come back for each byte of a request: no key has fewer bytes than its
/// digest in hexadecimal digits, and no value has more than `MAX_VALUE` and a tag.
const PER_BYTE: usize = (MAX_VALUE + TAG).div_ceil(64);

/// How many bytes may come back for whatever is sent: a reply that is not values, such as an
/// error, or the nodes of a cluster.
const LEAST: usize = 256 << 10;

/// How many bytes of what was allowed for earlier requests, and has not come, may still
/// come.
const MOST: usize = 32 << 20;

/// What an error says if more comes back; the client passes it on as text.
pub(super) const TOO_LONG: &str = "it sends more than any reply can have";

/// Bytes in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// Opens a stream. With TLS, `roots` are trusted instead of the system's.
pub(super) async fn open(
    address: &ConnectionAddr,
    roots: Option<&RootCertStore>,
) -> io::Result<Bounded<Box<dyn Duplex>>> {
    let stream: Box<dyn Duplex> = match address {
        ConnectionAddr::Tcp(host, port) => Box::new(tcp(host, *port).await?),
        ConnectionAddr::TcpTls { host, port, .. } => {
            let connector = TlsConnector::from(Arc::new(tls(roots)?));
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            let socket = tcp(host, *port).await?;
            Box::new(connector.connect(name, socket).await?)
        }
        ConnectionAddr::Unix(path) => Box::new(UnixStream::connect(path).await?),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    Ok(Bounded::new(stream))
}

/// Tries all addresses of a host at a time.
async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = lookup_host((host, port)).await?;
    let attempts: Vec<_> = addresses
        .map(|address| Box::pin(TcpStream::connect(address)))
        .collect();
    if attempts.is_empty() {
        return Err(io::Error::other("the host has no address"));
    }
    let (socket, _) = select_ok(attempts).await?;
    // Commands are written whole, so that waiting for more to send only adds delay.
    socket.set_nodelay(true)?;
    Ok(socket)
}

fn tls(roots: Option<&RootCertStore>) -> io::Result<ClientConfig> {
    let roots = match roots {
        Some(roots) => roots.clone(),
        None => system_roots()?,
    };
    tls::client(roots).map_err(io::Error::other)
}

fn system_roots() -> io::Result<RootCertStore> {
    let (roots, mut errors) = tls::system_roots();
    match errors.pop() {
        Some(error) => Err(io::Error::other(error)),
        None => Ok(roots),
    }
}

/// A stream that fails when more comes back than what was sent can have asked for.
pub(super) struct Bounded<S> {
    stream: S,
    /// How many bytes may come back, with what was sent so far.
    left: usize,
}

impl<S> Bounded<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            left: LEAST,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        let Some(left) = self.left.checked_sub(read) else {
            self.left = 0;
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, TOO_LONG)));
        };
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        let allowed = written.saturating_mul(PER_BYTE);
        self.left = self.left.clamp(LEAST, MOST).saturating_add(allowed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// A stream, and its other end.
    fn pair() -> (Bounded<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(1 << 30);
        (Bounded::new(near), far)
    }

    async fn read(stream: &mut Bounded<DuplexStream>, length: usize) -> io::Result<()> {
        stream.read_exact(&mut vec![0; length]).await.map(drop)
    }

    #[tokio::test]
    async fn a_key_may_have_the_longest_value_and_no_more_than_that() {
        let (mut stream, mut far) = pair();
        let keys = 10_000;
        stream.write_all(&vec![b'x'; 71 * keys]).await.unwrap();
        let reply = vec![b'x'; MAX_VALUE + 16];
        for _ in 0..keys {
            far.write_all(&reply).await.unwrap();
            read(&mut stream, reply.len()).await.unwrap();
        }
        let rest = stream.left;
        assert!(rest < 71 * keys * PER_BYTE / 8 + LEAST, "{rest}");
        far.write_all(&vec![0; rest + 1]).await.unwrap();
        let error = read(&mut stream, rest + 1).await.unwrap_err();
        assert_eq!(error.to_string(), TOO_LONG);
        // Nor does it go on after that.
        far.write_all(&[0]).await.unwrap();
        assert!(read(&mut stream, 1).await.is_err());
    }

    #[tokio::test]
    async fn what_does_not_come_is_not_saved_up() {
        let (mut stream, mut far) = pair();
        for _ in 0..1000 {
            stream.write_all(&[0; 1000]).await.unwrap();
        }
        assert!(stream.left <= MOST + 1000 * PER_BYTE, "{}", stream.left);
        // And a short command may have a reply that is no value.
        far.write_all(&vec![0; stream.left]).await.unwrap();
        let left = stream.left;
        read(&mut stream, left).await.unwrap();
        stream.write_all(&[0]).await.unwrap();
        assert_eq!(stream.left, LEAST + PER_BYTE);
    }
}
