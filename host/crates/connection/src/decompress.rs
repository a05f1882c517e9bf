//! Decompresses request bodies: gzip, Brotli and Zstandard.
//!
//! Bodies are decompressed as they are read, a piece at a time, so that limits on bodies
//! are limits on what comes out: of a body that expands to a thousand times its size, no
//! more is expanded than is allowed. The task yields after every few pieces. What a
//! decoder remembers counts as memory of the request, as it fills.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, ReadBuf};

use crate::body::BodyError;
use crate::memory::Reservation;

/// How much is decompressed at a time, in bytes.
const PIECE: usize = 16 * 1024;

/// The task yields after so many pieces, which take about as long as parsing a short
/// JSON document.
const PIECES_IN_A_ROW: u8 = 4;

/// The largest window of Zstandard that is accepted, as a power of two: the 8 MiB that
/// every decoder has to support (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;

/// A content coding of request bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 8878
    Zstd,
    /// RFC 7932
    Brotli,
    /// RFC 1952
    Gzip,
}

impl Coding {
    /// The coding of this name in `Content-Encoding`, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("gzip") || is("x-gzip") {
            Some(Self::Gzip)
        } else if is("br") {
            Some(Self::Brotli)
        } else {
            is("zstd").then_some(Self::Zstd)
        }
    }

    /// What decoding takes beside the window, at most, in bytes. Brotli may have many
    /// tables of symbols.
    fn overhead(self) -> usize {
        match self {
            Self::Gzip => 64 << 10,
            Self::Brotli => 4 << 20,
            Self::Zstd => 512 << 10,
        }
    }

    /// The largest window, in bytes. It uses memory only as far as it is filled.
    fn window(self) -> usize {
        match self {
            Self::Gzip => 0,
            Self::Brotli => 16 << 20,
            Self::Zstd => 1 << ZSTD_WINDOW_LOG,
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        })
    }
}

/// A body as it was before it was compressed, if it was.
pub struct Decompressed<B> {
    body: B,
    decoder: Option<Box<Decoder>>,
}

/// Decompresses a body.
struct Decoder {
    reader: Reader,
    coding: Coding,
    /// The most compressed bytes.
    limit: usize,
    received: usize,
    reservation: Reservation,
    /// Whether what decoding takes beside the window is reserved.
    has_begun: bool,
    /// So many bytes of the window are not filled yet.
    window_left: usize,
    in_a_row: u8,
    /// Whether the compressed stream has ended.
    has_ended: bool,
}

/// The decoder of a coding, with the compressed bytes that it has not read.
enum Reader {
    Gzip(GzipDecoder<Chunk>),
    Brotli(BrotliDecoder<Chunk>),
    Zstd(ZstdDecoder<Chunk>),
}

/// Compressed bytes that have arrived and are not decoded yet.
#[derive(Default)]
struct Chunk {
    bytes: Bytes,
    is_last: bool,
}

impl<B> Decompressed<B> {
    /// The body before it was compressed with `coding`, or the body itself. At most
    /// `limit` compressed bytes are read. What decoding takes is added to `reservation`.
    pub fn new(body: B, coding: Option<Coding>, limit: usize, reservation: &Reservation) -> Self {
        let decoder = coding.map(|coding| {
            Box::new(Decoder {
                reader: Reader::new(coding),
                coding,
                limit,
                received: 0,
                reservation: reservation.share(),
                has_begun: false,
                window_left: coding.window(),
                in_a_row: 0,
                has_ended: false,
            })
        });
        Self { body, decoder }
    }

    /// The body as it arrives, of which the rest may be read.
    pub fn get_mut(&mut self) -> &mut B {
        &mut self.body
    }
}

impl Reader {
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

impl AsyncRead for Reader {
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
    /// Whoever finds nothing puts the next chunk here itself, and needs no waking.
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

impl Decoder {
    /// The next decompressed piece, none at the end; pending if it takes more compressed
    /// bytes.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let broken = BodyError::Broken {
            coding: self.coding,
        };
        if !self.has_ended {
            let mut piece = BytesMut::with_capacity(PIECE);
            let read = pin!(self.reader.read_buf(&mut piece)).poll(context);
            if ready!(read).is_err() {
                return Poll::Ready(Some(Err(broken)));
            }
            if !piece.is_empty() {
                let filled = piece.len().min(self.window_left);
                self.window_left -= filled;
                return Poll::Ready(Some(match self.reserve(filled) {
                    Ok(()) => Ok(piece.freeze()),
                    Err(error) => Err(error),
                }));
            }
            self.has_ended = true;
        }
        let chunk = self.reader.chunk();
        if !chunk.bytes.is_empty() {
            return Poll::Ready(Some(Err(broken)));
        }
        if chunk.is_last {
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), BodyError> {
        if !self.has_begun {
            self.reservation.take(self.coding.overhead())?;
            self.has_begun = true;
        }
        Ok(self.reservation.take(bytes)?)
    }

    /// Takes the next compressed bytes, or none at their end.
    fn feed(&mut self, data: Option<Bytes>) -> Result<(), BodyError> {
        let chunk = self.reader.chunk();
        let Some(data) = data else {
            chunk.is_last = true;
            return Ok(());
        };
        // A window of more than 16 MiB is announced by a first byte that the standard does
        // not allow, and that this decoder accepts all the same.
        let is_first = self.received == 0 && !data.is_empty();
        if self.coding == Coding::Brotli && is_first && data[0] & 0x7f == 0x11 {
            return Err(BodyError::Broken {
                coding: self.coding,
            });
        }
        chunk.bytes = data;
        self.received = self.received.saturating_add(chunk.bytes.len());
        if self.received > self.limit {
            return Err(BodyError::TooLarge { limit: self.limit });
        }
        self.reserve(0)
    }
}

impl<B> Body for Decompressed<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { body, decoder } = &mut *self;
        let mut body = Pin::new(body);
        let Some(decoder) = decoder else {
            let frame = ready!(body.poll_frame(context));
            return Poll::Ready(frame.map(|frame| frame.map_err(|_| BodyError::Incomplete)));
        };
        if decoder.in_a_row >= PIECES_IN_A_ROW {
            decoder.in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if let Poll::Ready(piece) = decoder.poll_piece(context) {
                decoder.in_a_row += 1;
                return Poll::Ready(piece.map(|piece| piece.map(Frame::data)));
            }
            let Poll::Ready(frame) = body.as_mut().poll_frame(context) else {
                decoder.in_a_row = 0;
                return Poll::Pending;
            };
            let fed = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => decoder.feed(Some(data)),
                    // Trailers have no meaning here.
                    Err(_) => continue,
                },
                Some(Err(_)) => Err(BodyError::Incomplete),
                None => decoder.feed(None),
            };
            if let Err(error) = fed {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.decoder {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests;
