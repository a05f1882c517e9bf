//! `POST /predict` with lines of JSON: texts without end in, and for each of them a
//! line out as soon as it and all before it are answered.
//!
//! What a client holds of the server is bounded, however much it sends: no more of
//! the body is read than is under way ([`Bulk`]), and no more is asked for than the
//! client reads. An exchange may take as long as it likes, but neither side of it
//! may be silent for longer than the body of any request may take.
//!
//! Until the first line is answered, what goes wrong is a problem with a status, as
//! for any request. From then on it is a line: about one line of the body, which
//! does not end the exchange, or the last one.
//!
//! This module must not know how the scores come about.

mod input;
mod line;
mod output;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::body::BodyError;
use super::call::Counts;
use super::connection::{Phase, Session, closing};
use super::content::Content;
use super::exchange::contained;
use super::memory::{Held, Memory};
use super::options::options;
use super::predict::log;
use super::problem::{Kind, Problem};
use super::{HttpConfig, coding, media_type};
use input::{Line, Lines};
pub(crate) use line::TextLine;
pub use output::Streamed;
pub(crate) use output::{ErrorLine, ScoredLine, respond};
use predictor::{Answer, ErrorKind, PredictError, Source};
use service::{Options, Service};

/// A line may be so many times longer than the longest text, since JSON may write a
/// byte with six, and an object may hold more than the text.
const LINE_OVER_TEXT: usize = 8;

/// What an exchange holds beside a line, in bytes: texts and answers under way.
const UNDER_WAY: usize = 2 << 20;

/// From this size on, in bytes, answers are sent without waiting for more.
const PIECE: usize = 16 * 1024;

/// How many failures of ours an exchange logs.
const LOGGED: u32 = 8;

/// The route.
pub(crate) struct Route {
    service: Arc<Service>,
    memory: Memory,
    max_line: usize,
    /// What an exchange takes of the memory.
    room: usize,
    patience: Duration,
}

/// One request and its answer.
pub(crate) struct Exchange {
    lines: Lines,
    bulk: service::Bulk<Place>,
    phase: watch::Receiver<Phase>,
    options: Options,
    patience: Duration,
    /// Answers that are not sent.
    out: Vec<u8>,
    /// Whether anything has been sent.
    begun: bool,
    /// Whether more lines are read.
    reads: bool,
    /// Why not, unless there are none.
    early: Option<Problem>,
    /// The last line that was answered.
    answered: u64,
    logged: u32,
    counts: Arc<Counts>,
    /// The connection is busy for as long as this lasts.
    _session: Session,
    _held: Held,
}

/// A line's place in the answer.
struct Place {
    line: u64,
    /// What is wrong with it, if it holds no text.
    problem: Option<Problem>,
}

/// What an exchange goes on with.
enum Event {
    Read(Line),
    Answered(Place, Option<Result<Answer, PredictError>>),
    /// No more is read.
    End(Option<Problem>),
    /// Nothing else is there at the moment.
    Send,
    /// Everything is answered.
    Done,
}

impl Route {
    pub(crate) fn new(service: Arc<Service>, memory: Memory, config: &HttpConfig) -> Self {
        let max_line = service.max_text_bytes().saturating_mul(LINE_OVER_TEXT);
        let room = max_line.saturating_add(UNDER_WAY);
        Self {
            service,
            memory,
            max_line,
            // One exchange at least has to be possible.
            room: room.min(config.body_memory / 2),
            patience: config.body_timeout,
        }
    }

    /// Begins to answer: resolves with the first lines of the answer, or none if
    /// there are none at all.
    pub(crate) async fn begin(
        &self,
        headers: &HeaderMap,
        body: &mut Content,
        session: Session,
    ) -> Result<(Exchange, Option<Bytes>), Problem> {
        media_type::require_utf8_lines(headers)
            .map_err(|detail| Problem::new(Kind::UnsupportedMediaType, detail))?;
        let coding = coding::of_request(headers)?;
        // Lines may go on for ever.
        body.unpack(coding, usize::MAX, &self.memory);
        let options = options(headers)?;
        let mut held = self.memory.begin(0).map_err(BodyError::from)?;
        held.take(self.room).map_err(BodyError::from)?;
        let mut exchange = Exchange {
            lines: Lines::new(self.max_line),
            bulk: self.service.bulk(options),
            phase: session.phase(),
            options,
            patience: self.patience,
            out: Vec::new(),
            begun: false,
            reads: true,
            early: None,
            answered: 0,
            logged: 0,
            counts: Arc::default(),
            _session: session,
            _held: held,
        };
        let first = exchange.next(body).await?;
        Ok((exchange, first))
    }
}

impl Exchange {
    /// Sends the `first` lines and all that follow. Tells whether the answer is
    /// complete: it is not if the client leaves or does not read.
    async fn run(
        &mut self,
        first: Option<Bytes>,
        body: &mut Content,
        pieces: &mpsc::Sender<Bytes>,
    ) -> bool {
        let mut piece = first;
        while let Some(lines) = piece {
            match timeout(self.patience, pieces.send(lines)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return false,
                Err(_) => {
                    tracing::debug!("a client did not read its answer");
                    return false;
                }
            }
            let next = tokio::select! {
                biased;
                () = pieces.closed() => return false,
                next = contained(self.next(body)) => next,
            };
            piece = match next {
                Ok(next) => next,
                // Of ours, and nothing is known of the lines under way any more.
                Err(problem) => {
                    let last = output::last(&problem, self.answered);
                    return pieces.send(last.into()).await.is_ok();
                }
            };
        }
        true
    }

    /// The next lines of the answer, none once it is complete. An error is one of
    /// the whole request, before anything has been sent.
    async fn next(&mut self, body: &mut Content) -> Result<Option<Bytes>, Problem> {
        while self.out.len() < PIECE {
            match self.event(body).await {
                Event::Read(line) => self.ask(line),
                Event::Answered(place, answer) => self.write(place, answer)?,
                Event::End(problem) => {
                    self.reads = false;
                    self.early = problem;
                    let kind = self.early.as_ref().map(|problem| problem.kind);
                    if kind == Some(Kind::IncompleteBody) {
                        // Most likely nobody is there any more.
                        self.bulk.abandon();
                    }
                }
                Event::Send => break,
                Event::Done => match self.early.take() {
                    Some(problem) if !self.begun => return Err(problem),
                    Some(problem) => {
                        self.out = output::last(&problem, self.answered);
                        break;
                    }
                    None => return Ok(None),
                },
            }
        }
        self.begun = true;
        Ok(Some(std::mem::take(&mut self.out).into()))
    }

    /// What comes next. Lines that are there are read before answers are waited
    /// for, so that chunks are large; and what is answered is sent before anything
    /// is waited for.
    async fn event(&mut self, body: &mut Content) -> Event {
        let (reads, room, idle) = (self.reads, self.bulk.has_room(), self.bulk.is_empty());
        tokio::select! {
            biased;
            () = closing(&mut self.phase), if reads => Event::End(Some(Problem::new(
                Kind::Draining,
                "the server is about to stop, and reads no more lines",
            ))),
            read = self.lines.next(body), if reads && room => match read {
                Ok(Some(line)) => Event::Read(line),
                Ok(None) => Event::End(None),
                Err(error) => Event::End(Some(error.into())),
            },
            Some((place, answer)) = self.bulk.next() => Event::Answered(place, answer),
            () = ready(()), if !self.out.is_empty() => Event::Send,
            // While texts are under way, it is not the client who is silent.
            () = sleep(self.patience), if reads && idle => Event::End(Some(Problem::new(
                Kind::BodyTimeout,
                format!("no line came within {:?}", self.patience),
            ))),
            else => Event::Done,
        }
    }

    /// Asks for the text of a line.
    fn ask(&mut self, line: Line) {
        let number = line.number;
        let place = |problem| Place {
            line: number,
            problem,
        };
        match line
            .content
            .map_err(Problem::from)
            .and_then(|content| line::text(&content))
        {
            Ok(text) => self.bulk.push(text, place(None)),
            Err(problem) => self.bulk.pass(place(Some(problem))),
        }
    }

    /// Writes the answer to a line.
    fn write(
        &mut self,
        place: Place,
        answer: Option<Result<Answer, PredictError>>,
    ) -> Result<(), Problem> {
        let Place { line, problem } = place;
        match answer {
            Some(Ok(answer)) => {
                self.counts.add(answer.source != Source::Computed);
                output::predictions(&mut self.out, &answer.scores)?;
            }
            Some(Err(error)) => {
                self.log(&error);
                let is_whole = matches!(error.kind, ErrorKind::Overloaded { .. });
                if is_whole && !self.begun && self.out.is_empty() {
                    return Err(error.into());
                }
                output::error(&mut self.out, &line::problem(error), line);
            }
            None => {
                let problem = problem.unwrap_or_else(Problem::failed);
                output::error(&mut self.out, &problem, line);
            }
        }
        self.answered = line;
        Ok(())
    }

    /// One cause may fail a million lines.
    fn log(&mut self, error: &PredictError) {
        if self.logged < LOGGED {
            self.logged += 1;
            log(error, self.options);
        }
    }
}
