//! Standard output, where results go.
//!
//! Whoever reads it may leave early, as `head` does. That ends a command without a word.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;

/// Why a command ends when its reader has gone.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed by its reader")]
struct ReaderGone;

/// Standard output. A write to it that finds no reader fails with an error that
/// [`is_reader_gone`] recognises.
pub(super) struct Stdout(io::Stdout);

/// Standard output.
pub(super) fn stdout() -> Stdout {
    Stdout(io::stdout())
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(marked)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(marked)
    }
}

fn marked(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::BrokenPipe => io::Error::new(ErrorKind::BrokenPipe, ReaderGone),
        _ => error,
    }
}

/// Prints a result as it is.
pub(super) fn print(result: impl Display) -> anyhow::Result<()> {
    let mut out = stdout();
    write!(out, "{result}")
        .and_then(|()| out.flush())
        .context("standard output cannot be written to")
}

/// How long [`print_aside`] waits for a reader.
const READER_TIMEOUT: Duration = Duration::from_secs(1);

/// Prints on a thread of its own what nobody has to read: a server goes on also if its
/// reader has stalled or gone. Any other reader has it when this returns.
pub(super) fn print_aside(text: String) {
    let (done, printed) = mpsc::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        if let Err(error) = print(text) {
            tracing::warn!("what the server would say of itself is lost: {error:#}");
        }
        // Nobody waits any more for a reader that is late.
        let _ = done.send(());
    });
    match thread {
        Ok(_) => drop(printed.recv_timeout(READER_TIMEOUT)),
        Err(error) => tracing::warn!(%error, "what the server would say of itself is lost"),
    }
}

/// Whether an error says that nobody reads standard output any more.
pub(super) fn is_reader_gone(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let of_csv = cause.downcast_ref().map(csv::Error::kind);
        let error = match of_csv {
            Some(csv::ErrorKind::Io(error)) => Some(error),
            _ => cause.downcast_ref(),
        };
        let inner = error.and_then(io::Error::get_ref);
        inner.is_some_and(<dyn StdError + Send + Sync>::is::<ReaderGone>)
    })
}
