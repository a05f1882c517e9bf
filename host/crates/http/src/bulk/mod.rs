//! `POST /predict` with lines of JSON: any number of texts in, and for each a line out as
//! soon as it and all lines before it are answered.
//!
//! What a client holds of the server is bounded, however much it sends: no more of the
//! body is read than is in progress ([`Bulk`](service::Bulk)), and no more is predicted
//! than the client reads. An exchange may take any time, but neither side may be silent
//! for longer than the body of any request may take.
//!
//! Until the first line is answered, a failure is a problem with a status, as for any
//! request. From then on it is a line: about one line of the body, which does not end the
//! exchange, or the last one.

pub(crate) mod line;
pub(crate) mod lines;
mod stream;

use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use connection::body::{BodyError, discard};
use connection::decompress::Decompressed;
use connection::{Memory, Reservation, Session, Waiting};
use futures_util::FutureExt as _;
use predictor::{Answer, ErrorKind, PredictError, Source};
use service::{Options, Service};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;
use tokio::time::{sleep, timeout};

use crate::caller::{Allowance, Caller};
use crate::observe::Progress;
use crate::options::options;
use crate::predict::log;
use crate::problem::{Kind, Problem};
use crate::{HttpConfig, coding, media_type};
pub(crate) use line::TextLine;
use lines::{Line, Lines};
pub(crate) use stream::{ErrorLine, ScoredLine};

/// A line may be so many times longer than the longest text: JSON may write a byte with
/// six, and an object may hold more than the text.
const LINE_OVER_TEXT: usize = 8;

/// What an exchange holds beside a line, in bytes: texts and answers in progress.
const IN_PROGRESS: usize = 2 << 20;

/// What it holds while nothing is in progress, in bytes, beside what has arrived of a line.
const IDLE: usize = 32 * 1024;

/// Answers of this size, in bytes, are sent without waiting for more.
const PIECE: usize = 16 * 1024;

/// How many internal failures an exchange logs: one cause may fail a million lines.
const MAX_LOGGED: u32 = 8;

/// What bulk requests work with.
pub(crate) struct Route {
    service: Arc<Service>,
    memory: Memory,
    max_line: usize,
    /// The memory that an exchange reserves while texts are in progress, in bytes.
    reserved: usize,
    patience: Duration,
}

/// One request and its answer.
struct Exchange {
    lines: Lines,
    bulk: service::Bulk<Place>,
    session: Session,
    options: Options,
    patience: Duration,
    allowance: Allowance,
    /// Answers that are not sent yet.
    out: Vec<u8>,
    /// Whether anything has been sent.
    has_begun: bool,
    /// Whether more lines are read.
    reads: bool,
    /// Why not, unless there are none.
    ended_by: Option<Problem>,
    /// The last line that was answered.
    answered: u64,
    logged: u32,
    progress: Progress,
    reservation: Reservation,
    /// What the reservation is while texts are in progress, in bytes.
    reserved: usize,
}

/// A line's place in the answer.
struct Place {
    line: u64,
    /// What is wrong with the line, if it holds no text.
    problem: Option<Problem>,
}

/// What happens next in an exchange.
enum Event {
    Read(Line),
    /// The quota allows what was read.
    Settled,
    Answered(Place, Option<Result<Answer, PredictError>>),
    /// No more lines are read.
    End(Option<Problem>),
    /// Answers are there, and nothing else is.
    Send,
    /// Everything is answered.
    Done,
}

impl Route {
    pub(crate) fn new(service: Arc<Service>, memory: Memory, config: &HttpConfig) -> Self {
        let max_line = service.max_text_bytes().saturating_mul(LINE_OVER_TEXT);
        let reserved = max_line.saturating_add(IN_PROGRESS);
        Self {
            service,
            memory,
            max_line,
            // At least one exchange must be possible.
            reserved: reserved.min(config.body_memory / 2),
            patience: config.body_timeout,
        }
    }

    /// Answers a request. Resolves once the first lines of the answer are there.
    pub(crate) async fn answer(
        &self,
        head: &Parts,
        body: Body,
        session: Session,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        media_type::require_utf8_lines(&head.headers)?;
        let coding = coding::of_request(&head.headers)?;
        let options = options(&head.headers, caller.client())?;
        // There may be any number of lines.
        let reservation = session.reserve(&self.memory, 0);
        let reservation = reservation.map_err(BodyError::from)?;
        let mut body = Decompressed::new(body, coding, usize::MAX, &reservation);
        let mut exchange = Exchange {
            lines: Lines::new(self.max_line),
            bulk: self.service.bulk(options),
            session,
            options,
            patience: self.patience,
            allowance: caller.allowance(),
            out: Vec::new(),
            has_begun: false,
            reads: true,
            ended_by: None,
            answered: 0,
            logged: 0,
            progress: Progress::default(),
            reservation,
            reserved: self.reserved,
        };
        let first = exchange.next(&mut body).await?;
        Ok(stream::respond(exchange, first, body))
    }
}

impl Exchange {
    /// Sends the `first` lines and all that follow. Returns whether the answer is complete,
    /// which it is not if the client leaves or does not read.
    async fn run(
        &mut self,
        first: Option<Bytes>,
        body: &mut Decompressed<Body>,
        pieces: &mpsc::Sender<Bytes>,
    ) -> bool {
        let mut piece = first;
        while let Some(lines) = piece {
            let room = match timeout(self.patience, pieces.reserve()).await {
                Ok(room) => room,
                Err(_) => self.room_at_last(body, pieces).await,
            };
            match room {
                Ok(room) => room.send(lines),
                Err(_) => return false,
            }
            let next = tokio::select! {
                biased;
                () = pieces.closed() => return false,
                next = AssertUnwindSafe(self.next(body)).catch_unwind() => next,
            };
            // After a panic nothing is known of the lines in progress, and the exchange is
            // not polled again.
            let next = next.unwrap_or_else(|_| {
                tracing::error!("a bulk request panicked");
                Err(Problem::failed())
            });
            piece = match next {
                Ok(next) => next,
                Err(problem) => {
                    let last = stream::last(&problem, self.answered);
                    return pieces.send(last.into()).await.is_ok();
                }
            };
        }
        true
    }

    /// Waits for a client that does not read its answer. Most likely it sends all of its
    /// lines first: the rest of them is dropped, so that it comes to read, and finds out
    /// with the last line what has happened.
    async fn room_at_last<'a>(
        &mut self,
        body: &mut Decompressed<Body>,
        pieces: &'a mpsc::Sender<Bytes>,
    ) -> Result<mpsc::Permit<'a, Bytes>, SendError<()>> {
        if !self.reads {
            tracing::debug!("a client did not read its answer");
            return Err(SendError(()));
        }
        self.reads = false;
        self.bulk.abandon();
        self.ended_by = Some(Problem::new(
            Kind::AnswerNotRead,
            format!(
                "the answer was not read for {:?} while lines were sent: read it while you \
                 send, or send fewer lines in a request",
                self.patience,
            ),
        ));
        let room = async {
            tokio::select! {
                biased;
                room = pieces.reserve() => room,
                () = discard(body.get_mut(), self.patience) => pieces.reserve().await,
            }
        };
        // Sending may take the patience, and so may what comes between it and reading.
        let room = timeout(2 * self.patience, room).await;
        room.unwrap_or(Err(SendError(())))
    }

    /// The next lines of the answer, none once it is complete. An error is one of
    /// the whole request, before anything has been sent.
    async fn next(&mut self, body: &mut Decompressed<Body>) -> Result<Option<Bytes>, Problem> {
        while self.out.len() < PIECE {
            match self.event(body).await {
                Event::Read(line) => self.ask(line),
                Event::Settled => {}
                Event::Answered(place, answer) => self.write(place, answer)?,
                Event::End(problem) => {
                    self.reads = false;
                    self.ended_by = problem;
                    let kind = self.ended_by.as_ref().map(|problem| problem.kind);
                    if kind == Some(Kind::IncompleteBody) {
                        // Most likely the client has gone.
                        self.bulk.abandon();
                    }
                }
                Event::Send => break,
                Event::Done => match self.ended_by.take() {
                    Some(problem) if !self.has_begun => return Err(problem),
                    Some(problem) => {
                        self.out = stream::last(&problem, self.answered);
                        break;
                    }
                    None => return Ok(None),
                },
            }
        }
        self.has_begun = true;
        Ok(Some(std::mem::take(&mut self.out).into()))
    }

    /// What happens next. Lines that have arrived are read before the exchange waits for
    /// answers, so that chunks are large. Answers are sent before it waits for anything.
    async fn event(&mut self, body: &mut Decompressed<Body>) -> Event {
        let (reads, idle) = (self.reads, self.bulk.is_empty());
        // Then it is not the client that is silent.
        let is_owing = self.allowance.is_owing();
        let held = if idle {
            IDLE + self.lines.buffered()
        } else {
            self.reserved
        };
        let reserved = self.reservation.set(held.min(self.reserved));
        if let Err(error) = reserved
            && reads
            && !self.has_begun
        {
            self.bulk.abandon();
            return Event::End(Some(BodyError::from(error).into()));
        }
        // Without memory for more, it goes on with what is in progress.
        let room = self.bulk.has_room() && reserved.is_ok();
        // Others may have the memory of a client that sends nothing.
        let waiting = (reads && idle).then(|| self.reservation.wait());
        tokio::select! {
            biased;
            () = self.session.closing(), if reads => Event::End(Some(Problem::new(
                Kind::Draining,
                "the server is about to stop and reads no more lines",
            ))),
            () = self.allowance.settle(), if reads && is_owing => Event::Settled,
            read = self.lines.next(body), if reads && room && !is_owing => match read {
                Ok(Some(line)) => Event::Read(line),
                Ok(None) => Event::End(None),
                Err(error) => Event::End(Some(error.into())),
            },
            Some((place, answer)) = self.bulk.next() => Event::Answered(place, answer),
            () = ready(()), if !self.out.is_empty() => Event::Send,
            () = Waiting::evicted_if(waiting.as_ref()), if waiting.is_some() => Event::End(Some(BodyError::Evicted.into())),
            // While texts are in progress, it is not the client that is silent.
            () = sleep(self.patience), if reads && idle && !is_owing => Event::End(Some(Problem::new(
                Kind::BodyTimeout,
                format!("no line arrived within {:?}", self.patience),
            ))),
            else => Event::Done,
        }
    }

    /// Has the text of a line predicted.
    fn ask(&mut self, line: Line) {
        let number = line.number;
        let place = |problem| Place {
            line: number,
            problem,
        };
        match line
            .content
            .map_err(Problem::from)
            .and_then(|content| line::read(&content))
        {
            Ok((text, long_texts)) => {
                self.allowance.owe(&text);
                self.bulk.push(text, long_texts, place(None));
            }
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
                self.progress.add(answer.source != Source::Computed);
                stream::predictions(&mut self.out, &answer.scores)?;
            }
            Some(Err(error)) => {
                self.log(&error);
                let is_whole = matches!(error.kind, ErrorKind::Overloaded { .. });
                if is_whole && !self.has_begun && self.out.is_empty() {
                    self.session.refuse();
                    return Err(error.into());
                }
                stream::error(&mut self.out, &line::problem(error), line);
            }
            None => {
                let problem = problem.unwrap_or_else(Problem::failed);
                stream::error(&mut self.out, &problem, line);
            }
        }
        self.answered = line;
        Ok(())
    }

    fn log(&mut self, error: &PredictError) {
        if self.logged < MAX_LOGGED {
            self.logged += 1;
            log(error, self.options);
        }
    }
}
