//! What requests carry: bytes, or files that are read while they are sent.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::Method;
use hyper::body::Frame;
use tokio::task::spawn_blocking;

/// How much of a file is read at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// What a request carries.
#[derive(Clone)]
pub(crate) enum Body {
    Empty,
    Bytes(Bytes),
    /// The first bytes of a file, as many as given.
    File(PathBuf, u64),
}

/// The body of one request.
pub(super) type Stream = UnsyncBoxBody<Bytes, io::Error>;

impl Body {
    /// The bytes, from the beginning.
    pub(super) async fn stream(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Empty => Empty::new().map_err(|never| match never {}).boxed_unsync(),
            Self::Bytes(bytes) => Full::new(bytes.clone())
                .map_err(|never| match never {})
                .boxed_unsync(),
            Self::File(path, length) => {
                let (path, length) = (path.clone(), *length);
                let file = blocking(move || Ok(File::open(path)?.take(length))).await?;
                let chunks = stream::try_unfold(file, async |mut file| {
                    let read = blocking(move || {
                        let mut chunk = Vec::with_capacity(CHUNK);
                        (&mut file).take(CHUNK as u64).read_to_end(&mut chunk)?;
                        Ok((chunk, file))
                    });
                    let (chunk, file) = read.await?;
                    Ok((!chunk.is_empty()).then(|| (Frame::data(chunk.into()), file)))
                });
                StreamBody::new(chunks).boxed_unsync()
            }
        })
    }

    /// What `Content-Length` has to say.
    pub(super) fn length(&self, method: &Method) -> Option<u64> {
        match self {
            Self::Empty => [Method::POST, Method::PUT].contains(method).then_some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File(_, length) => Some(*length),
        }
    }
}

/// Reads a file on a thread that serves no sockets.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(read).await.map_err(io::Error::other)?
}
