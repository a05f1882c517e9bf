//! From a component's bytes to a guest that can serve.

use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use super::artifact::ArtifactStore;
use super::call::Guest;
use super::contract::{World, bind, link, world};
use super::error::LoadError;
use super::model_files::ModelFiles;
use super::runtime::Runtime;
use super::snapshot;
use crate::predictor::{Digest, Version};

/// How a guest came to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadedFrom {
    /// It was compiled (and prepared) just now.
    Source,
    /// Its compiled form was found in the artefact store.
    Artifact,
}

/// Loads a component. This takes seconds for one that was never seen before:
/// call it on a thread that serves nothing else.
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
    let version = Arc::new(version(bytes, model));
    let key = artifact_key(runtime, &version);
    let stored = artifacts
        .and_then(|artifacts| artifacts.get(&key))
        .and_then(|code| revive(runtime, &code));
    let (component, loaded_from) = match stored {
        Some(component) => (component, LoadedFrom::Artifact),
        None => {
            let component = build(runtime, bytes, model.dir())?;
            if let Some(artifacts) = artifacts {
                match component.serialize() {
                    Ok(code) => artifacts.put(&key, &code),
                    Err(error) => tracing::warn!(%error, "a guest could not be serialised"),
                }
            }
            (component, LoadedFrom::Source)
        }
    };
    let serving = bind(link(runtime.serving(), &component)?)?;
    let guest = Guest::new(Arc::clone(runtime), serving, version, loaded_from);
    guest.self_test()?;
    Ok(guest)
}

/// What the answers of a component are known by, beside a model.
pub fn version(bytes: &[u8], model: &ModelFiles) -> Version {
    Version {
        guest: Digest(Sha256::digest(bytes).into()),
        model: model.digest(),
    }
}

/// Compiles a component; a prepared guest is snapshot first.
fn build(runtime: &Runtime, bytes: &[u8], model_dir: &Path) -> Result<Component, LoadError> {
    let compile = |bytes: &[u8]| {
        Component::from_binary(&runtime.serving().engine, bytes)
            .map_err(|error| LoadError::Compile(format!("{error:#}")))
    };
    match world(bytes)? {
        World::Plain => compile(bytes),
        World::Prepared => compile(&snapshot::prepare(runtime, bytes, model_dir)?),
    }
}

/// What the compiled form of a guest depends on: its bytes, the files it was
/// prepared with, and the compiler with all its settings.
fn artifact_key(runtime: &Runtime, version: &Version) -> Digest {
    let mut hasher = ShaHasher(Sha256::new());
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    version.hash(&mut hasher);
    runtime
        .serving()
        .engine
        .precompile_compatibility_hash()
        .hash(&mut hasher);
    Digest(hasher.0.finalize().into())
}

/// Makes a component of stored code.
fn revive(runtime: &Runtime, code: &[u8]) -> Option<Component> {
    // SAFETY: the code was compiled by this program: the artefact store keeps
    // it where no one else can write, and has just compared its digest and the
    // key, which holds the version of the compiler and its settings.
    #[expect(unsafe_code, reason = "compiled code can not be checked, only trusted")]
    let component = unsafe { Component::deserialize(&runtime.serving().engine, code) };
    component
        .inspect_err(|error| tracing::warn!(%error, "an artefact is of no use; compiling anew"))
        .ok()
}

/// Feeds what implements `Hash` to SHA-256, since 64 bits would be too few for
/// a name that must never be taken twice.
struct ShaHasher(Sha256);

impl Hasher for ShaHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        u64::from_le_bytes(*digest.first_chunk().unwrap_or(&[0; 8]))
    }
}
