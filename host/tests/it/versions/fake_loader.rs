//! A loader for components and models that are words.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};

use bytes::Bytes;
use predictor::{Configuration, Description, Digest, ModelCard, Priority, Revision, Scorer};
use revisions::{LoadError, Loaded, Loader, Model, Origin, Refusal};

use super::fake::digest;
use crate::harness::{Named, PATIENCE};

/// The file of a model; a model is known by what it says.
pub(super) const WEIGHTS: &str = "weights";

/// `bad` components are refused, `panic` ones panic, `slow` ones take until they are let
/// go, and `starved` ones cannot be tried until the loader is fed.
#[derive(Default)]
pub(super) struct FakeLoader {
    pub(super) loads: AtomicUsize,
    held: Mutex<bool>,
    let_go: Condvar,
    fed: AtomicBool,
    /// What was loaded, with its model.
    loaded: Mutex<Vec<(Digest, Weak<dyn Scorer>)>>,
}

impl FakeLoader {
    /// The models that are loaded.
    pub(super) fn models(&self) -> Vec<Digest> {
        let loaded = self.loaded.lock().unwrap();
        let live = loaded
            .iter()
            .filter(|(_, scorer)| scorer.strong_count() > 0);
        let mut models: Vec<_> = live.map(|(model, _)| *model).collect();
        models.sort();
        models.dedup();
        models
    }

    /// There is room for two models, unless one is `large`.
    fn is_full(&self) -> bool {
        self.models().len() > 1
    }

    pub(super) fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    /// Lets `starved` components be loaded.
    pub(super) fn feed(&self) {
        self.fed.store(true, Ordering::SeqCst);
    }

    pub(super) fn hold(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.let_go.notify_all();
    }
}

impl Loader for FakeLoader {
    fn model(&self, dir: &Path) -> Result<Model, LoadError> {
        let weights = std::fs::read_to_string(dir.join(WEIGHTS));
        let weights = weights.map_err(|error| LoadError::Unavailable(error.to_string()))?;
        if weights.starts_with("bad") {
            let reason = format!("it says `{weights}`");
            let step = "model";
            return Err(Refusal { step, reason }.into());
        }
        Ok(Model {
            digest: digest(&weights),
            dir: dir.to_owned(),
            origin: Origin::File(dir.to_owned()),
        })
    }

    fn stamp(&self, dir: &Path) -> Option<Digest> {
        self.model(dir).ok().map(|model| model.digest)
    }

    fn load(
        &self,
        component: &Bytes,
        configuration: &Configuration,
        model: &Model,
        _: Priority,
    ) -> Result<Loaded, LoadError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let component = std::str::from_utf8(component).unwrap();
        let weights = std::fs::read_to_string(model.dir.join(WEIGHTS)).unwrap_or_default();
        if weights.starts_with("large") && self.is_full() {
            return Err(LoadError::NoRoom("there is no room".to_owned()));
        }
        match component.split(' ').next() {
            Some("bad") => {
                let reason = format!("it says `{component}`");
                let step = "self_test";
                return Err(Refusal { step, reason }.into());
            }
            Some("starved") if !self.fed.load(Ordering::SeqCst) => {
                return Err(LoadError::Unavailable("there are no threads".to_owned()));
            }
            Some("panic") => panic!("a loader that panics"),
            Some("slow") => {
                let held = self.held.lock().unwrap();
                let (held, timeout) = self
                    .let_go
                    .wait_timeout_while(held, PATIENCE, |held| *held)
                    .unwrap();
                assert!(!timeout.timed_out());
                drop(held);
            }
            _ => {}
        }
        let guest = digest(component);
        let revision = Revision::new(guest, model.digest, configuration.clone());
        let scorer: Arc<dyn Scorer> = Arc::new(Named(Arc::new(revision)));
        self.loaded
            .lock()
            .unwrap()
            .push((model.digest, Arc::downgrade(&scorer)));
        Ok(Loaded {
            scorer,
            card: Arc::new(ModelCard {
                name: weights,
                description: Description::UNKNOWN,
            }),
            compiled: true,
        })
    }
}
