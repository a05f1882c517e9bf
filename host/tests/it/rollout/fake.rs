//! Versions that do as they are told, and the layers between which the rollout
//! stands.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use batcher::Batcher;
use cache::Cache;
use predictor::{
    Answer, CancellationToken, Digest, ErrorKind, Pending, PredictError, Predictor, RequestOptions,
    Revision, Router, Score, Scorer, Scores,
};
use prometheus::Registry;
use rollout::{Demotion, Metrics, Options, Rollout};
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::cache::fake::in_memory;
use crate::harness::PATIENCE;

/// What a version does with a call, unless one of the texts says otherwise: all
/// fail on `poison`, and version 2 on what begins with `poison 2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Scores each text in its own way.
    Good,
    /// Fails with an error of this kind.
    Fail,
    TimeOut,
    Panic,
    /// Gives one answer too few.
    Forget,
    /// Goes on until nobody wants the answer any more.
    Hang,
    /// Waits until it is told to do something else.
    Hold,
}

/// A version, told by a number.
pub(super) struct Fake {
    revision: Arc<Revision>,
    mode: Mutex<Mode>,
    changed: Condvar,
    /// Calls that have begun, and those that were ended from outside.
    pub(super) calls: AtomicUsize,
    pub(super) abandoned: AtomicUsize,
}

pub(super) fn revision(number: u8) -> Revision {
    Revision::new(
        Digest([number; 32]),
        Digest([0; 32]),
        Revision::NO_CONFIGURATION,
    )
}

impl Fake {
    pub(super) fn new(number: u8, mode: Mode) -> Arc<Self> {
        Arc::new(Self {
            revision: Arc::new(revision(number)),
            mode: Mutex::new(mode),
            changed: Condvar::new(),
            calls: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
        })
    }

    /// What is to be done with texts from now on.
    pub(super) fn turn(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
        self.changed.notify_all();
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(super) fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::SeqCst)
    }

    fn wait(&self, cancellation: &CancellationToken) -> Result<Mode, PredictError> {
        let mut mode = self.mode.lock().unwrap();
        while matches!(*mode, Mode::Hang | Mode::Hold) {
            if *mode == Mode::Hang && cancellation.is_cancelled() {
                self.abandoned.fetch_add(1, Ordering::SeqCst);
                return Err(PredictError::new(ErrorKind::Failed, "abandoned"));
            }
            let tick = Duration::from_millis(2);
            mode = self.changed.wait_timeout(mode, tick).unwrap().0;
        }
        Ok(*mode)
    }
}

/// What a version answers: the number of the version, and the text's length.
pub(super) fn scores(number: u8, text: &str) -> Scores {
    let high = 0.5 + f32::from(number) / 100.0 + text.len() as f32 / 10_000.0;
    [("HIGH", high), ("LOW", 1.0 - high)]
        .map(|(label, score)| Score {
            label: label.into(),
            score,
        })
        .into()
}

impl Scorer for Fake {
    fn revision(&self) -> &Arc<Revision> {
        &self.revision
    }

    fn score(
        &self,
        texts: &[String],
        cancellation: &CancellationToken,
    ) -> Result<Vec<Scores>, PredictError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let fail = |kind| {
            let error = PredictError::new(kind, "a sentence for the client");
            Err(error.with_detail("as it was told"))
        };
        let number = self.revision.guest().0[0];
        let own_poison = format!("poison {number}");
        for (index, text) in texts.iter().enumerate() {
            match text.as_str() {
                "poison" => return fail(ErrorKind::Failed),
                "invalid" => return fail(ErrorKind::InvalidText { index }),
                text if text.starts_with(&own_poison) => return fail(ErrorKind::Failed),
                _ => {}
            }
        }
        let mode = self.wait(cancellation)?;
        let answers = texts.iter().map(|text| scores(number, text));
        match mode {
            Mode::Fail => fail(ErrorKind::Failed),
            Mode::TimeOut => fail(ErrorKind::TimedOut),
            Mode::Panic => panic!("as it was told"),
            Mode::Forget => Ok(answers.skip(1).collect()),
            Mode::Good | Mode::Hang | Mode::Hold => Ok(answers.collect()),
        }
    }

    fn score_whole(
        &self,
        texts: &[String],
        cancellation: &CancellationToken,
    ) -> Result<Vec<Scores>, PredictError> {
        match texts.iter().position(|text| text.starts_with("long")) {
            Some(index) => Err(PredictError::new(ErrorKind::InvalidText { index }, "long")),
            None => self.score(texts, cancellation),
        }
    }
}

/// A rollout over a cache over a batcher.
pub(super) struct Setup {
    pub(super) rollout: Arc<Rollout>,
    pub(super) demotions: UnboundedReceiver<Demotion>,
    pub(super) registry: Registry,
}

/// So many failures that no version falls.
pub(super) const FORGIVING: Options = Options {
    probation: PATIENCE,
    failures: u32::MAX,
};

/// A version falls at its fourth failure.
pub(super) const STRICT: Options = Options {
    probation: PATIENCE,
    failures: 3,
};

impl Setup {
    /// Begins with `first`, and with two workers.
    pub(super) fn new(first: &Arc<impl Scorer>, options: Options) -> Self {
        Self::with_workers(first, options, 2)
    }

    pub(super) fn with_workers(first: &Arc<impl Scorer>, options: Options, workers: usize) -> Self {
        let registry = Registry::new();
        let batching = batcher::Options {
            workers,
            batch_texts: 8,
            batch_tokens: 256,
            queue_tokens: 1_000_000,
            tokens_per_second: 1e6,
            patience: batcher::PATIENCE,
        };
        let metrics = batcher::Metrics::new(&registry).unwrap();
        let batcher = Arc::new(Batcher::start(batching, metrics).unwrap());
        let runtime = Handle::current();
        let cache = Cache::start(&in_memory(), batcher, &registry, &runtime).unwrap();
        Self::over(first, options, Arc::new(cache), registry)
    }

    /// Over another layer.
    pub(super) fn over(
        first: &Arc<impl Scorer>,
        options: Options,
        below: Arc<dyn Predictor>,
        registry: Registry,
    ) -> Self {
        let first: Arc<dyn Scorer> = Arc::clone(first) as _;
        let metrics = Metrics::new(&registry).unwrap();
        let (rollout, demotions) =
            Rollout::start(first, below, options, metrics, &Handle::current());
        Self {
            rollout,
            demotions,
            registry,
        }
    }

    /// Hands texts in.
    pub(super) async fn begin(&self, texts: &[&str]) -> Vec<Pending> {
        begin(&self.rollout, texts).await
    }

    /// The answers to texts, which must all be there, each of the version that it
    /// names: their numbers.
    pub(super) async fn ask(&self, texts: &[&str]) -> Vec<u8> {
        let pending = self.begin(texts).await;
        versions(texts, resolve(pending).await)
    }

    /// The version that is live now.
    pub(super) fn live(&self) -> u8 {
        self.rollout.live().guest().0[0]
    }

    /// The next version that falls, if one does in time.
    pub(super) async fn fall(&mut self) -> Demotion {
        let fall = tokio::time::timeout(PATIENCE, self.demotions.recv()).await;
        fall.expect("nothing has fallen").unwrap()
    }

    /// Whether nothing has fallen.
    pub(super) fn stands(&mut self) -> bool {
        self.demotions.try_recv().is_err()
    }
}

/// Hands texts in.
pub(super) async fn begin(rollout: &Rollout, texts: &[&str]) -> Vec<Pending> {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let asked = rollout.predict(texts, RequestOptions::default());
    let asked = tokio::time::timeout(PATIENCE, asked).await;
    asked.expect("an answer").expect("it is taken on")
}

/// What becomes of each text.
pub(super) async fn resolve(pending: Vec<Pending>) -> Vec<Result<Answer, PredictError>> {
    let mut answers = Vec::new();
    for pending in pending {
        let answer = tokio::time::timeout(PATIENCE, pending).await;
        answers.push(answer.expect("an answer"));
    }
    answers
}

/// The versions that answered, each of which must have given its own answer.
pub(super) fn versions(texts: &[&str], answers: Vec<Result<Answer, PredictError>>) -> Vec<u8> {
    assert_eq!(texts.len(), answers.len());
    let check = |(text, answer): (&&str, Result<Answer, PredictError>)| {
        let answer = answer.unwrap();
        let number = answer.revision.guest().0[0];
        assert_eq!(answer.scores, scores(number, text), "{text} by {number}");
        number
    };
    texts.iter().zip(answers).map(check).collect()
}

/// Texts of different lengths, none like another.
pub(super) fn numbered(count: usize) -> Vec<String> {
    let text = |number| format!("text {number} {}", "word ".repeat(number % 7));
    (0..count).map(text).collect()
}

/// As they are handed in.
pub(super) fn refs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}
