//! Versions whose components are words: what a component says is what happens
//! when it is loaded.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use predictor::{
    BoxFuture, Configuration, Digest, Pending, PredictError, Predictor, Request, Revision,
};
use prometheus::{Registry, TextEncoder};
use revisions::{
    Added, Beginning, Change, ConfiguredValues, DesiredState, Guest, Loader, Metrics, Model,
    Options, Origin, RevisionError, Revisions, StartError,
};
use rollout::{Demotion, Rollout, Trust};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::fake_loader::{FakeLoader, WEIGHTS};
use crate::harness::{Named, PATIENCE};
use testing::metric;

/// What a component is known by.
pub(super) fn digest(component: &str) -> Digest {
    Digest::of(component.as_bytes())
}

pub(super) fn revision(component: &str) -> Arc<Revision> {
    revision_with(component, FIRST_MODEL)
}

/// The revision of a component and a model.
pub(super) fn revision_with(component: &str, model: &str) -> Arc<Revision> {
    let (guest, model) = (digest(component), digest(model));
    Arc::new(Revision::new(guest, model, Revision::NO_CONFIGURATION))
}

/// What the configured model is at first.
pub(super) const FIRST_MODEL: &str = "first model";

struct Nothing;

impl Predictor for Nothing {
    fn predict(&self, _: Request) -> BoxFuture<Result<Vec<Pending>, PredictError>> {
        unreachable!("nothing is asked here")
    }
}

/// A configured guest, and where state is kept.
pub(super) struct Place {
    pub(super) dir: Arc<TempDir>,
    pub(super) keep: usize,
    pub(super) watch: bool,
    /// The rollout file that is in charge, if one is.
    pub(super) rollout: Option<Arc<DesiredState>>,
    /// The configuration of the configured guest.
    pub(super) configuration: ConfiguredValues,
    /// Whether there is a fallback guest, whose component is `fallback`.
    pub(super) has_fallback: bool,
    pub(super) probation: Duration,
    /// Whether the loader holds `slow` components from the start.
    pub(super) held: bool,
}

impl Place {
    pub(super) fn with(component: &str) -> Self {
        let place = Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            keep: 5,
            watch: false,
            rollout: None,
            configuration: ConfiguredValues::default(),
            has_fallback: false,
            probation: Duration::ZERO,
            held: false,
        };
        place.configure(component);
        std::fs::create_dir(place.model()).unwrap();
        place.configure_model(FIRST_MODEL);
        std::fs::write(place.fallback(), "fallback").unwrap();
        place
    }

    pub(super) fn fallback(&self) -> PathBuf {
        self.dir.path().join("fallback.wasm")
    }

    pub(super) fn guest(&self) -> PathBuf {
        self.dir.path().join("guest.wasm")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Replaces the configured guest.
    pub(super) fn configure(&self, component: &str) {
        let beside = self.dir.path().join("new");
        std::fs::write(&beside, component).unwrap();
        std::fs::rename(&beside, self.guest()).unwrap();
    }

    /// A file beside the configured guest.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes such a file, at once.
    pub(super) fn write(&self, name: &str, content: &str) {
        let beside = self.file("new");
        std::fs::write(&beside, content).unwrap();
        std::fs::rename(&beside, self.file(name)).unwrap();
    }

    /// Declares a guest live, which is written to a file of its name; and the rest.
    pub(super) fn declare(&self, generation: u64, live: &str, rest: &str) {
        self.write(&format!("{live}.wasm"), live);
        self.write("c.wasm", "c");
        let content = format!("generation = {generation}\n[live]\nguest = \"{live}.wasm\"\n{rest}");
        self.write("rollout.toml", &content);
    }

    /// The configured model.
    pub(super) fn model(&self) -> PathBuf {
        self.dir.path().join("model")
    }

    /// Changes the configured model.
    pub(super) fn configure_model(&self, weights: &str) {
        let beside = self.dir.path().join("new weights");
        std::fs::write(&beside, weights).unwrap();
        std::fs::rename(&beside, self.model().join(WEIGHTS)).unwrap();
    }

    pub(super) fn options(&self) -> Options {
        Options {
            guest: self.guest(),
            model: self.model(),
            configuration: self.configuration.clone(),
            fallback: self.has_fallback.then(|| self.fallback()),
            keep: self.keep,
            keep_models: 2,
            max_bytes: 64,
            max_model_bytes: 64,
            state: Some(self.state()),
            watch: self.watch,
            rollout: self.rollout.clone(),
        }
    }

    pub(super) fn start(&self) -> World {
        self.try_start(self.options()).unwrap()
    }

    pub(super) fn try_start(&self, options: Options) -> Result<World, StartError> {
        let loader = Arc::new(FakeLoader::default());
        loader.hold(self.held);
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let model = loader.model(&options.model).unwrap();
        let handle = Handle::current();
        let log = tracing::dispatcher::get_default(Clone::clone);
        // It waits for what a rollout file names, which must not be done on this thread.
        let choosing = std::thread::scope(|scope| {
            let choose = scope.spawn(|| {
                let _entered = handle.enter();
                let _logged = tracing::dispatcher::set_default(&log);
                Beginning::choose(loader.clone(), model, options)
            });
            choose.join().unwrap()
        });
        let first = choosing?;
        let trust = rollout::Options {
            probation: self.probation,
            failures: 0,
        };
        let (scorer, below) = (first.scorer().clone(), Arc::new(Nothing));
        let counted = rollout::Metrics::new(&registry).unwrap();
        let (rollout, _) = Rollout::start(scorer, below, trust, counted, &handle);
        // Demotions come from the tests.
        let (demotions, received) = unbounded_channel();
        let versions = Revisions::start(first, rollout.clone(), received, metrics, &handle);
        let versions = versions.unwrap();
        Ok(World {
            versions,
            rollout,
            loader,
            demotions,
            registry,
            _dir: Arc::clone(&self.dir),
        })
    }

    /// What is written of the state.
    pub(super) fn record(&self) -> Value {
        let json = std::fs::read(self.state().join("state.json")).unwrap();
        serde_json::from_slice(&json).unwrap()
    }

    /// Waits until what `is_so` is written. The first record is written after the
    /// start, so that at first there may be none.
    pub(super) async fn wait_until_written(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        let path = self.state().join("state.json");
        wait_until(what, || path.exists() && is_so(&self.record())).await;
    }

    /// What a server would find here if this one ended now, without a word.
    pub(super) fn as_it_is_now(&self) -> Self {
        let place = Self::with("nothing");
        std::fs::copy(self.guest(), place.guest()).unwrap();
        place.configure_model(&std::fs::read_to_string(self.model().join(WEIGHTS)).unwrap());
        std::fs::create_dir(place.state()).unwrap();
        std::fs::set_permissions(place.state(), Permissions::from_mode(0o700)).unwrap();
        copy_files(&self.state(), &place.state());
        place
    }

    /// Waits until the last server of this place has written and let go of all.
    pub(super) async fn wait_until_free(&self) {
        wait_until("the state is let go of", || {
            let lock = std::fs::File::open(self.state().join("lock")).unwrap();
            lock.try_lock().is_ok()
        })
        .await;
    }
}

/// Copies a directory, and those in it.
fn copy_files(from: &Path, to: &Path) {
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_files(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// The guests that a record says were live.
pub(super) fn history(record: &Value) -> Vec<String> {
    let history = record["history"].as_array().unwrap().iter();
    let guest = |name: &Value| name["guest"].as_str().unwrap().to_owned();
    history.map(guest).collect()
}

/// Versions in use.
pub(super) struct World {
    pub(super) versions: Arc<Revisions>,
    pub(super) rollout: Arc<Rollout>,
    pub(super) loader: Arc<FakeLoader>,
    demotions: UnboundedSender<Demotion>,
    registry: Registry,
    _dir: Arc<TempDir>,
}

impl World {
    pub(super) fn live(&self) -> Digest {
        self.versions.status().live.guest()
    }

    pub(super) async fn add(&self, component: &str) -> Result<Added, RevisionError> {
        let model = self.versions.model(None)?;
        self.versions.add(guest(component), model).await
    }

    /// Uploads a model.
    pub(super) async fn receive(&self, weights: &str) -> Result<Arc<Model>, RevisionError> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(weights.len() as u64);
        archive
            .append_data(&mut header, WEIGHTS, weights.as_bytes())
            .unwrap();
        let archive = std::io::Cursor::new(archive.into_inner().unwrap());
        let received = self.versions.receive_model(archive).await;
        received.map(|(model, _)| model)
    }

    pub(super) fn activate(&self, component: &str) -> Result<Change, RevisionError> {
        self.versions.activate(&revision(component), false)
    }

    /// Adds a component, and makes it live.
    pub(super) async fn swap(&self, component: &str) {
        let added = self.add(component).await.unwrap();
        self.versions.activate(&added.revision, false).unwrap();
        assert_eq!(self.live(), digest(component));
    }

    pub(super) fn knows(&self, component: &str) -> bool {
        let guest = digest(component);
        let known = self.versions.list();
        known.iter().any(|known| known.revision.guest() == guest)
    }

    /// The rollout takes a live version out of use, for another one.
    pub(super) async fn fall(&self, component: &str, live: &str) {
        let scorer = Arc::new(Named(revision(live)));
        self.rollout.activate(scorer, Trust::Trusted);
        self.tell(component, live).await;
    }

    /// It is told that a version was taken out of use.
    pub(super) async fn tell(&self, component: &str, live: &str) {
        let reason = format!("`{component}` has failed");
        self.tell_of(revision(component), revision(live), reason)
            .await;
    }

    pub(super) async fn tell_of(&self, failed: Arc<Revision>, live: Arc<Revision>, reason: String) {
        let fall = Demotion {
            revision: Arc::clone(&failed),
            live,
            reason,
        };
        self.demotions.send(fall).unwrap();
        wait_until("it is quarantined", || {
            let quarantined = self.versions.quarantined();
            quarantined.iter().any(|entry| entry.revision == failed)
        })
        .await;
    }

    pub(super) fn metric(&self, name: &str) -> f64 {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather());
        metric(&text.unwrap(), name).unwrap_or(0.0)
    }
}

/// A guest that was uploaded.
pub(super) fn guest(component: &str) -> Guest {
    Guest {
        component: component.to_owned().into(),
        origin: Origin::Upload,
        configuration: Configuration::NONE,
        name: None,
    }
}

/// What is logged by this thread meanwhile.
pub(super) fn logged<T>(act: impl FnOnce() -> T) -> (T, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let writer = file.reopen().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(Mutex::new(writer))
        .finish();
    let done = tracing::subscriber::with_default(subscriber, act);
    (done, std::fs::read_to_string(file.path()).unwrap())
}

pub(super) async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The names of the files of a directory.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
