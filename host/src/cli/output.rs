//! Standard output, where results go.
//!
//! Its reader may close it early, as `head` does. That ends a command silently, with
//! [`exit::READER_GONE`](super::exit::READER_GONE).

use std::error::Error as StdError;
use std::io::{self, ErrorKind, Write};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;

use super::terminal;

/// The cause of an error, if standard output was closed.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed by its reader")]
struct ReaderGone;

/// Standard output. If its reader has closed it, a write fails with an error that
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

const CANNOT_WRITE: &str = "cannot write to standard output";

/// Prints a result: lines of text, in which characters that cannot be seen are escaped.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    write(&terminal::lines(text))
}

/// Prints a JSON document and a line break. Characters that cannot be seen are escaped as in
/// JSON.
pub(super) fn print_json(document: &str) -> anyhow::Result<()> {
    write(&format!("{}\n", terminal::json(document)))
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut out = stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context(CANNOT_WRITE)
}

/// Prints what clap has to say: help and versions to standard output, errors to standard
/// error.
pub(super) fn print_clap(message: &clap::Error) -> anyhow::Result<()> {
    match message.print() {
        Err(error) if !message.use_stderr() => Err(marked(error)).context(CANNOT_WRITE),
        // Nothing can be done about a standard error that cannot be written to.
        _ => Ok(()),
    }
}

/// How long [`print_in_background`] waits for a reader.
const READER_TIMEOUT: Duration = Duration::from_secs(1);

/// Prints on a separate thread, so that a server runs on even if its reader has stalled or
/// gone. A reader that keeps up has the text when this returns.
pub(super) fn print_in_background(text: String) {
    let (done, printed) = mpsc::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        if let Err(error) = print(&text) {
            tracing::warn!("the startup banner cannot be printed: {error:#}");
        }
        // The receiver is gone if the reader was too slow.
        let _ = done.send(());
    });
    match thread {
        Ok(_) => drop(printed.recv_timeout(READER_TIMEOUT)),
        Err(error) => tracing::warn!(%error, "the startup banner cannot be printed"),
    }
}

/// Whether an error means that standard output was closed by its reader.
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
