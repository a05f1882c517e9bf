//! `fastsentiment predict --file`: every row of a file, scored.
//!
//! Rows are read on a thread of their own, scored many at a time, and written in
//! their order. What is written into a file is written beside it and moved into
//! place when it is complete; until then, a second file says how far it has come
//! (`progress.rs`), and the same command goes on from there.

mod bar;
mod fields;
mod options;
mod progress;
mod rows;
mod scored;

use std::collections::VecDeque;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use predictor::{PredictError, Revision, Score};
use service::{Options, Service};
use tokio::time::{MissedTickBehavior, interval};

use super::exit;
use bar::Bar;
pub(super) use options::{EXIT_CODES, FileOptions};
use options::{Format, Job, OnError};
use progress::{Destination, Run};
use rows::{Mark, Row, Rows};
use scored::Scored;

/// How often it is noted how far a run has come: so much is done again after an
/// interruption.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// How many bytes the rows may have that wait for their scores.
const MAX_HELD: usize = 8 << 20;

/// What a run has come to.
struct State {
    scored: Scored,
    destination: Destination,
    bar: Bar,
    /// Where the rows end that are done.
    mark: Mark,
    rows: u64,
    left_out: u64,
    /// How many bytes the rows have that wait.
    held: usize,
}

/// How a run has ended.
enum End {
    Complete,
    /// By a signal of this number.
    Signal(u8),
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
        let begun = Instant::now();
        let run = Run::of(&self, &rows, revision);
        let (destination, before) = Destination::open(&self.out, run, self.restart)?;
        let (mark, done, left_out) = match &before {
            Some(before) => (before.mark, before.rows, before.left_out),
            None => (rows.mark(), 0, 0),
        };
        if before.is_some() {
            say(&format!(
                "going on after {done} rows, at line {}",
                mark.line
            ));
            rows.seek(mark)?;
        }
        let labels = labels(service).await?;
        let output = destination.output()?;
        let mut scored = Scored::new(self.format, output, rows.header(), &self.column, &labels)?;
        if before.is_none() {
            scored.header()?;
        }
        let mut state = State {
            scored,
            destination,
            bar: Bar::new(rows.size(), mark.offset, &self.out),
            mark,
            rows: done,
            left_out,
            held: 0,
        };
        let ended = self.score(rows, service, &mut state).await;
        // Also if a row could not be written: what was before it is worth keeping.
        let noted = state.note();
        state.bar.end();
        let end = ended?;
        noted?;
        match end {
            End::BadRow(error) => Err(error),
            End::Signal(signal) => {
                let goes_on = if state.destination.can_go_on() {
                    "; the same command goes on from there"
                } else {
                    ""
                };
                say(&format!("interrupted after {} rows{goes_on}", state.rows));
                Ok(ExitCode::from(128 + signal))
            }
            End::Complete => {
                state.destination.complete()?;
                self.sum_up(&state, state.rows - done, begun.elapsed());
                Ok(match state.left_out {
                    0 => ExitCode::SUCCESS,
                    _ => ExitCode::from(exit::REFUSED),
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
        let mut interrupted = std::pin::pin!(interrupted()?);
        let mut read = rows.on_a_thread()?;
        let mut bulk: service::Bulk<Row> = service.bulk(Options::default());
        let mut waiting = VecDeque::new();
        let mut reads = true;
        let mut noting = interval(NOTE_EVERY);
        noting.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while bulk.has_room() && state.held < MAX_HELD {
                match waiting.pop_front() {
                    Some(row) => ask(&mut bulk, row, &mut state.held),
                    None => break,
                }
            }
            if bulk.is_empty() && waiting.is_empty() {
                // Whoever reads what comes out may be waiting for it.
                state.scored.flush()?;
                if !reads {
                    return Ok(End::Complete);
                }
            }
            let is_next = reads && waiting.is_empty();
            tokio::select! {
                biased;
                signal = &mut interrupted => return Ok(End::Signal(signal)),
                _ = noting.tick() => state.note()?,
                some = read.recv(), if is_next => match some {
                    Some(some) => waiting.extend(some?),
                    None => reads = false,
                },
                Some((row, answer)) = bulk.next() => {
                    let wrong = match answer {
                        Some(Ok(answer)) => match state.write(&row, &answer.scores)? {
                            Ok(()) => continue,
                            Err(wrong) => wrong,
                        },
                        Some(Err(error)) => in_words(&error),
                        None => row.text.unwrap_or_else(|wrong| wrong),
                    };
                    let wrong = format!("{}, line {}: {wrong}", self.file.display(), row.line);
                    match self.on_error {
                        OnError::Stop => {
                            let error = anyhow::anyhow!("{wrong}{}", Self::hint(state));
                            return Ok(End::BadRow(error));
                        }
                        OnError::Skip => {
                            state.leave_out(&wrong, row.end, row.size);
                        }
                    }
                },
            }
        }
    }

    /// What is said of a bad row beside what is wrong with it.
    fn hint(state: &State) -> String {
        if !state.destination.can_go_on() {
            return String::new();
        }
        format!(
            " ({} rows are done; the same command goes on at line {}, and --on-error skip \
             leaves bad rows out)",
            state.rows, state.mark.line
        )
    }

    fn sum_up(&self, state: &State, rows: u64, took: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "a rate in a message")]
        let rate = rows as f64 / took.as_secs_f64().max(1e-3);
        let left_out = match state.left_out {
            0 => String::new(),
            bad => format!(", {bad} bad ones left out"),
        };
        say(&format!(
            "scored {} rows of {}{left_out} ({rate:.0} a second)",
            state.rows,
            self.file.display(),
        ));
    }
}

impl State {
    /// Writes a row that has its scores, unless there is something wrong with it.
    fn write(&mut self, row: &Row, scores: &[Score]) -> anyhow::Result<Result<(), String>> {
        let written = self.scored.write(row, scores)?;
        if written.is_ok() {
            self.rows += 1;
            self.advance(row.end, row.size);
        }
        Ok(written)
    }

    fn leave_out(&mut self, wrong: &str, end: Mark, size: usize) {
        self.bar.aside(|| say(&format!("left out: {wrong}")));
        self.left_out += 1;
        self.advance(end, size);
    }

    fn advance(&mut self, end: Mark, size: usize) {
        self.mark = end;
        self.held = self.held.saturating_sub(size);
        self.bar.advance(end.offset, self.rows);
    }

    /// Makes sure of what is written, and notes how far that is.
    fn note(&mut self) -> anyhow::Result<()> {
        let bytes = self.scored.flush()?;
        self.destination
            .note(self.mark, self.rows, self.left_out, bytes)
    }
}

/// Has a row scored, if it holds a text.
fn ask(bulk: &mut service::Bulk<Row>, mut row: Row, held: &mut usize) {
    *held += row.size;
    match &mut row.text {
        Ok(text) => {
            let text = std::mem::take(text);
            bulk.push(text, row);
        }
        Err(_) => bulk.pass(row),
    }
}

/// All labels, in the order of the columns.
async fn labels(service: &Service) -> anyhow::Result<Vec<Arc<str>>> {
    let probe = vec!["text".to_owned()];
    let answer = service.predict(probe, Options::default()).await;
    let answer = answer.map_err(|error| anyhow::anyhow!(in_words(&error)))?;
    let scores = answer.scores.first().context("the guest gave no answer")?;
    let mut labels: Vec<Arc<str>> = scores.iter().map(|score| score.label.clone()).collect();
    labels.sort_unstable();
    Ok(labels)
}

/// On a terminal, whoever asks is the operator.
fn in_words(error: &PredictError) -> String {
    match &error.detail {
        Some(detail) => format!("{error}: {detail}"),
        None => error.to_string(),
    }
}

/// Tells whoever runs the command something that is no result.
fn say(line: &str) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Resolves with the number of the signal that interrupts the run.
fn interrupted() -> anyhow::Result<impl Future<Output = u8>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => 2,
            _ = terminate.recv() => 15,
        }
    })
}
