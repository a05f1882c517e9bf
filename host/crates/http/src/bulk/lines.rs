//! Splits a body into lines. Holds no more of it than one line and what arrived with it.

use bytes::{Bytes, BytesMut};
use connection::body::BodyError;
use http_body::Body;
use http_body_util::BodyExt;

use crate::problem::{Kind, Problem};

/// The lines of a body, as far as they have been read.
pub(crate) struct Lines {
    buffer: BytesMut,
    /// The first so many bytes of the buffer hold no end of a line.
    searched: usize,
    /// The number of the last line, from 1.
    number: u64,
    /// The longest line, in bytes without its end.
    limit: usize,
    /// Whether the next bytes are the rest of a line that is too long.
    skips: bool,
    is_complete: bool,
}

/// A line that is not empty.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its number, from 1; empty lines count.
    pub(crate) number: u64,
    /// What it holds, without its end.
    pub(crate) content: Result<Bytes, TooLong>,
}

/// A line is over the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the line is longer than the {limit} bytes that are allowed")]
pub(crate) struct TooLong {
    limit: usize,
}

impl From<TooLong> for Problem {
    fn from(error: TooLong) -> Self {
        Self::new(Kind::LineTooLong, error.to_string())
    }
}

impl Lines {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            number: 0,
            limit,
            skips: false,
            is_complete: false,
        }
    }

    /// How many bytes of a line, or of lines, are held.
    pub(crate) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next line that is not empty; none at the end of the body. The last one
    /// needs no end. If this is dropped before it resolves, nothing is lost.
    pub(crate) async fn next<B>(&mut self, body: &mut B) -> Result<Option<Line>, BodyError>
    where
        B: Body<Data = Bytes, Error = BodyError> + Unpin,
    {
        loop {
            if let Some(line) = self.split() {
                return Ok(Some(line));
            }
            if self.is_complete {
                return Ok(None);
            }
            match body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(error),
                None => {
                    self.is_complete = true;
                    // The last line needs no end.
                    if !self.buffer.is_empty() {
                        self.buffer.extend_from_slice(b"\n");
                    }
                }
            }
        }
    }

    /// The next line that is complete in the buffer, or known to be too long.
    fn split(&mut self) -> Option<Line> {
        while let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            let mut line = self.buffer.split_to(self.searched + at + 1);
            self.searched = 0;
            line.truncate(line.len() - 1);
            if std::mem::take(&mut self.skips) {
                continue;
            }
            self.number += 1;
            let limit = self.limit;
            // First, since a line that comes in pieces is too long before it is complete.
            let content = if line.len() > limit {
                Err(TooLong { limit })
            } else if line.trim_ascii().is_empty() {
                continue;
            } else {
                Ok(line.freeze())
            };
            return Some(Line {
                number: self.number,
                content,
            });
        }
        self.searched = self.buffer.len();
        if self.skips {
            self.buffer.clear();
            self.searched = 0;
        } else if self.buffer.len() > self.limit {
            self.skips = true;
            self.number += 1;
            self.buffer.clear();
            self.searched = 0;
            return Some(Line {
                number: self.number,
                content: Err(TooLong { limit: self.limit }),
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Frame;
    use http_body_util::StreamBody;

    /// The lines of a body that arrives in these pieces, each with its number, or nothing
    /// for one that is too long; and whether the body ended well.
    async fn lines(pieces: &[&'static [u8]]) -> (Vec<(u64, Option<Bytes>)>, bool) {
        let frames = pieces.iter().map(|piece| match *piece {
            b"broken" => Err(BodyError::Incomplete),
            piece => Ok(Frame::data(Bytes::from_static(piece))),
        });
        let mut body = StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>()));
        let (mut lines, mut found) = (Lines::new(8), Vec::new());
        loop {
            match lines.next(&mut body).await {
                Ok(Some(line)) => found.push((line.number, line.content.ok())),
                Ok(None) => return (found, true),
                Err(error) => {
                    assert_eq!(error, BodyError::Incomplete);
                    return (found, false);
                }
            }
        }
    }

    fn line(number: u64, content: &'static str) -> (u64, Option<Bytes>) {
        (number, Some(Bytes::from_static(content.as_bytes())))
    }

    #[tokio::test]
    async fn lines_are_found_however_they_come() {
        let expected = vec![line(1, "one"), line(2, "two\r"), line(5, "five")];
        for pieces in [
            &[&b"one\ntwo\r\n\n \t\r\nfive\n"[..]][..],
            &[b"one\ntwo\r\n\n \t\r\nfive"],
            &[
                b"o",
                b"",
                b"ne",
                b"\n",
                b"two\r",
                b"\n\n",
                b" \t\r\nfi",
                b"ve",
            ],
        ] {
            assert_eq!(lines(pieces).await, (expected.clone(), true));
        }
        assert_eq!(lines(&[]).await, (vec![], true));
        assert_eq!(lines(&[b"\n\n"]).await, (vec![], true));
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_costs_no_other() {
        for pieces in [
            &[&b"12345678\n123456789\nc"[..]][..],
            &[b"12345678\n12345", b"6789", b"0123456789", b"0\nc"],
            &[b"12345678\n123456789", b"\nc\n"],
        ] {
            let expected = vec![line(1, "12345678"), (2, None), line(3, "c")];
            assert_eq!(lines(pieces).await, (expected, true));
        }
        let endless = [&b"123456789"[..], b"0123456789"];
        assert_eq!(lines(&endless).await, (vec![(1, None)], true));
    }

    /// However it comes: what of it would be empty is only known at its end.
    #[tokio::test]
    async fn white_space_that_is_too_long_is_no_empty_line() {
        for pieces in [
            &[&b"         \n\nc"[..]][..],
            &[b"    ", b"     ", b"\n\nc"],
        ] {
            assert_eq!(lines(pieces).await, (vec![(1, None), line(3, "c")], true));
        }
    }

    #[tokio::test]
    async fn the_line_in_which_a_body_breaks_is_none() {
        let broken = [&b"one\ntw"[..], b"broken"];
        assert_eq!(lines(&broken).await, (vec![line(1, "one")], false));
    }
}
