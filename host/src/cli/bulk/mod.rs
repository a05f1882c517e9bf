//! `fastsentiment predict --file`: scores every row of a file.
//!
//! Rows are read on a separate thread, scored many at a time, and written in order. An
//! output file is written under another name and moved into place once it is complete.
//! Until then a second file records the progress (`progress.rs`), from which the same
//! command resumes.

mod bar;
mod header;
mod options;
mod progress;
mod quotes;
mod records;
mod rows;
mod source;
mod writer;

use std::collections::VecDeque;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use predictor::{LongTexts, Revision, Score};
use rustix::process::Signal;
use service::{Options, Service};
use tokio::time::{MissedTickBehavior, interval};

use super::predict::describe;
use super::settings::Fault;
use super::signals::Termination;
use super::{exit, log};
use bar::Bar;
pub(super) use options::{EXIT_CODES, FileOptions};
use options::{Format, Job, OnError};
use progress::{Destination, Done, Run};
use rows::{Row, Rows};
use writer::{CANNOT_WRITE, RowWriter};

/// How often progress is saved. At most so much work is repeated after an interruption.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// The maximum size of the rows that wait for their scores, in bytes.
const MAX_HELD: usize = 8 << 20;

/// The state of a run.
struct State {
    writer: RowWriter,
    destination: Destination,
    bar: Bar,
    done: Done,
    /// The size of the rows that wait for their scores, in bytes.
    held: usize,
}

/// How a run has ended.
enum End {
    Complete,
    Interrupted(Signal),
    /// At a bad row.
    BadRow(anyhow::Error),
}

impl Job {
    pub(super) async fn run(
        self,
        mut rows: Rows,
        service: &Arc<Service>,
        revision: &Revision,
    ) -> anyhow::Result<ExitCode> {
        let start = Instant::now();
        let run = Run::of(&self, &rows, revision);
        let (destination, before) = Destination::open(&self.out, run, self.restart)?;
        let is_new = before.is_none();
        let done = before.unwrap_or_else(|| Done::nothing(rows.mark()));
        let rows_before = done.rows;
        if !is_new {
            let line = done.mark.line;
            print(&format!(
                "resuming after {rows_before} rows, at line {line}"
            ));
            rows.skip_to(done.mark)?;
        }
        let labels = labels(service).await?;
        let mut output = destination.output()?;
        if is_new {
            output.write_all(&rows.preamble()).context(CANNOT_WRITE)?;
        }
        let mut writer = RowWriter::new(self.format, output, rows.header(), &self.column, &labels)?;
        if is_new {
            writer.header()?;
        }
        let mut state = State {
            writer,
            destination,
            bar: Bar::new(rows.size(), done.mark.offset, &self.out),
            done,
            held: 0,
        };
        let ended = self.score(rows, service, &mut state).await;
        // The rows so far are worth keeping, even if one could not be written.
        let saved = state.save();
        state.bar.end();
        let end = ended?;
        saved?;
        match end {
            End::BadRow(error) => Err(error),
            End::Interrupted(signal) => {
                let hint = if state.destination.is_resumable() {
                    "; run the same command again to resume"
                } else {
                    ""
                };
                print(&format!("interrupted after {} rows{hint}", state.done.rows));
                let signal = u8::try_from(signal.as_raw()).unwrap_or(0);
                Ok(ExitCode::from(128 + signal))
            }
            End::Complete => {
                state.destination.complete()?;
                self.print_summary(&state.done, rows_before, start.elapsed());
                Ok(match state.done.skipped {
                    0 => ExitCode::SUCCESS,
                    _ => ExitCode::from(exit::REJECTED),
                })
            }
        }
    }

    async fn score(
        &self,
        rows: Rows,
        service: &Arc<Service>,
        state: &mut State,
    ) -> anyhow::Result<End> {
        let mut termination = Termination::handle()?;
        let mut read = rows.read_on_thread()?;
        let mut bulk: service::Bulk<Row> = service.bulk(Options::default());
        let mut waiting = VecDeque::new();
        let (mut is_reading, mut end) = (true, Ok(End::Complete));
        let mut save = interval(SAVE_INTERVAL);
        save.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while bulk.has_room() && state.held < MAX_HELD {
                match waiting.pop_front() {
                    Some(row) => push(&mut bulk, row, &mut state.held),
                    None => break,
                }
            }
            if bulk.is_empty() && waiting.is_empty() {
                // The reader of the output may be waiting for these rows.
                state.writer.flush()?;
                if !is_reading {
                    return end;
                }
            }
            let wants_rows = is_reading && waiting.is_empty();
            tokio::select! {
                biased;
                signal = termination.received() => return Ok(End::Interrupted(signal)),
                _ = save.tick() => state.save()?,
                batch = read.recv(), if wants_rows => match batch {
                    Some(Ok(rows)) => waiting.extend(rows),
                    Some(Err(error)) => end = Err(error),
                    None => is_reading = false,
                },
                Some((row, answer)) = bulk.next() => {
                    let reason = match answer {
                        Some(Ok(answer)) => match state.write(&row, &answer.scores)? {
                            Ok(()) => continue,
                            Err(reason) => reason,
                        },
                        Some(Err(error)) => describe(&error),
                        None => row.text.as_ref().err().cloned().unwrap_or_default(),
                    };
                    let reason = format!("{}, line {}: {reason}", self.file.display(), row.line);
                    match self.on_error {
                        OnError::Stop => {
                            let error = anyhow::anyhow!("{reason}{}", resume_hint(state));
                            return Ok(End::BadRow(error));
                        }
                        OnError::Skip => {
                            state.bar.suspend(|| print(&format!("skipped: {reason}")));
                            state.done.skipped += 1;
                            state.advance(&row);
                        }
                    }
                },
            }
        }
    }

    fn print_summary(&self, done: &Done, rows_before: u64, took: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "a rate in a message")]
        let rate = (done.rows - rows_before) as f64 / took.as_secs_f64().max(1e-3);
        let skipped = match done.skipped {
            0 => String::new(),
            rows => format!(", skipped {rows} bad rows"),
        };
        print(&format!(
            "scored {} rows of {}{skipped} ({rate:.0} rows/s)",
            done.rows,
            self.file.display(),
        ));
    }
}

impl State {
    /// Writes a row with its scores. The inner error says what is wrong with them.
    fn write(&mut self, row: &Row, scores: &[Score]) -> anyhow::Result<Result<(), String>> {
        let written = self.writer.write(row, scores)?;
        if written.is_ok() {
            self.done.rows += 1;
            self.advance(row);
        }
        Ok(written)
    }

    fn advance(&mut self, row: &Row) {
        self.done.mark = row.end;
        self.held = self.held.saturating_sub(row.size);
        self.bar.advance(row.end.offset, self.done.rows);
    }

    /// Writes all rows so far to disk, and saves the progress.
    fn save(&mut self) -> anyhow::Result<()> {
        let bytes = self.writer.flush()?;
        self.destination.save(self.done, bytes)
    }
}

/// How to continue after a bad row.
fn resume_hint(state: &State) -> String {
    if !state.destination.is_resumable() {
        return String::new();
    }
    format!(
        " ({} rows are done; run the same command again to resume at line {}, with --on-error skip \
         to skip bad rows)",
        state.done.rows, state.done.mark.line
    )
}

/// Queues a row to be scored. A row without a text keeps its place in the order.
fn push(bulk: &mut service::Bulk<Row>, mut row: Row, held: &mut usize) {
    *held += row.size;
    match &mut row.text {
        Ok(text) => {
            let text = std::mem::take(text);
            bulk.push(text, LongTexts::default(), row);
        }
        Err(_) => bulk.pass(row),
    }
}

/// The labels of the model, in the order of their columns.
async fn labels(service: &Service) -> anyhow::Result<Vec<Arc<str>>> {
    let probe = vec!["text".to_owned()];
    let answer = service.predict(probe, Options::default()).await;
    let answer = answer.map_err(|error| anyhow::anyhow!(describe(&error)))?;
    let scores = answer
        .scores
        .first()
        .context("the guest returned no scores")?;
    let mut labels: Vec<Arc<str>> = scores.iter().map(|score| score.label.clone()).collect();
    labels.sort_unstable();
    Ok(labels)
}

/// Prints a message that is not a result.
fn print(message: &str) {
    log::print(&format!("{}\n", Fault::of(message)));
}
