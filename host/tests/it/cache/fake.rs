//! What lies below the cache in these tests, and how it is asked.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cache::{Address, Cache, Options, RedisOptions};
use predictor::{
    Answer, BoxFuture, Caching, Digest, ErrorKind, Pending, PredictError, Predictor, Priority,
    Request, Revision, Score, Scorer, Scores, Source,
};
use prometheus::Registry;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::harness::{Named, PATIENCE};

/// Scores texts in a way that a test can foresee, and remembers which.
pub(crate) struct Fake {
    /// The texts of each call.
    calls: Mutex<Vec<Vec<String>>>,
    /// Whether calls are taken on, and whether answers come.
    accepting: watch::Sender<bool>,
    answering: watch::Sender<bool>,
    refusing: AtomicBool,
    failing: AtomicBool,
    /// Answers that somebody waits for.
    waiting: Arc<AtomicUsize>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            calls: Mutex::default(),
            accepting: watch::Sender::new(true),
            answering: watch::Sender::new(true),
            refusing: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            waiting: Arc::default(),
        }
    }
}

impl Fake {
    /// The texts of each call so far.
    pub(crate) fn calls(&self) -> Vec<Vec<String>> {
        self.calls.lock().unwrap().clone()
    }

    /// How many texts it has been asked for.
    pub(crate) fn texts(&self) -> usize {
        self.calls.lock().unwrap().iter().map(Vec::len).sum()
    }

    /// Whether it takes requests on, or lets them wait.
    pub(crate) fn accept(&self, accept: bool) {
        self.accepting.send_replace(accept);
    }

    /// Whether what it has taken on is answered.
    pub(crate) fn answer(&self, answer: bool) {
        self.answering.send_replace(answer);
    }

    /// Whether it is overloaded.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.refusing.store(refuse, Ordering::SeqCst);
    }

    /// Whether every text fails.
    pub(crate) fn fail(&self, fail: bool) {
        self.failing.store(fail, Ordering::SeqCst);
    }

    /// How many answers somebody waits for.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What the fake answers.
pub(crate) fn scores(text: &str) -> Scores {
    let sum: u32 = text.bytes().map(u32::from).sum();
    let high = 0.5 + (sum % 1000) as f32 / 2000.0;
    [("HIGH", high), ("LOW", 1.0 - high)]
        .map(|(label, score)| Score {
            label: label.into(),
            score,
        })
        .into()
}

impl Predictor for Fake {
    fn predict(&self, request: Request) -> BoxFuture<Result<Vec<Pending>, PredictError>> {
        self.calls.lock().unwrap().push(request.texts.clone());
        let mut accepting = self.accepting.subscribe();
        let refusing = self.refusing.load(Ordering::SeqCst);
        let failing = self.failing.load(Ordering::SeqCst);
        let later = |text: String| -> Pending {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let waiting = Waiting(Arc::clone(&self.waiting));
            let revision = Arc::clone(request.scorer.revision());
            let mut answering = self.answering.subscribe();
            Pending::Later(Box::pin(async move {
                let _waiting = waiting;
                answering.wait_for(|answering| *answering).await.unwrap();
                if failing {
                    return Err(PredictError::new(ErrorKind::Failed, "as told"));
                }
                Ok(Answer {
                    scores: scores(&text),
                    revision,
                    source: Source::Computed,
                    work: None,
                })
            }))
        };
        let pending: Vec<Pending> = request.texts.into_iter().map(later).collect();
        Box::pin(async move {
            accepting.wait_for(|accepting| *accepting).await.unwrap();
            if refusing {
                let retry_after = Duration::from_secs(1);
                let kind = ErrorKind::Overloaded { retry_after };
                return Err(PredictError::new(kind, "as told"));
            }
            Ok(pending)
        })
    }
}

/// A version, told by a number.
pub(crate) fn revision(number: u8) -> Arc<dyn Scorer> {
    Arc::new(Named(Arc::new(Revision::new(
        Digest([number; 32]),
        Digest([0; 32]),
        Revision::NO_CONFIGURATION,
    ))))
}

/// A request of the first version.
pub(crate) fn request(texts: &[&str], caching: Caching) -> Request {
    Request {
        texts: texts.iter().map(ToString::to_string).collect(),
        scorer: revision(1),
        options: caching.into(),
        priority: Priority::Live,
    }
}

/// Waits for what has been taken on.
pub(crate) async fn resolve(pending: Vec<Pending>) -> Result<Vec<Answer>, PredictError> {
    let mut answers = Vec::new();
    for pending in pending {
        let answer = tokio::time::timeout(PATIENCE, pending).await;
        answers.push(answer.expect("an answer")?);
    }
    Ok(answers)
}

/// Asks a layer, and compares its answers with what they must be.
pub(crate) async fn ask_as(layer: &dyn Predictor, texts: &[&str], caching: Caching) -> Vec<Source> {
    let pending = layer.predict(request(texts, caching));
    let pending = tokio::time::timeout(PATIENCE, pending).await;
    let pending = pending.expect("an answer").unwrap();
    let answers = resolve(pending).await.unwrap();
    assert_eq!(answers.len(), texts.len());
    for (answer, text) in answers.iter().zip(texts) {
        assert_eq!(answer.scores, scores(text), "{text}");
        assert_eq!(answer.revision, *revision(1).revision());
    }
    answers.into_iter().map(|answer| answer.source).collect()
}

/// Asks a layer for what may be kept.
pub(crate) async fn ask(layer: &dyn Predictor, texts: &[&str]) -> Vec<Source> {
    ask_as(layer, texts, Caching::Use).await
}

/// Nothing but memory.
pub(crate) fn in_memory() -> Options {
    Options {
        memory_bytes: 1 << 20,
        memory_ttl: Duration::from_secs(3600),
        ..Options::default()
    }
}

/// The value of a counter or gauge, 0 if it has none yet; `labels` is what
/// stands between the braces.
pub(crate) fn metric(registry: &Registry, name: &str, labels: &[(&str, &str)]) -> u64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    let metrics = family
        .map(prometheus::proto::MetricFamily::get_metric)
        .unwrap_or_default();
    let matching = metrics.iter().filter(|metric| {
        labels.iter().all(|(name, value)| {
            let mut pairs = metric.get_label().iter();
            pairs.any(|pair| pair.name() == *name && pair.value() == *value)
        })
    });
    let value = |metric: &prometheus::proto::Metric| {
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is counted here is whole and small"
    )]
    matching.map(|metric| value(metric) as u64).sum()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Memory, and a Redis.
pub(crate) fn with_redis(url: &str) -> Options {
    with_certified_redis(url, None)
}

/// Memory, and a Redis that is trusted if an authority certified it.
pub(crate) fn with_certified_redis(url: &str, authority: Option<&Path>) -> Options {
    let certificates = authority.map(|path| std::fs::read(path).unwrap());
    let redis = RedisOptions {
        address: Address::parse(url, None, certificates).unwrap(),
        prefix: "test:".to_owned(),
        ttl: Duration::from_secs(600),
        // The default; what has to be in time on a busy machine is told to
        // have more.
        timeout: Duration::from_millis(50),
        secret: None,
    };
    Options {
        redis: Some(redis),
        ..in_memory()
    }
}

/// A cache over a fake.
pub(crate) struct Setup {
    pub(crate) fake: Arc<Fake>,
    pub(crate) registry: Registry,
    pub(crate) cache: Cache,
}

impl Setup {
    pub(crate) fn new(options: &Options) -> Self {
        let (fake, registry) = (Arc::<Fake>::default(), Registry::new());
        let runtime = Handle::current();
        let cache = Cache::start(options, fake.clone(), &registry, &runtime).unwrap();
        Self {
            fake,
            registry,
            cache,
        }
    }

    /// One that lets Redis take its time, for answers that have to come from
    /// there on a busy machine too.
    pub(crate) fn patient(url: &str) -> Self {
        let mut options = with_redis(url);
        options.redis.as_mut().unwrap().timeout = PATIENCE;
        Self::new(&options)
    }

    /// Such a one that uses Redis already.
    pub(crate) async fn connected(url: &str) -> Self {
        let setup = Self::patient(url);
        setup.until_open(false).await;
        setup
    }

    pub(crate) async fn ask(&self, texts: &[&str]) -> Vec<Source> {
        ask(&self.cache, texts).await
    }

    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        metric(&self.registry, name, labels)
    }

    /// How many samples a histogram has.
    pub(crate) fn samples(&self, name: &str) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        family.unwrap().get_metric()[0]
            .get_histogram()
            .get_sample_count()
    }

    /// How many texts had a result in Redis.
    pub(crate) fn in_redis(&self, result: &str) -> u64 {
        let labels = [("tier", "redis"), ("result", result)];
        self.metric("fastsentiment_cache_lookups_total", &labels)
    }

    /// How many errors of a kind there were.
    pub(crate) fn errors(&self, operation: &str, kind: &str) -> u64 {
        let labels = [("operation", operation), ("kind", kind)];
        self.metric("fastsentiment_redis_errors_total", &labels)
    }

    /// Whether the breaker of an operation is open.
    pub(crate) fn is_open(&self, operation: &str) -> bool {
        let labels = [("operation", operation)];
        self.metric("fastsentiment_redis_breaker_open", &labels) == 1
    }

    /// How often it has changed, to `open` or `closed`.
    pub(crate) fn transitions(&self, operation: &str, to: &str) -> u64 {
        let labels = [("operation", operation), ("to", to)];
        self.metric("fastsentiment_redis_breaker_transitions_total", &labels)
    }

    /// Waits until both breakers are open, or closed.
    pub(crate) async fn until_open(&self, open: bool) {
        for operation in ["read", "write"] {
            let what = format!("{operation}s are open: {open}");
            until(&what, || self.is_open(operation) == open).await;
        }
    }

    /// Waits until so many answers have been written to Redis.
    pub(crate) async fn until_written(&self, texts: u64) {
        let written = || self.metric("fastsentiment_redis_written_texts_total", &[]);
        until("answers are written", || written() >= texts).await;
    }
}
