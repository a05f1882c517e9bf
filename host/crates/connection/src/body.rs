//! Reads request bodies within limits on their size, time and memory.

use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::timeout;

use crate::decompress::Coding;
use crate::memory::{NoRoom, Reservation, Waiting};

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is announced to be, or has turned out to be, over the limit.
    #[error("the body is larger than the {limit} bytes that are allowed")]
    TooLarge {
        /// The largest body allowed, in bytes.
        limit: usize,
    },
    /// It did not arrive in time.
    #[error("the body did not arrive within {patience:?}")]
    TimedOut {
        /// How long the server waited.
        patience: Duration,
    },
    /// The client left, or broke the transfer coding.
    #[error("the body ended before it was complete")]
    Incomplete,
    /// It cannot be decompressed.
    #[error(
        "the body cannot be decoded: it is not complete and valid {coding}, or it takes more \
         memory to decode than is allowed"
    )]
    Broken {
        /// The coding that its `Content-Encoding` names.
        coding: Coding,
    },
    /// Other requests use the memory for it.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// It has made room for others.
    #[error("the memory is needed by other requests, whose bodies arrive faster")]
    Evicted,
}

impl From<hyper::Error> for BodyError {
    fn from(_: hyper::Error) -> Self {
        Self::Incomplete
    }
}

/// A complete body, with the memory that it uses.
pub struct Whole {
    /// The bytes, decompressed.
    pub bytes: Vec<u8>,
    /// To be kept for as long as anything of the body is.
    pub reservation: Reservation,
}

/// The announced length of a body, or 0.
///
/// # Errors
///
/// If it is more than `limit`.
pub(crate) fn announced<B: Body>(body: &B, limit: usize) -> Result<usize, BodyError> {
    match usize::try_from(body.size_hint().lower()) {
        Ok(announced) if announced <= limit => Ok(announced),
        _ => Err(BodyError::TooLarge { limit }),
    }
}

/// Reads the whole of `body`, as [`Session::read_body`](crate::Session::read_body) says.
pub(crate) async fn read<B>(
    body: &mut B,
    limit: usize,
    patience: Duration,
    mut reservation: Reservation,
) -> Result<Whole, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    BodyError: From<B::Error>,
{
    let announced = announced(body, limit)?;
    let whole = async {
        let mut bytes = Vec::new();
        // Most bodies arrive with their heads, and never wait.
        let mut waiting = None;
        loop {
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = Waiting::evicted_if(waiting.as_ref()) => return Err(BodyError::Evicted),
                () = ready(()), if waiting.is_none() => {
                    waiting = Some(reservation.wait());
                    continue;
                }
            };
            let Some(frame) = frame else { break };
            if let Ok(data) = frame?.into_data() {
                if data.len() > limit - bytes.len() {
                    return Err(BodyError::TooLarge { limit });
                }
                reservation.take(data.len())?;
                if let Some(waiting) = &waiting {
                    waiting.received(data.len());
                }
                // Untouched memory costs nothing; a vector that grows by itself would
                // take up to twice as much in the end.
                bytes.reserve_exact(announced.saturating_sub(bytes.len()).max(data.len()));
                bytes.extend_from_slice(&data);
            }
        }
        drop(waiting);
        Ok(Whole { bytes, reservation })
    };
    timeout(patience, whole)
        .await
        .unwrap_or(Err(BodyError::TimedOut { patience }))
}

/// Reads and drops the rest of `body`, for at most `patience`. A client that sends all of
/// it before it looks for the answer would otherwise find the connection reset, and the
/// answer lost with it.
pub async fn discard<B: Body + Unpin>(body: &mut B, patience: Duration) {
    // Whether all was read makes no difference: hyper closes the connection, or resets
    // the HTTP/2 stream, if something is left.
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(patience, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;
    use hyper::body::Frame;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    const PATIENCE: Duration = Duration::from_millis(50);

    /// A body of unannounced length: the pieces from last to first, and then
    /// an end of some kind.
    struct Pieces(Vec<&'static [u8]>, End);

    #[derive(Clone, Copy)]
    enum End {
        Clean,
        Broken,
        Never,
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            match (self.0.pop(), self.1) {
                (Some(piece), _) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece))))),
                (None, End::Clean) => Poll::Ready(None),
                (None, End::Broken) => Poll::Ready(Some(Err(BodyError::Incomplete))),
                (None, End::Never) => Poll::Pending,
            }
        }
    }

    async fn read_pieces(end: End, limit: usize) -> Result<Vec<u8>, BodyError> {
        read_within(end, limit, &Memory::new(1 << 20)).await
    }

    async fn read_within(end: End, limit: usize, memory: &Memory) -> Result<Vec<u8>, BodyError> {
        let mut body = Pieces(vec![b"cd", b"", b"ab"], end);
        let whole = read(&mut body, limit, PATIENCE, memory.begin(0)?).await;
        whole.map(|whole| whole.bytes)
    }

    #[tokio::test]
    async fn a_body_may_be_as_large_as_the_limit() {
        assert_eq!(read_pieces(End::Clean, 4).await, Ok(b"abcd".to_vec()));
    }

    #[tokio::test]
    async fn one_byte_more_is_refused_before_the_end() {
        let error = Err(BodyError::TooLarge { limit: 3 });
        assert_eq!(read_pieces(End::Never, 3).await, error);
    }

    #[tokio::test]
    async fn an_announced_length_is_refused_unread() {
        let body = http_body_util::Full::new(Bytes::from_static(b"abcd"));
        let mut body = body.map_err(|never| -> BodyError { match never {} });
        let error = Err(BodyError::TooLarge { limit: 3 });
        let reservation = Memory::new(1 << 20).begin(0).unwrap();
        let read = read(&mut body, 3, PATIENCE, reservation).await;
        assert_eq!(read.map(|whole| whole.bytes), error);
        assert!(!body.is_end_stream());
    }

    #[tokio::test]
    async fn room_that_is_taken_on_the_way_is_given_back() {
        // Room for one request and its body, however it ends.
        let memory = Memory::new(4096 + 3);
        for (end, limit) in [(End::Never, 9), (End::Clean, 9), (End::Broken, 9)] {
            let error = Err(BodyError::NoRoom(NoRoom));
            assert_eq!(read_within(end, limit, &memory).await, error);
        }
        let memory = Memory::new(4096 + 4);
        for (end, limit) in [(End::Never, 9), (End::Broken, 9), (End::Clean, 3)] {
            assert!(read_within(end, limit, &memory).await.is_err());
            assert!(read_within(End::Clean, 9, &memory).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_or_stalls_is_an_error() {
        assert_eq!(
            read_pieces(End::Broken, 9).await,
            Err(BodyError::Incomplete)
        );
        let error = Err(BodyError::TimedOut { patience: PATIENCE });
        assert_eq!(read_pieces(End::Never, 9).await, error);
    }

    #[tokio::test]
    async fn discarding_ends_with_the_body_or_the_patience() {
        for end in [End::Clean, End::Broken, End::Never] {
            let mut body = Pieces(vec![b"cd", b"ab"], end);
            discard(&mut body, PATIENCE).await;
            assert!(body.0.is_empty());
        }
    }
}
