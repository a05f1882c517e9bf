//! The HTTP edge over real sockets: a server on a free port above a fake
//! predictor, with `reqwest` for well-behaved clients and a bare socket for
//! the others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]
#![allow(
    clippy::cast_precision_loss,
    reason = "what tests count and measure is small"
)]

mod answers;
mod bulk;
mod connections;
mod cors;
mod half_closed;
mod headers;
mod health;
mod hosts;
mod identity;
mod infer;
mod inputs;
mod keys;
mod memory;
mod metrics;
mod packed;
mod raw;
mod refusals;
mod settings;
mod shutdown;
mod unread;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use connection::serve;
use fastsentiment_http::public::Public;
use fastsentiment_http::{Metrics, Readiness, Served};
use predictor::{
    Activation, Answer as TextAnswer, BoxFuture, Caching, Description, Digest, ErrorKind, Limit,
    ModelCard, Pending, PredictError, Predictor, Request, Revision, Score, Side, Source, Work,
};
use prometheus::Registry;
use rollout::Rollout;
use serde_json::Value;
use service::{Limits, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use raw::{Answer, Raw};
use settings::Settings;
use testing::{Named, metric};

/// Longer than anything here takes: a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// For the timeouts that a test waits for: time enough, even on a busy machine,
/// for what must happen within it.
const SHORT: Duration = Duration::from_millis(500);

/// Scores a text by its length, unless the text is one of its orders.
struct Fake {
    /// Counts the `hold`s that have begun.
    holding: Semaphore,
    /// Ends one `hold` for each permit.
    release: Semaphore,
    /// Counts the requests that were dropped or answered.
    ended: AtomicUsize,
    /// Passed by `meet`s when so many are there at once.
    meeting: Barrier,
    /// How each request wanted kept answers to be used.
    caching: Mutex<Vec<Caching>>,
}

const MEETING: usize = 16;

impl Fake {
    async fn score(&self, text: &str) -> Result<f32, PredictError> {
        let fail = |kind| {
            let message = "a sentence for the client";
            Err(PredictError::new(kind, message).with_detail("secret"))
        };
        match text {
            "hold" => {
                self.holding.add_permits(1);
                self.release.acquire().await.unwrap().forget();
            }
            "meet" => {
                self.meeting.wait().await;
            }
            "panic" => panic!("secret"),
            "unavailable" => return fail(ErrorKind::Unavailable),
            "failed" => return fail(ErrorKind::Failed),
            "invalid" => return fail(ErrorKind::InvalidText { index: 0 }),
            _ => {}
        }
        Ok(text.parse().unwrap_or(text.len() as f32))
    }

    /// Waits until a `hold` has begun that was not waited for before.
    async fn held(&self) {
        let permit = timeout(PATIENCE, self.holding.acquire()).await;
        permit.unwrap().unwrap().forget();
    }
}

/// Counts a request when its last answer is dropped.
struct Ends(Arc<Fake>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// The fake as a layer.
struct Below(Arc<Fake>);

impl Predictor for Below {
    fn predict(&self, request: Request) -> BoxFuture<Result<Vec<Pending>, PredictError>> {
        self.0.caching.lock().unwrap().push(request.options.caching);
        let ends = Arc::new(Ends(Arc::clone(&self.0)));
        if request.texts.iter().any(|text| text == "overloaded") {
            let retry_after = Duration::from_millis(2500);
            let kind = ErrorKind::Overloaded { retry_after };
            return Box::pin(async { Err(PredictError::new(kind, "try again later")) });
        }
        let answer = |text: String| {
            let revision = Arc::clone(request.scorer.revision());
            let source = match text.as_str() {
                "kept" => Source::Memory,
                "shared" => Source::Shared,
                _ => Source::Computed,
            };
            let work = |queued, scored| Work {
                queued: Duration::from_millis(queued),
                scored: Duration::from_micros(scored),
            };
            let work = match text.as_str() {
                "worked" => Some(work(1000, 40_500)),
                "2" => Some(work(3000, 7)),
                _ => None,
            };
            let answer = move |score| TextAnswer {
                scores: [Score {
                    label: "LENGTH".into(),
                    score,
                }]
                .into(),
                revision,
                source,
                work,
            };
            // As a cache does, what is there is given at once.
            if text == "kept" {
                return Pending::Ready(answer(4.0));
            }
            let ends = Arc::clone(&ends);
            Pending::Later(Box::pin(
                async move { ends.0.score(&text).await.map(answer) },
            ))
        };
        let answers = request.texts.iter().cloned().map(answer).collect();
        Box::pin(async move { Ok(answers) })
    }
}

/// What answers behind these servers.
fn revision() -> Revision {
    let (guest, model) = (Digest([0xab; 32]), Digest([0x12; 32]));
    Revision::new(guest, model, Revision::NO_CONFIGURATION)
}

/// A running server; dropped, it is cut off.
struct Server {
    address: SocketAddr,
    fake: Arc<Fake>,
    readiness: Readiness,
    registry: Registry,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::with(|_, _| {}).await
    }

    /// Starts a server with other settings than the usual ones.
    async fn with(settings: impl FnOnce(&mut Settings, &mut Limits)) -> Self {
        let (mut config, mut limits) = (Settings::default(), Limits::default());
        settings(&mut config, &mut limits);
        let fake = Arc::new(Fake {
            holding: Semaphore::new(0),
            release: Semaphore::new(0),
            ended: AtomicUsize::new(0),
            meeting: Barrier::new(MEETING),
            caching: Mutex::default(),
        });
        let (readiness, registry) = (Readiness::default(), Registry::new());
        let (rollout, _) = Rollout::start(
            Arc::new(Named(Arc::new(revision()))),
            Arc::new(Below(fake.clone())),
            rollout::Options {
                probation: Duration::ZERO,
                failures: 0,
            },
            rollout::Metrics::new(&registry).unwrap(),
            &tokio::runtime::Handle::current(),
        );
        let service = Service::new(rollout, limits, service::Metrics::new(&registry).unwrap());
        let metrics = Arc::new(Metrics::new(&registry).unwrap());
        let public = Public {
            service: Arc::new(service),
            served: served(),
            readiness: readiness.clone(),
            metrics: Arc::clone(&metrics),
            published: None,
            api_keys: config.api_keys,
            config: config.http,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            // Dropped with the server: no shutdown, the task is aborted.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let router = public.router();
        let connections = config.connections;
        let task = tokio::spawn(async move {
            let report_open = |open| metrics.set_connections(open);
            serve(listener, router, connections, report_open, shutdown).await;
        });
        Self {
            address,
            fake,
            readiness,
            registry,
            stop: Some(stop),
            task,
        }
    }

    /// Waits until so many predictions were answered or given up.
    async fn ended(&self, predictions: usize) {
        let ended = async {
            while self.fake.ended.load(Ordering::SeqCst) < predictions {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, ended).await.unwrap();
    }

    /// Waits until new connections are refused.
    async fn refusing(&self) {
        let refused = async {
            while TcpStream::connect(self.address).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, refused).await.unwrap();
    }

    /// The value of a metric, named with its labels as in the text format.
    fn metric(&self, name: &str) -> f64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather());
        metric(&text.unwrap(), name).unwrap_or(0.0)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn raw(&self) -> Raw {
        Raw(TcpStream::connect(self.address).await.unwrap())
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until the server has returned.
    async fn stopped(&mut self) {
        timeout(PATIENCE, &mut self.task).await.unwrap().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a server says of the fake.
fn served() -> Served {
    let model = Arc::new(ModelCard {
        name: "fake".to_owned(),
        description: Description {
            labels: vec!["LENGTH".to_owned(), "DEPTH".to_owned()],
            activation: Some(Activation::Softmax),
            limit: Some(Limit {
                tokens: 512,
                cut: Side::Right,
            }),
            ..Description::UNKNOWN
        },
    });
    Served {
        live: Arc::new(move || (Arc::clone(&model), 256)),
        batch_texts: 32,
        workers: 3,
    }
}

fn http1() -> reqwest::Client {
    let client = testing::client().http1_only();
    client.timeout(PATIENCE).build().unwrap()
}

fn http2() -> reqwest::Client {
    let client = testing::client();
    let client = client.http2_prior_knowledge().timeout(PATIENCE);
    client.build().unwrap()
}

fn texts(texts: &[&str]) -> Value {
    serde_json::json!({ "text": texts })
}
