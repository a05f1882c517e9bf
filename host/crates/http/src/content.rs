//! The body of a request as it was before it was packed.
//!
//! It is unpacked as it is read, a piece at a time, so that the bounds on bodies are
//! bounds on what comes out: of a body that unpacks to a thousand times its size no more
//! is unpacked than is allowed. After each few pieces other connections have their turn.
//! What an unpacker remembers takes room of the memory for bodies, as it fills.
//!
//! This module must not know what the bytes mean.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, ReadBuf};

use super::body::BodyError;
use super::coding::Coding;
use super::memory::{Held, Memory};

/// How much is unpacked at a time, in bytes.
const PIECE: usize = 16 * 1024;

/// After so many pieces others have their turn: that takes about as long as reading a
/// short body of JSON.
const PIECES_IN_A_ROW: u8 = 4;

/// The largest window of Zstandard that is taken, as a power of two: the 8 MiB that every
/// decoder has to take (RFC 9659), and no more.
const ZSTD_WINDOW_LOG: u32 = 23;

/// A body, packed or not.
pub(crate) struct Content<B = Incoming> {
    body: B,
    packed: Option<Box<Packed>>,
}

/// What unpacks a body.
struct Packed {
    unpacker: Unpacker,
    coding: Coding,
    /// The most bytes, as they come.
    limit: usize,
    taken: usize,
    memory: Memory,
    held: Option<Held>,
    /// So many bytes of the window are not filled.
    window_left: usize,
    in_a_row: u8,
    /// Whether the packed bytes say that they end here.
    has_ended: bool,
}

/// The unpacker of a coding, with the packed bytes that it has not taken.
enum Unpacker {
    Gzip(GzipDecoder<Chunk>),
    Brotli(BrotliDecoder<Chunk>),
    Zstd(ZstdDecoder<Chunk>),
}

/// What has come and is not unpacked.
#[derive(Default)]
struct Chunk {
    bytes: Bytes,
    is_last: bool,
}

impl Content {
    /// A body as it is, until it is known to be packed.
    pub(crate) fn new(body: Incoming) -> Self {
        Self::of(body)
    }

    /// What is left of the body, as it comes.
    pub(crate) fn into_inner(self) -> Incoming {
        self.body
    }
}

impl<B> Content<B> {
    fn of(body: B) -> Self {
        Self { body, packed: None }
    }

    /// From now on the body is unpacked, if it is packed: `limit` bytes of it at most, as
    /// they come.
    pub(crate) fn unpack(&mut self, coding: Option<Coding>, limit: usize, memory: &Memory) {
        self.packed = coding.map(|coding| {
            Box::new(Packed {
                unpacker: Unpacker::new(coding),
                coding,
                limit,
                taken: 0,
                memory: memory.clone(),
                held: None,
                window_left: coding.window(),
                in_a_row: 0,
                has_ended: false,
            })
        });
    }
}

impl Coding {
    /// What unpacking takes beside the window, at most, in bytes: of Brotli, which may
    /// have many tables of symbols, most.
    fn overhead(self) -> usize {
        match self {
            Self::Gzip => 64 << 10,
            Self::Brotli => 4 << 20,
            Self::Zstd => 512 << 10,
        }
    }

    /// The largest window, in bytes: it is memory only as far as it is filled.
    fn window(self) -> usize {
        match self {
            Self::Gzip => 0,
            Self::Brotli => 16 << 20,
            Self::Zstd => 1 << ZSTD_WINDOW_LOG,
        }
    }
}

impl Unpacker {
    fn new(coding: Coding) -> Self {
        let chunk = Chunk::default();
        match coding {
            Coding::Gzip => {
                let mut gzip = GzipDecoder::new(chunk);
                gzip.multiple_members(true);
                Self::Gzip(gzip)
            }
            Coding::Brotli => Self::Brotli(BrotliDecoder::new(chunk)),
            Coding::Zstd => {
                let window = [DParameter::window_log_max(ZSTD_WINDOW_LOG)];
                let mut zstd = ZstdDecoder::with_params(chunk, &window);
                zstd.multiple_members(true);
                Self::Zstd(zstd)
            }
        }
    }

    fn chunk(&mut self) -> &mut Chunk {
        match self {
            Self::Gzip(gzip) => gzip.get_mut(),
            Self::Brotli(brotli) => brotli.get_mut(),
            Self::Zstd(zstd) => zstd.get_mut(),
        }
    }
}

impl AsyncRead for Unpacker {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Gzip(gzip) => Pin::new(gzip).poll_read(context, buffer),
            Self::Brotli(brotli) => Pin::new(brotli).poll_read(context, buffer),
            Self::Zstd(zstd) => Pin::new(zstd).poll_read(context, buffer),
        }
    }
}

impl AsyncRead for Chunk {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let chunk = self.get_mut();
        let read = {
            let bytes = ready!(Pin::new(&mut *chunk).poll_fill_buf(context))?;
            let read = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes[..read]);
            read
        };
        Pin::new(chunk).consume(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Chunk {
    /// Who finds nothing has the next chunk put there, and needs not be woken.
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let Self { bytes, is_last } = self.get_mut();
        if bytes.is_empty() && !*is_last {
            return Poll::Pending;
        }
        Poll::Ready(Ok(bytes))
    }

    fn consume(self: Pin<&mut Self>, taken: usize) {
        self.get_mut().bytes.advance(taken);
    }
}

impl Packed {
    /// The next piece of what is unpacked, none at the end; pending if more is needed of
    /// what is packed.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let broken = BodyError::Broken {
            coding: self.coding,
        };
        if !self.has_ended {
            let mut piece = BytesMut::with_capacity(PIECE);
            let unpacked = pin!(self.unpacker.read_buf(&mut piece)).poll(context);
            if ready!(unpacked).is_err() {
                return Poll::Ready(Some(Err(broken)));
            }
            if !piece.is_empty() {
                let filled = piece.len().min(self.window_left);
                self.window_left -= filled;
                return Poll::Ready(Some(match self.hold(filled) {
                    Ok(()) => Ok(piece.freeze()),
                    Err(error) => Err(error),
                }));
            }
            self.has_ended = true;
        }
        let chunk = self.unpacker.chunk();
        if !chunk.bytes.is_empty() {
            return Poll::Ready(Some(Err(broken)));
        }
        if chunk.is_last {
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    fn hold(&mut self, bytes: usize) -> Result<(), BodyError> {
        let held = match &mut self.held {
            Some(held) => held,
            None => {
                let mut held = self.memory.begin(0)?;
                held.take(self.coding.overhead())?;
                self.held.insert(held)
            }
        };
        Ok(held.take(bytes)?)
    }

    /// Takes what has come next, or that nothing more comes.
    fn feed(&mut self, data: Option<Bytes>) -> Result<(), BodyError> {
        let chunk = self.unpacker.chunk();
        let Some(data) = data else {
            chunk.is_last = true;
            return Ok(());
        };
        // A window of more than 16 MiB is announced by a first byte that is none in the
        // standard, and that this unpacker takes all the same.
        let is_first = self.taken == 0 && !data.is_empty();
        if self.coding == Coding::Brotli && is_first && data[0] & 0x7f == 0x11 {
            return Err(BodyError::Broken {
                coding: self.coding,
            });
        }
        chunk.bytes = data;
        self.taken = self.taken.saturating_add(chunk.bytes.len());
        if self.taken > self.limit {
            return Err(BodyError::TooLarge { limit: self.limit });
        }
        self.hold(0)
    }
}

impl<B> Body for Content<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { body, packed } = &mut *self;
        let mut body = Pin::new(body);
        let Some(packed) = packed else {
            let frame = ready!(body.poll_frame(context));
            return Poll::Ready(frame.map(|frame| frame.map_err(|_| BodyError::Incomplete)));
        };
        if packed.in_a_row >= PIECES_IN_A_ROW {
            packed.in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if let Poll::Ready(piece) = packed.poll_piece(context) {
                packed.in_a_row += 1;
                return Poll::Ready(piece.map(|piece| piece.map(Frame::data)));
            }
            let Poll::Ready(frame) = body.as_mut().poll_frame(context) else {
                packed.in_a_row = 0;
                return Poll::Pending;
            };
            let fed = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => packed.feed(Some(data)),
                    // Trailers mean nothing here.
                    Err(_) => continue,
                },
                Some(Err(_)) => Err(BodyError::Incomplete),
                None => packed.feed(None),
            };
            if let Err(error) = fed {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.packed {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests;
