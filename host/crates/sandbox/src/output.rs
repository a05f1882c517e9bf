//! What guests print: lines in the log, at trace level, and the last words of
//! one that fails. Both may hold a text that the guest was given, which no other
//! line of the log does: at any other level, nothing of a text is logged.
//!
//! However much a guest prints, it takes no more of the host's memory than a
//! line, and no more of the log than some lines a second; whatever it prints, it
//! can not forge a line of the log. This module must not know what a guest is
//! called for.

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

/// The target under which lines are logged, so that they can be chosen by it.
const TARGET: &str = "fastsentiment::guest::output";

/// The longest line, in bytes; what goes beyond is left out.
const MAX_LINE: usize = 1024;

/// How many lines of one guest, whatever the number of its instances, are
/// logged in a second.
const LINES: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);

/// How much is kept of the last that a guest has printed, in bytes.
const LAST_WORDS: usize = 2048;

/// How much is taken from a guest in one go, in bytes.
const PIECE: usize = 64 << 10;

/// What the instances of one guest print.
pub(super) struct Output {
    version: String,
    pace: Mutex<Pace>,
}

/// A stream of one instance. Clones are the same stream.
#[derive(Clone)]
pub(super) struct Printer(Arc<Printed>);

struct Printed {
    output: Arc<Output>,
    stream: &'static str,
    text: Mutex<Text>,
}

#[derive(Default)]
struct Text {
    /// The beginning of a line that has not ended yet.
    line: Vec<u8>,
    last: Vec<u8>,
}

/// How many lines were logged of late.
#[derive(Default)]
struct Pace {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Output {
    /// For the guest of this digest.
    pub(super) fn new(guest: &Digest) -> Arc<Self> {
        Arc::new(Self {
            version: guest.short(),
            pace: Mutex::default(),
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

    /// Logs what the guest has said of a call that failed.
    pub(super) fn repeat(&self, words: Option<&str>) {
        if let Some(words) = words {
            let version = &*self.version;
            tracing::trace!(target: TARGET, version, "a call has failed: {words}");
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
    /// The end of what was printed, fit to be shown; empty if nothing was.
    pub(super) fn last_words(&self) -> String {
        fit(&self.0.text().last, LAST_WORDS)
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
        let pace = self.output.pace.lock();
        let turn = pace
            .unwrap_or_else(PoisonError::into_inner)
            .turn(Instant::now());
        let Some(left_out) = turn else {
            return;
        };
        let version = &*self.output.version;
        let stream = self.stream;
        let line = fit(line, MAX_LINE);
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
        // One byte more than is shown tells that there was more.
        let room = (MAX_LINE + 1).saturating_sub(self.line.len());
        self.line.extend(&piece[..piece.len().min(room)]);
    }

    fn remember(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(LAST_WORDS)..];
        let kept = self.last.len().min(LAST_WORDS - new.len());
        self.last.drain(..self.last.len() - kept);
        self.last.extend(new);
    }
}

impl Pace {
    /// How many lines were left out before this one; `None` if this one has to
    /// be left out as well.
    fn turn(&mut self, now: Instant) -> Option<u64> {
        let over = |since: Instant| now.saturating_duration_since(since) >= SECOND;
        if self.since.is_none_or(over) {
            self.since = Some(now);
            self.lines = 0;
        }
        if self.lines == LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Makes what comes from a guest fit to be shown: one line of about `max` bytes
/// at most, without characters that would forge a line or drive a terminal.
pub(super) fn fit(said: impl AsRef<[u8]>, max: usize) -> String {
    let said = said.as_ref();
    // A character takes four bytes at most, so that none is cut that is shown.
    let beginning = &said[..said.len().min(max.saturating_add(4))];
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
    if said.len() > max {
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

/// What is written is dealt with at once, so that there is never anything to
/// wait for.
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

    /// What is logged while `act` runs.
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
    fn nothing_is_logged_above_trace_and_the_last_words_are_kept() {
        let printer = printer();
        let log = logged(Level::DEBUG, || {
            printer.0.print(b"one\n");
            printer.0.print(b"two\n");
        });
        assert_eq!(log, "");
        assert_eq!(printer.last_words(), "one two");
    }

    #[test]
    fn a_line_can_not_be_forged() {
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
        let last = printer.last_words();
        assert!(last.len() <= LAST_WORDS, "{}", last.len());
        assert!(last.ends_with("the end"), "{last}");
        let text = printer.0.text();
        assert!(text.line.capacity() + text.last.capacity() < 4 * LAST_WORDS);
    }

    #[test]
    fn only_so_many_lines_are_logged_in_a_second() {
        let mut pace = Pace::default();
        let begun = Instant::now();
        for _ in 0..LINES {
            assert_eq!(pace.turn(begun), Some(0));
        }
        let within = begun + SECOND / 2;
        assert_eq!(pace.turn(within), None);
        assert_eq!(pace.turn(within), None);
        assert_eq!(pace.turn(begun + SECOND), Some(2));
        assert_eq!(pace.turn(begun + SECOND), Some(0));
    }
}
