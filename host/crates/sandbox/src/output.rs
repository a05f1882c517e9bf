//! The output of guests: lines in the log at trace level, and the end of the output
//! of a guest that fails. Both may contain a client's text; the log contains none at
//! any other level.
//!
//! However much a guest prints, it takes no more memory than a line, and no more of
//! the log than a few lines a second. Whatever it prints, it cannot forge a line of
//! the log. This module must not know why a guest is called.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use predictor::Digest;

/// The target of the lines, for filters of the log.
const TARGET: &str = "fastsentiment::guest::output";

/// The longest line, in bytes; the rest is cut off.
const MAX_LINE: usize = 1024;

/// How many lines of one guest, with all its instances, are logged in a second.
const LINES: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);

/// How much is kept of the end of a stream, in bytes.
const TAIL: usize = 2048;

/// What a guest in Rust prints after every panic. A guest has no environment, and the
/// host names the functions that were running.
const RUST_NOTE: &str =
    " note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace";

/// The most that is taken from a guest in one write, in bytes.
const PIECE: usize = 64 << 10;

/// The output of all instances of one guest.
pub(super) struct Output {
    version: String,
    rate: Mutex<RateLimit>,
}

/// An output stream of one instance. Clones are the same stream.
#[derive(Clone)]
pub(super) struct Printer(Arc<Printed>);

struct Printed {
    output: Arc<Output>,
    stream: &'static str,
    text: Mutex<Text>,
}

#[derive(Default)]
struct Text {
    /// The beginning of a line that is not complete yet.
    line: Vec<u8>,
    /// The end of all that was printed.
    tail: Vec<u8>,
}

/// Limits the lines that are logged in a second.
#[derive(Default)]
struct RateLimit {
    since: Option<Instant>,
    lines: u32,
    dropped: u64,
}

impl Output {
    /// For the guest with this digest.
    pub(super) fn new(guest: &Digest) -> Arc<Self> {
        Arc::new(Self {
            version: guest.short(),
            rate: Mutex::default(),
        })
    }

    /// The standard output of an instance.
    pub(super) fn stdout(self: &Arc<Self>) -> Printer {
        self.stream("stdout")
    }

    /// The standard error of an instance.
    pub(super) fn stderr(self: &Arc<Self>) -> Printer {
        self.stream("stderr")
    }

    /// Logs the guest's own text about a failed call.
    pub(super) fn log_error(&self, text: Option<&str>) {
        if let Some(text) = text {
            let version = &*self.version;
            tracing::trace!(target: TARGET, version, "a call has failed: {text}");
        }
    }

    fn stream(self: &Arc<Self>, stream: &'static str) -> Printer {
        Printer(Arc::new(Printed {
            output: Arc::clone(self),
            stream,
            text: Mutex::default(),
        }))
    }
}

impl Printer {
    /// The end of what was printed, in one line; empty if nothing was.
    pub(super) fn tail(&self) -> String {
        one_line(&self.0.text().tail, TAIL).replace(RUST_NOTE, "")
    }
}

impl Printed {
    fn print(&self, bytes: &[u8]) {
        let mut text = self.text();
        text.remember(bytes);
        if !tracing::enabled!(target: TARGET, Level::TRACE) {
            return;
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    text.add(end);
                    self.log(&text.line);
                    text.line.clear();
                }
                None => text.add(piece),
            }
        }
    }

    fn log(&self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let rate = self.output.rate.lock();
        let admitted = rate
            .unwrap_or_else(PoisonError::into_inner)
            .admit(Instant::now());
        let Some(left_out) = admitted else {
            return;
        };
        let version = &*self.output.version;
        let stream = self.stream;
        let line = one_line(line, MAX_LINE);
        if left_out == 0 {
            tracing::trace!(target: TARGET, version, stream, "{line}");
        } else {
            tracing::trace!(target: TARGET, version, stream, left_out, "{line}");
        }
    }

    fn text(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Printed {
    fn drop(&mut self) {
        let text = self.text.get_mut().unwrap_or_else(PoisonError::into_inner);
        let line = std::mem::take(&mut text.line);
        self.log(&line);
    }
}

impl Text {
    fn add(&mut self, piece: &[u8]) {
        // One byte more than is shown indicates that the line was cut.
        let room = (MAX_LINE + 1).saturating_sub(self.line.len());
        self.line.extend(&piece[..piece.len().min(room)]);
    }

    fn remember(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(TAIL)..];
        let kept = self.tail.len().min(TAIL - new.len());
        self.tail.drain(..self.tail.len() - kept);
        self.tail.extend(new);
    }
}

impl RateLimit {
    /// The number of lines that were dropped before this one; `None` if this one is
    /// dropped as well.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let over = |since: Instant| now.saturating_duration_since(since) >= SECOND;
        if self.since.is_none_or(over) {
            self.since = Some(now);
            self.lines = 0;
        }
        if self.lines == LINES {
            self.dropped += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

/// Makes text of a guest safe to show: one line of about `max` bytes at most, without
/// characters that would forge a line of the log or control a terminal.
pub(super) fn one_line(text: impl AsRef<[u8]>, max: usize) -> String {
    let text = text.as_ref();
    // A character takes at most four bytes, so none that is shown is cut in half.
    let beginning = &text[..text.len().min(max.saturating_add(4))];
    let mut shown = String::new();
    for character in String::from_utf8_lossy(beginning).trim().chars() {
        if shown.len() >= max {
            break;
        }
        match character {
            space if space.is_whitespace() => {
                if !shown.ends_with(' ') {
                    shown.push(' ');
                }
            }
            '\'' | '"' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    if text.len() > max {
        shown.push_str("...");
    }
    shown
}

impl IsTerminal for Printer {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printer {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

/// Writes are processed at once, so there is never anything to wait for.
#[async_trait]
impl OutputStream for Printer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PIECE)
    }
}

#[async_trait]
impl Pollable for Printer {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Printer {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        self.0.print(piece);
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printer() -> Printer {
        Output::new(&Digest([7; 32])).stderr()
    }

    /// The log while `act` runs.
    fn logged(level: Level, act: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Log(Arc<Mutex<Vec<u8>>>);

        impl std::io::Write for Log {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().expect("no panic").write(bytes)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }

        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, act);
        let log = log.0.lock().expect("no panic").clone();
        String::from_utf8(log).expect("text")
    }

    #[test]
    fn lines_are_logged_with_their_version_and_stream() {
        let log = logged(Level::TRACE, || {
            let printer = printer();
            printer.0.print(b"one\ntw");
            printer.0.print(b"o\n\n   \nthree");
        });
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 3, "{log}");
        for (line, said) in lines.iter().zip(["one", "two", "three"]) {
            assert!(line.contains(&format!("{TARGET}: {said} ")), "{line}");
            assert!(line.contains(r#"version="070707070707""#), "{line}");
            assert!(line.contains(r#"stream="stderr""#), "{line}");
        }
    }

    #[test]
    fn nothing_is_logged_above_trace_and_the_end_is_kept() {
        let printer = printer();
        let log = logged(Level::DEBUG, || {
            printer.0.print(b"one\n");
            printer.0.print(b"two\n");
        });
        assert_eq!(log, "");
        assert_eq!(printer.tail(), "one two");
        printer.0.print(RUST_NOTE.as_bytes());
        assert_eq!(printer.tail(), "one two");
    }

    #[test]
    fn a_line_cannot_be_forged() {
        let log = logged(Level::TRACE, || {
            printer()
                .0
                .print(b"a\rERROR forged \x1b[31mred\x07 \xff\xe2\x80\xae\n");
        });
        assert_eq!(log.lines().count(), 1, "{log}");
        let said = r"a ERROR forged \u{1b}[31mred\u{7} ";
        assert!(log.contains(said), "{log}");
        assert!(log.contains(r"\u{202e}"), "{log}");
    }

    #[test]
    fn memory_does_not_grow_with_what_is_printed() {
        let printer = printer();
        let log = logged(Level::TRACE, || {
            for _ in 0..1000 {
                printer.0.print(&[b'x'; 10_000]);
            }
            printer.0.print(b"the end\n");
        });
        assert!(log.contains("xxx..."), "{log}");
        assert!(log.len() < 2 * MAX_LINE, "{}", log.len());
        let tail = printer.tail();
        assert!(tail.len() <= TAIL, "{}", tail.len());
        assert!(tail.ends_with("the end"), "{tail}");
        let text = printer.0.text();
        assert!(text.line.capacity() + text.tail.capacity() < 4 * TAIL);
    }

    #[test]
    fn lines_beyond_the_rate_limit_are_counted() {
        let mut rate = RateLimit::default();
        let begun = Instant::now();
        for _ in 0..LINES {
            assert_eq!(rate.admit(begun), Some(0));
        }
        let within = begun + SECOND / 2;
        assert_eq!(rate.admit(within), None);
        assert_eq!(rate.admit(within), None);
        assert_eq!(rate.admit(begun + SECOND), Some(2));
        assert_eq!(rate.admit(begun + SECOND), Some(0));
    }
}
