//! From a component's bytes to a guest that can serve.

use std::sync::{Arc, PoisonError};

use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use wasmtime::component::Component;

use super::artifact::ArtifactStore;
use super::bounds::{check_size, check_structure};
use super::call::Guest;
use super::compiler::{Pace, Purpose, fingerprint, lower_priority, revive, revive_file};
use super::contract::{World, bind, link, world};
use super::error::LoadError;
use super::golden::Golden;
use super::model_files::ModelFiles;
use super::runtime::Runtime;
use super::snapshot;
use predictor::{Digest, Revision};

/// How a guest came to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadedFrom {
    /// It was compiled (and prepared) just now.
    Source,
    /// Its compiled form was found in the artefact store.
    Artifact,
}

/// Loads a component, with all that the machine has. This takes seconds for one
/// that was never seen before: call it on a thread that serves nothing else.
///
/// # Errors
///
/// If any step fails; the error names the step.
pub fn load(
    runtime: &Arc<Runtime>,
    artifacts: Option<&ArtifactStore>,
    bytes: &[u8],
    model: &ModelFiles,
) -> Result<Guest, LoadError> {
    Load {
        runtime,
        artifacts,
        bytes,
        model,
        pace: Pace::Now,
    }
    .run()
}

/// Loads a component beside live traffic: as [`load`], on a thread of its own
/// that stands back behind all others, and with a compiler that does, too. It
/// can be awaited anywhere, and goes on to its end if it no longer is.
///
/// # Errors
///
/// As [`load`].
pub async fn load_aside(
    runtime: &Arc<Runtime>,
    artifacts: Option<&ArtifactStore>,
    bytes: Arc<[u8]>,
    model: &ModelFiles,
) -> Result<Guest, LoadError> {
    let (runtime, artifacts, model) = (Arc::clone(runtime), artifacts.cloned(), model.clone());
    let (done, loaded) = oneshot::channel();
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || {
            // Only on Linux does a thread have a priority of its own.
            #[cfg(target_os = "linux")]
            lower_priority();
            let load = Load {
                runtime: &runtime,
                artifacts: artifacts.as_ref(),
                bytes: &bytes,
                model: &model,
                pace: Pace::Aside,
            };
            // Whoever no longer waits does not want the guest either.
            let _ = done.send(load.run());
        })
        .map_err(|error| LoadError::Host(format!("no thread can be started: {error}")))?;
    loaded
        .await
        .unwrap_or_else(|_| Err(LoadError::Host("it panicked".to_owned())))
}

/// The revision of a guest, by the SHA-256 of its bytes, beside a model.
pub fn revision(guest: Digest, model: &ModelFiles) -> Revision {
    Revision::new(guest, model.digest(), Revision::NO_CONFIGURATION)
}

/// What is to be loaded, and how.
struct Load<'a> {
    runtime: &'a Arc<Runtime>,
    artifacts: Option<&'a ArtifactStore>,
    bytes: &'a [u8],
    model: &'a ModelFiles,
    pace: Pace,
}

impl Load<'_> {
    fn run(&self) -> Result<Guest, LoadError> {
        check_size(self.bytes, self.runtime.compiler.limits().component)?;
        let version = Arc::new(revision(Digest::of(self.bytes), self.model));
        let key = artifact_key(self.runtime, &version);
        if let Some(known) = self.known(&key, &version) {
            return known;
        }
        // One at a time: two compilers would take twice the memory, and of two
        // loads of one guest the second finds what the first has kept.
        let turn = self.runtime.compiling.lock();
        let _turn = turn.unwrap_or_else(PoisonError::into_inner);
        match self.known(&key, &version) {
            Some(known) => known,
            None => self.build(&key, &version),
        }
    }

    /// A guest that was compiled before. It has passed its self-test then, with
    /// the same model, so that one text is enough to see that it runs here.
    fn known(&self, key: &Digest, version: &Arc<Revision>) -> Option<Result<Guest, LoadError>> {
        let path = self.artifacts?.find(key)?;
        let component = revive_file(&self.runtime.serving().engine, &path)
            .inspect_err(|error| tracing::warn!(%error, "an artefact is of no use; compiling anew"))
            .ok()?;
        Some(
            self.guest(&component, version, LoadedFrom::Artifact)
                .and_then(|guest| guest.self_test(&Golden::default()).map(|()| guest)),
        )
    }

    /// Compiles a guest, tests it, and keeps what came of it.
    fn build(&self, key: &Digest, version: &Arc<Revision>) -> Result<Guest, LoadError> {
        let world = world(self.bytes)?;
        check_structure(self.bytes, self.runtime.limits.memory)?;
        // Before the work, since it needs none to be found damaged.
        let golden = Golden::read(self.model)?;
        let code = match world {
            World::Plain => self.compile(self.bytes)?,
            World::Prepared => self.compile(&self.prepare(version)?)?,
        };
        let component = revive(&self.runtime.serving().engine, &code)
            .map_err(|error| LoadError::Host(format!("{error:#}")))?;
        let guest = self.guest(&component, version, LoadedFrom::Source)?;
        guest.self_test(&golden)?;
        if let Some(artifacts) = self.artifacts {
            artifacts.put(key, &code);
        }
        Ok(guest)
    }

    /// The snapshot of a guest that is prepared with this very model.
    fn prepare(&self, version: &Revision) -> Result<Vec<u8>, LoadError> {
        let model = self.model.dir();
        let prepared = snapshot::prepare(self.runtime, version, self.bytes, model, self.pace)?;
        // Its answers would be known, and kept, by the digest of other files; and
        // the model that runs is that of the start.
        let now = ModelFiles::read(model).map_err(|error| LoadError::Host(error.to_string()))?;
        if now.digest() != self.model.digest() {
            return Err(LoadError::Host(format!(
                "{} has changed since the server started; restart it to serve what is there now",
                model.display()
            )));
        }
        let limit = self.runtime.compiler.limits().code;
        if prepared.len() > limit {
            return Err(LoadError::Size(format!(
                "with what `prepare` leaves in memory it has {} bytes; there may be {limit}",
                prepared.len()
            )));
        }
        Ok(prepared)
    }

    fn compile(&self, component: &[u8]) -> Result<Vec<u8>, LoadError> {
        let purpose = Purpose::Serving {
            memory: self.runtime.limits.memory,
        };
        let engine = &self.runtime.serving().engine;
        self.runtime
            .compiler
            .compile(engine, purpose, self.pace, component)
    }

    fn guest(
        &self,
        component: &Component,
        version: &Arc<Revision>,
        from: LoadedFrom,
    ) -> Result<Guest, LoadError> {
        let serving = bind(link(self.runtime.serving(), component)?)?;
        let runtime = Arc::clone(self.runtime);
        Ok(Guest::new(runtime, serving, Arc::clone(version), from))
    }
}

/// What the compiled form of a guest depends on: its bytes, the model and the
/// configuration it was prepared with, and the compiler with all its settings.
fn artifact_key(runtime: &Runtime, version: &Revision) -> Digest {
    let mut sha = Sha256::new();
    sha.update(fingerprint(&runtime.serving().engine).0);
    sha.update(version.digest().0);
    Digest(sha.finalize().into())
}
