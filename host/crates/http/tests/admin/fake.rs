//! The admin API over versions whose components are words: what is loaded, and
//! what becomes of it, is up to the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fastsentiment_http::Readiness;
use fastsentiment_http::admin::{Access, Admin, Managed, Token, Uploads};
use predictor::{
    Answer as TextAnswer, BoxFuture, Configuration, Description, Digest, ModelCard, Pending,
    PredictError, Predictor, Priority, Request, RequestOptions, Revision, Router, Source,
};
use prometheus::Registry;
use reqwest::Method;
use revisions::{
    Beginning, DesiredState, LoadError, Loaded, Loader, Model, Origin, Refusal, Revisions,
};
use rollout::Rollout;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use testing::{Answer, answer};
use testing::{Named, PATIENCE};

/// What the configured guest's file holds at the start.
pub(super) const FIRST: &str = "good first";

/// Does what the first word of a component says.
pub(super) struct Words {
    /// Counts the loads of `hold` that have begun.
    pub(super) holding: Semaphore,
    /// Ends one of them for each permit.
    pub(super) release: Semaphore,
    runtime: Handle,
}

impl Loader for Words {
    fn model(&self, dir: &Path) -> Result<Model, LoadError> {
        Ok(Model {
            digest: match std::fs::read(dir.join("weights")) {
                Ok(weights) => Digest::of(&weights),
                Err(_) => MODEL,
            },
            dir: dir.to_owned(),
            origin: Origin::File(dir.to_owned()),
        })
    }

    fn stamp(&self, _: &Path) -> Option<Digest> {
        None
    }

    fn load(
        &self,
        component: &Bytes,
        configuration: &Configuration,
        model: &Model,
        _: Priority,
    ) -> Result<Loaded, LoadError> {
        let word = component.split(|byte| *byte == b' ').next();
        match word.unwrap() {
            b"bad" => {
                let reason = "it exports nothing".to_owned();
                let step = "contract";
                return Err(Refusal { step, reason }.into());
            }
            b"starved" => {
                return Err(LoadError::Unavailable("there are no threads".to_owned()));
            }
            b"panic" => panic!("secret"),
            b"hold" => {
                self.holding.add_permits(1);
                let release = self.release.acquire();
                let release = self.runtime.block_on(release);
                release.unwrap().forget();
            }
            _ => {}
        }
        let guest = Digest::of(component);
        let revision = Revision::new(guest, model.digest, configuration.clone());
        Ok(Loaded {
            scorer: Arc::new(Named(Arc::new(revision))),
            card: Arc::new(ModelCard {
                name: "fake".to_owned(),
                description: Description::UNKNOWN,
            }),
            compiled: true,
        })
    }
}

/// Says for each text which version was asked.
struct Below;

impl Predictor for Below {
    fn predict(&self, request: Request) -> BoxFuture<Result<Vec<Pending>, PredictError>> {
        let answer = |_| {
            Pending::Ready(TextAnswer {
                scores: [].into(),
                revision: Arc::clone(request.scorer.revision()),
                source: Source::Computed,
                work: None,
            })
        };
        let answers = request.texts.into_iter().map(answer).collect();
        Box::pin(async move { Ok(answers) })
    }
}

/// What a test may want otherwise.
pub(super) struct Settings {
    pub(super) token: Option<&'static str>,
    pub(super) listen: &'static str,
    pub(super) max_bytes: usize,
    pub(super) patience: Duration,
    /// Whether there are versions from the start.
    pub(super) loaded: bool,
    /// Whether state is kept, and so models can be uploaded.
    pub(super) state: bool,
    /// What a rollout file says, if one is in charge.
    pub(super) rollout: Option<&'static str>,
}

/// A running admin API; dropped, it is cut off.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) words: Arc<Words>,
    managed: Managed,
    connections: Arc<AtomicUsize>,
    rollout: Arc<Rollout>,
    versions: Arc<Revisions>,
    client: reqwest::Client,
    dir: TempDir,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// Starts a server with other settings than the usual ones.
    pub(super) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            token: None,
            listen: "127.0.0.1:0",
            max_bytes: 1 << 20,
            patience: PATIENCE,
            loaded: true,
            state: false,
            rollout: None,
        };
        change(&mut settings);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("guest.wasm"), FIRST).unwrap();
        let words = Arc::new(Words {
            holding: Semaphore::new(0),
            release: Semaphore::new(0),
            runtime: Handle::current(),
        });
        let file = dir.path().join("rollout.toml");
        let desired = settings.rollout.map(|content| {
            std::fs::write(&file, content).unwrap();
            Arc::new(DesiredState::new(file))
        });
        let options = revisions::Options {
            guest: dir.path().join("guest.wasm"),
            model: dir.path().join("model"),
            configuration: revisions::ConfiguredValues::default(),
            state: settings.state.then(|| dir.path().join("state")),
            fallback: None,
            keep: 5,
            keep_models: 2,
            max_bytes: 1 << 20,
            max_model_bytes: 1 << 20,
            watch: false,
            rollout: desired.clone(),
        };
        let (rollout, versions) = {
            let words = Arc::clone(&words);
            let entered = Handle::current();
            // A start may wait, which must not be done on this thread.
            let starting = std::thread::spawn(move || {
                let _entered = entered.enter();
                versions_of(&words, options)
            });
            starting.join().unwrap()
        };

        let listener = TcpListener::bind(settings.listen).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let token = settings
            .token
            .map(|token| Token::parse(token.as_bytes()).unwrap());
        let admin = Admin {
            registry: Registry::new(),
            readiness: Readiness::default(),
            access: Access::new(token.as_ref(), listener.local_addr().unwrap().ip()),
            uploads: Uploads::new(settings.max_bytes, settings.patience),
            desired,
            log_requests: false,
        };
        let managed = Managed::default();
        let router = admin.router(&managed);
        let connections = Arc::new(AtomicUsize::new(0));
        let open = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let config = connection::Config::default();
            let report_open = |now| open.store(now, Ordering::SeqCst);
            let forever = std::future::pending();
            connection::serve(listener, router, config, report_open, forever).await;
        });
        let client = testing::client().timeout(PATIENCE);
        let server = Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            words,
            managed,
            connections,
            rollout,
            versions,
            client: client.build().unwrap(),
            dir,
            task,
        };
        if settings.loaded {
            server.loaded();
        }
        server
    }

    /// Ends the load.
    pub(super) fn loaded(&self) {
        self.managed.set(Arc::clone(&self.versions));
    }

    /// How many connections are open.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The configured guest's file.
    pub(super) fn file(&self) -> PathBuf {
        self.dir.path().join("guest.wasm")
    }

    pub(super) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.client.request(method, url)
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub(super) async fn post(&self, path: &str) -> Answer {
        answer(self.request(Method::POST, path)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    /// Sends a component to `/versions` with this query.
    pub(super) async fn upload(&self, query: &str, component: &str) -> Answer {
        let request = self.request(Method::POST, &format!("/versions{query}"));
        let request = request.header("content-type", "application/wasm");
        answer(request.body(component.to_owned())).await
    }

    /// Asserts that the version of a component is the one that answers, and is
    /// said to be.
    #[track_caller]
    pub(super) fn assert_live(&self, component: &str) -> impl Future<Output = ()> {
        let digest = digest(component);
        let asked = self
            .rollout
            .predict(vec!["a".to_owned()], RequestOptions::default());
        let listed = self.versions.status().live.guest().to_string();
        assert_eq!(listed, digest);
        async move {
            let answers = asked.await.unwrap();
            let Some(Pending::Ready(answer)) = answers.into_iter().next() else {
                panic!("no answer");
            };
            assert_eq!(answer.revision.guest().to_string(), digest);
        }
    }

    /// The components' digests of all versions, those added last first.
    pub(super) fn known(&self) -> Vec<String> {
        let known = self.versions.list();
        let guest = |known: &revisions::KnownRevision| known.revision.guest().to_string();
        known.iter().map(guest).collect()
    }

    /// Waits until a load of `hold` has begun that was not waited for before.
    pub(super) async fn held(&self) {
        let permit = timeout(PATIENCE, self.words.holding.acquire()).await;
        permit.unwrap().unwrap().forget();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        // No thread may be left that waits for ever.
        self.words.release.add_permits(1000);
    }
}

/// Versions that begin with [`FIRST`], and where texts are sent to them.
fn versions_of(words: &Arc<Words>, options: revisions::Options) -> (Arc<Rollout>, Arc<Revisions>) {
    let loader = Arc::clone(words) as Arc<dyn Loader>;
    let model = loader.model(&options.model).unwrap();
    let first = Beginning::choose(loader, model, options).unwrap();
    let registry = Registry::new();
    let runtime = Handle::current();
    let (rollout, demotions) = Rollout::start(
        Arc::clone(first.scorer()),
        Arc::new(Below),
        rollout::Options {
            probation: Duration::ZERO,
            failures: 0,
        },
        rollout::Metrics::new(&registry).unwrap(),
        &runtime,
    );
    let metrics = revisions::Metrics::new(&registry).unwrap();
    let versions = Revisions::start(first, Arc::clone(&rollout), demotions, metrics, &runtime);
    (rollout, versions.unwrap())
}

/// The revision of a component.
pub(super) fn revision(component: &str) -> Revision {
    let guest = Digest::of(component.as_bytes());
    Revision::new(guest, MODEL, Revision::NO_CONFIGURATION)
}

/// The digest of the configured model.
pub(super) const MODEL: Digest = Digest([0x12; 32]);

/// The digest of a component.
pub(super) fn digest(component: &str) -> String {
    Digest::of(component.as_bytes()).to_string()
}

/// Asserts that an answer is a problem of this status and name; its document.
#[track_caller]
pub(super) fn problem(answer: &Answer, status: u16, name: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:fastsentiment:problem:{name}"));
    assert_eq!(problem["status"], status);
    assert!(problem["detail"].is_string());
    assert!(!answer.body.contains("secret"), "{}", answer.body);
    problem
}
