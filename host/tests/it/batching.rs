//! The batcher over scorers that can be held and watched: what goes together,
//! in which order, and what becomes of those that fail or leave. Beneath it all
//! real guests, in `batching/guests.rs`.

mod aside;
mod background;
mod bulk;
mod failures;
mod guests;
mod order;
mod overload;

use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use batcher::{Batcher, Metrics, Options};
use predictor::{
    Answer, CancellationToken, Client, Digest, ErrorKind, Pending, PredictError, Predictor,
    Priority, Request, RequestOptions, Revision, Score, Scorer, Scores,
};
use prometheus::Registry;
use prometheus::proto::MetricType;

use crate::harness::PATIENCE;

/// Scores a text by its length, and does as some texts say.
#[derive(Clone)]
struct Fake(Arc<Inner>);

struct Inner {
    revision: Arc<Revision>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The batches that have begun, in their order.
    batches: Vec<Vec<String>>,
    /// How many batches may end; each takes one, unless they are free to.
    permits: usize,
    free: bool,
    /// How many batches were ended because nobody wanted them.
    abandoned: usize,
}

impl Fake {
    /// Ends batches as soon as they begin.
    fn free() -> Self {
        let fake = Self::held();
        fake.release_all();
        fake
    }

    /// Ends one batch for each [`Fake::release`].
    fn held() -> Self {
        Self::of(1)
    }

    /// Another version.
    fn of(revision: u8) -> Self {
        Self(Arc::new(Inner {
            revision: Arc::new(Revision::new(
                Digest([revision; 32]),
                Digest([2; 32]),
                Revision::NO_CONFIGURATION,
            )),
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    fn release(&self) {
        self.0.state.lock().unwrap().permits += 1;
        self.0.changed.notify_all();
    }

    fn release_all(&self) {
        self.0.state.lock().unwrap().free = true;
        self.0.changed.notify_all();
    }

    /// The batches that have begun, once there are so many.
    fn batches(&self, count: usize) -> Vec<Vec<String>> {
        self.until(|state| state.batches.len() >= count);
        self.0.state.lock().unwrap().batches.clone()
    }

    fn until(&self, reached: impl Fn(&State) -> bool) {
        let state = self.0.state.lock().unwrap();
        let waiting = |state: &mut State| !reached(state);
        let waited = self.0.changed.wait_timeout_while(state, PATIENCE, waiting);
        assert!(!waited.unwrap().1.timed_out(), "it did not come to that");
    }
}

impl Scorer for Fake {
    fn revision(&self) -> &Arc<Revision> {
        &self.0.revision
    }

    fn score(
        &self,
        texts: &[String],
        cancellation: &CancellationToken,
    ) -> Result<Vec<Scores>, PredictError> {
        let mut state = self.0.state.lock().unwrap();
        state.batches.push(texts.to_vec());
        self.0.changed.notify_all();
        if texts == ["refused late"] {
            drop(state);
            while !cancellation.is_cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let kind = ErrorKind::InvalidText { index: 0 };
            return Err(PredictError::new(kind, "as it was told"));
        }
        while !state.free && state.permits == 0 {
            let tick = Duration::from_millis(5);
            state = self.0.changed.wait_timeout(state, tick).unwrap().0;
            if cancellation.is_cancelled() {
                state.abandoned += 1;
                self.0.changed.notify_all();
                return Err(PredictError::new(ErrorKind::Failed, "abandoned"));
            }
        }
        state.permits = state.permits.saturating_sub(1);
        drop(state);
        let error = |kind| Err(PredictError::new(kind, "as it was told"));
        for (index, text) in texts.iter().enumerate() {
            match text.as_str() {
                "invalid" => return error(ErrorKind::InvalidText { index }),
                "fail" => return error(ErrorKind::Failed),
                "panic" => panic!("as it was told"),
                "forget" => return Ok(Vec::new()),
                _ => {}
            }
        }
        Ok(texts.iter().map(|text| length(text)).collect())
    }
}

fn length(text: &str) -> Scores {
    [Score {
        label: "LENGTH".into(),
        score: text.len() as f32,
    }]
    .into()
}

/// A batcher, and its metrics.
struct Subject {
    batcher: Batcher,
    registry: Registry,
}

/// One worker, with batches of up to 8 texts.
const OPTIONS: Options = Options {
    workers: 1,
    batch_texts: 8,
    batch_tokens: 256,
    queue_tokens: 100_000,
    tokens_per_second: 1000.0,
    patience: PATIENCE,
};

impl Subject {
    fn start(options: Options) -> Self {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let batcher = Batcher::start(options, metrics).unwrap();
        Self { batcher, registry }
    }

    /// Hands a request in.
    async fn ask(&self, fake: &Fake, texts: &[&str]) -> Result<Vec<Pending>, PredictError> {
        self.ask_scorer(Arc::new(fake.clone()), texts).await
    }

    async fn ask_scorer(
        &self,
        scorer: Arc<dyn Scorer>,
        texts: &[&str],
    ) -> Result<Vec<Pending>, PredictError> {
        self.ask_as(Priority::Live, Client::default(), scorer, texts)
            .await
    }

    /// Hands in a request of one of several clients.
    async fn ask_by(
        &self,
        client: u8,
        fake: &Fake,
        texts: &[&str],
    ) -> Result<Vec<Pending>, PredictError> {
        let client = IpAddr::from([10, 0, 0, client]).into();
        self.ask_as(Priority::Live, client, Arc::new(fake.clone()), texts)
            .await
    }

    /// Hands in what nobody waits for.
    async fn ask_background(
        &self,
        fake: &Fake,
        texts: &[&str],
    ) -> Result<Vec<Pending>, PredictError> {
        let scorer = Arc::new(fake.clone());
        self.ask_as(Priority::Background, Client::default(), scorer, texts)
            .await
    }

    async fn ask_as(
        &self,
        priority: Priority,
        client: Client,
        scorer: Arc<dyn Scorer>,
        texts: &[&str],
    ) -> Result<Vec<Pending>, PredictError> {
        let request = Request {
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            scorer,
            options: RequestOptions {
                client,
                ..RequestOptions::default()
            },
            priority,
        };
        self.batcher.predict(request).await
    }

    /// The value of a gauge or a counter.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "they count things"
    )]
    fn metric(&self, name: &str) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let family = family.unwrap();
        let metric = &family.get_metric()[0];
        let value = match family.get_field_type() {
            MetricType::GAUGE => metric.get_gauge().get_value(),
            MetricType::COUNTER => metric.get_counter().get_value(),
            other => panic!("{name} is a {other:?}"),
        };
        value as u64
    }
}

async fn answer(pending: Pending) -> Result<Answer, PredictError> {
    tokio::time::timeout(PATIENCE, pending).await.unwrap()
}

/// The answers of a request, in order.
async fn answers(pending: Vec<Pending>) -> Vec<Result<Answer, PredictError>> {
    let mut answers = Vec::new();
    for pending in pending {
        answers.push(answer(pending).await);
    }
    answers
}
