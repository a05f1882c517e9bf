//! Loads a component: from its bytes to a guest that can serve.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use wasmtime::component::Component;

use super::artifact::ArtifactStore;
use super::call::Guest;
use super::compiler::{Pace, Purpose, Source, fingerprint, lower_priority};
use super::component_limits::{check_size, check_structure};
use super::contract::{World, bind, bind_whole_texts, link, world};
use super::describe::describe;
use super::error::LoadError;
use super::golden::Golden;
use super::model_files::{ModelFiles, ModelFilesError};
use super::runtime::Runtime;
use super::snapshot::{self, Snapshot};
use super::trusted::TrustedCode;
use predictor::{Configuration, Digest, Revision};

/// Where the compiled code of a guest came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadedFrom {
    /// The component was prepared and compiled just now.
    Source,
    /// The artefact store had the code.
    Artifact,
}

/// Loads a component as fast as the machine can. This takes seconds for one that
/// is not in the artefact store, so call it on a thread that serves no requests.
///
/// # Errors
///
/// If a step fails; [`LoadError::step`] says which.
pub fn load(
    runtime: &Arc<Runtime>,
    artifacts: Option<&ArtifactStore>,
    bytes: &[u8],
    model: &ModelFiles,
    configuration: &Configuration,
) -> Result<Guest, LoadError> {
    Load {
        runtime,
        artifacts,
        bytes,
        model,
        configuration,
        pace: Pace::Foreground,
    }
    .run()
}

/// Loads a component beside live traffic: like [`load`], but on a thread and with a
/// compiler of low priority. The load runs to its end even if the future is dropped.
///
/// # Errors
///
/// As [`load`].
pub async fn load_aside(
    runtime: &Arc<Runtime>,
    artifacts: Option<&ArtifactStore>,
    bytes: Bytes,
    model: &ModelFiles,
    configuration: &Configuration,
) -> Result<Guest, LoadError> {
    let (runtime, artifacts, model) = (Arc::clone(runtime), artifacts.cloned(), model.clone());
    let configuration = configuration.clone();
    aside(move || {
        let load = Load {
            runtime: &runtime,
            artifacts: artifacts.as_ref(),
            bytes: &bytes,
            model: &model,
            configuration: &configuration,
            pace: Pace::Background,
        };
        load.run()
    })
    .await
    .unwrap_or_else(Err)
}

/// Does a part of a load beside live traffic, on a thread of low priority, and to its end
/// even if the future is dropped.
///
/// # Errors
///
/// If no thread can be started, or if the work panics.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LoadError> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || {
            // Only on Linux do threads have priorities of their own.
            #[cfg(target_os = "linux")]
            lower_priority();
            // Fails if the future was dropped; then nobody wants the result.
            let _ = done.send(work());
        })
        .map_err(|error| LoadError::Host(format!("a thread cannot be started: {error}")))?;
    result
        .await
        .map_err(|_| LoadError::Host("the load panicked".to_owned()))
}

/// The revision of a guest, by the SHA-256 of its bytes, with a model and a configuration.
pub fn revision(guest: Digest, model: &ModelFiles, configuration: &Configuration) -> Revision {
    Revision::new(guest, model.digest(), configuration.clone())
}

/// A load and its options.
struct Load<'a> {
    runtime: &'a Arc<Runtime>,
    artifacts: Option<&'a ArtifactStore>,
    bytes: &'a [u8],
    model: &'a ModelFiles,
    configuration: &'a Configuration,
    pace: Pace,
}

impl Load<'_> {
    fn run(&self) -> Result<Guest, LoadError> {
        check_size(self.bytes, self.runtime.compiler.limits().component)?;
        let guest = Digest::of(self.bytes);
        let world = world(self.bytes)?;
        if !world.reads_configuration && self.configuration.iter().next().is_some() {
            let keys: Vec<_> = self.configuration.iter().map(|(key, _)| key).collect();
            tracing::warn!(
                "the guest does not read its configuration, so that these of its keys change \
                 nothing: {}",
                keys.join(", ")
            );
        }
        let version = revision(guest, self.model, self.configuration);
        let version = Arc::new(version.named(world.name.clone()));
        let key = artifact_key(self.runtime, &version, &world);
        if let Some(known) = self.known(&key, &version, &world) {
            return known;
        }
        // One at a time: two compilers would take twice the memory, and of two loads
        // of one guest the second finds the artefact of the first.
        let turn = self.runtime.compiling.lock();
        let _turn = turn.unwrap_or_else(PoisonError::into_inner);
        match self.known(&key, &version, &world) {
            Some(known) => known,
            None => self.build(&key, &version, &world),
        }
    }

    /// A guest that was compiled before. It passed its self-test then, with the same
    /// model, so one text is enough to check that it runs on this machine.
    fn known(
        &self,
        key: &Digest,
        version: &Arc<Revision>,
        world: &World,
    ) -> Option<Result<Guest, LoadError>> {
        let code = self.artifacts?.find(key)?;
        let component = code
            .component(&self.runtime.serving().engine)
            .inspect_err(|error| {
                tracing::warn!(%key, %error, "an artefact cannot be used; compiling again");
            })
            .ok()?;
        Some(
            self.guest(&component, version, world, LoadedFrom::Artifact)
                .and_then(|guest| guest.test_again().map(|()| guest)),
        )
    }

    /// Compiles a guest, tests it, and stores the code.
    fn build(
        &self,
        key: &Digest,
        version: &Arc<Revision>,
        world: &World,
    ) -> Result<Guest, LoadError> {
        check_structure(self.bytes, self.runtime.limits.memory)?;
        // Before the long work, since a damaged file is found without it.
        let golden = Golden::read(self.model)?;
        let code = if world.is_prepared {
            self.compile(self.prepare(version)?)?
        } else {
            self.compile(self.bytes)?
        };
        let component = code
            .component(&self.runtime.serving().engine)
            .map_err(|error| LoadError::Host(format!("{error:#}")))?;
        let guest = self.guest(&component, version, world, LoadedFrom::Source)?;
        guest.test(&golden)?;
        if let Some(artifacts) = self.artifacts {
            artifacts.put(key, &code);
        }
        Ok(guest)
    }

    /// Prepares a guest with this model, and gives the snapshot.
    fn prepare(&self, version: &Revision) -> Result<Snapshot, LoadError> {
        let model = self.model.dir();
        let prepared = snapshot::prepare(self.runtime, version, self.bytes, model, self.pace)?;
        // Otherwise the guest would run the old model with the new files, and its
        // answers would be cached under the digest of the old ones.
        self.model.check_unchanged().map_err(|error| {
            LoadError::Host(match error {
                ModelFilesError::Changed { path } => format!(
                    "{} has changed since the model was loaded, and a new guest needs the files \
                     as they were: put them back, or swap the model too",
                    path.display()
                ),
                error => error.to_string(),
            })
        })?;
        let limit = self.runtime.compiler.limits().code;
        if prepared.size() > limit {
            return Err(LoadError::Size(format!(
                "with the memory that `prepare` leaves it has {} bytes; at most {limit} are \
                 allowed",
                prepared.size()
            )));
        }
        Ok(prepared)
    }

    fn compile(&self, component: impl Source) -> Result<TrustedCode, LoadError> {
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
        world: &World,
        from: LoadedFrom,
    ) -> Result<Guest, LoadError> {
        let linked = link(self.runtime.serving(), component)?;
        let serving = bind(linked.clone())?;
        let runtime = Arc::clone(self.runtime);
        let mut guest = Guest::new(runtime, serving, Arc::clone(version), from);
        if world.is_whole {
            guest.whole_texts = Some(bind_whole_texts(linked.clone())?);
        }
        if world.is_described {
            guest.description = Some(describe(&guest, linked)?);
        }
        Ok(guest)
    }
}

/// A digest of everything that the code of a guest depends on: its bytes, the model and
/// the configuration it was prepared with, and the compiler with all its settings.
fn artifact_key(runtime: &Runtime, version: &Revision, world: &World) -> Digest {
    let read = match world {
        World {
            is_prepared: true,
            reads_configuration: true,
            ..
        } => version.configuration().clone(),
        // Read in calls, or never: other values need no other code.
        _ => Revision::NO_CONFIGURATION,
    };
    let compiled = Revision::new(version.guest(), version.model(), read);
    let mut sha = Sha256::new();
    sha.update(fingerprint(&runtime.serving().engine).0);
    sha.update(compiled.digest().0);
    Digest(sha.finalize().into())
}
