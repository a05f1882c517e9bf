//! Writes log lines to standard error without ever blocking the threads that log.
//!
//! Lines are queued, and one thread writes them. While it waits for a reader that has
//! stalled, the queue fills up, and further lines are dropped and counted. Lines that cannot
//! be written, because the reader has gone or the disk is full, are counted too.
//!
//! `tracing-appender` has the same queue, but when it stops late it reports that to standard
//! error, and would block on the stalled reader.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;

/// How many lines may wait. A line is about 200 bytes long, and rarely more than 4 KiB.
const QUEUED_LINES: usize = 4096;

/// How long [`LogWriter::flush`] waits.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Queues lines for the thread that writes them.
#[derive(Debug)]
pub(super) struct LogWriter {
    queue: SyncSender<Message>,
    lost: IntCounter,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Dropped once all lines before it are written.
    Flush(SyncSender<()>),
}

impl LogWriter {
    /// Starts the thread that writes to `to`. Lost lines are counted in `lost`.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(super) fn start(to: impl Write + Send + 'static, lost: IntCounter) -> io::Result<Self> {
        let (queue, queued) = sync_channel(QUEUED_LINES);
        let writer = thread::Builder::new().name("log".to_owned());
        let counted = lost.clone();
        writer.spawn(move || write_lines(to, &queued, &counted))?;
        Ok(Self { queue, lost })
    }

    /// The counter of lines that were dropped or could not be written.
    pub(super) fn lost(&self) -> &IntCounter {
        &self.lost
    }

    /// Waits until the lines so far are written, for at most a second.
    pub(super) fn flush(&self) {
        let (done, flushed) = sync_channel(0);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            // Returns with an error in both cases: the sender was dropped, or it is late.
            let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

impl Write for &LogWriter {
    /// Queues one line. This neither blocks nor fails.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            self.lost.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_lines(mut to: impl Write, queued: &Receiver<Message>, lost: &IntCounter) {
    for message in queued {
        match message {
            Message::Line(line) => {
                if to.write_all(&line).is_err() {
                    lost.inc();
                }
            }
            Message::Flush(done) => drop(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Writes into memory while its lock is free, and blocks otherwise.
    #[derive(Clone, Default)]
    struct Gate(Arc<Mutex<Vec<u8>>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start(to: impl Write + Send + 'static) -> LogWriter {
        LogWriter::start(to, IntCounter::new("lost", "lost").unwrap()).unwrap()
    }

    #[test]
    fn lines_are_written_in_order() {
        let gate = Gate::default();
        let writer = start(gate.clone());
        for line in ["one\n", "two\n"] {
            (&writer).write_all(line.as_bytes()).unwrap();
        }
        writer.flush();
        assert_eq!(*gate.0.lock().unwrap(), b"one\ntwo\n");
        assert_eq!(writer.lost().get(), 0);
    }

    #[test]
    fn a_stalled_reader_loses_lines_and_blocks_nobody() {
        let gate = Gate::default();
        let writer = start(gate.clone());
        let stalled = gate.0.lock().unwrap();
        for _ in 0..QUEUED_LINES + 101 {
            (&writer).write_all(b"line\n").unwrap();
        }
        // The thread may have taken one line already.
        assert!(
            (100..=101).contains(&writer.lost().get()),
            "{}",
            writer.lost().get()
        );
        // This must return, too.
        writer.flush();
        drop(stalled);
        loop {
            writer.flush();
            let written = gate.0.lock().unwrap().len() as u64 / 5;
            if written + writer.lost().get() == QUEUED_LINES as u64 + 101 {
                break;
            }
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted() {
        let full = std::fs::File::create("/dev/full").unwrap();
        let writer = start(full);
        (&writer).write_all(b"line\n").unwrap();
        writer.flush();
        assert_eq!(writer.lost().get(), 1);
    }
}
