//! Gets the guests, configurations and models that a rollout file names: from this machine or a registry,
//! signed if there are keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use artifacts::{ArtifactError, Options, Reference, Registry, Times, Trust, TrustError};
use predictor::Digest;

use super::file::{Desired, Parts};
use crate::candidate::{blocking, too_large};
use crate::file::{self, Unfit};
use crate::models::Unnamed;
use crate::state::Store;
use crate::{
    ConfiguredValues, Guest, LoadError, Loader, Model, Origin, Refusal, RevisionError, Source,
};

/// The directory of pulled artifacts, in that of the state.
const PULLED: &str = "pulled";

/// What a server has, whatever its rollout file says.
#[derive(Clone)]
pub(crate) struct Installed {
    pub(crate) loader: Arc<dyn Loader>,
    pub(crate) store: Option<Arc<Store>>,
    /// The configured guest's file.
    pub(crate) guest: PathBuf,
    /// Its configuration.
    pub(crate) configuration: ConfiguredValues,
    /// The configured model.
    pub(crate) model: Arc<Model>,
    pub(crate) max_bytes: usize,
    pub(crate) max_model_bytes: u64,
}

/// How long to wait for a registry. It is asked again later, and until then another revision
/// serves: at a start, that of the image, which must not wait for long.
const CONNECT: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(15);
const RETRIES: usize = 1;

/// Gets what one state of the file names.
pub(crate) struct Fetcher {
    installed: Installed,
    /// `None` without a directory for what is pulled.
    registry: Option<Registry>,
    trust: Option<Trust>,
}

/// A guest and a model that are here.
pub(crate) struct Fetched {
    pub(crate) guest: Guest,
    pub(crate) model: FetchedModel,
    /// The keys that have signed them.
    pub(crate) signed_by: Vec<PathBuf>,
    /// Whether a registry was needed.
    pub(crate) is_pulled: bool,
}

/// A model that is here.
pub(crate) enum FetchedModel {
    /// Where it stays.
    Known(Arc<Model>),
    /// Where it stays for as long as this is there.
    Pulled(artifacts::Model, Origin),
}

impl Fetcher {
    /// Reads the keys and the settings of registries.
    pub(crate) fn new(desired: &Desired, installed: &Installed) -> Result<Self, RevisionError> {
        let trust = match &desired.trust[..] {
            [] => None,
            keys => Some(Trust::load(keys).map_err(|error| refused_unverified(error.to_string()))?),
        };
        let registry = match &installed.store {
            Some(store) if desired.references().next().is_some() => {
                let mut options = Options::new(store.dir().join(PULLED));
                options.credentials.clone_from(&desired.pull.credentials);
                options.ca.clone_from(&desired.pull.ca);
                options.plain_http.clone_from(&desired.pull.plain_http);
                options.store_bytes = desired.pull.disk_bytes();
                options.times = Times {
                    connect: CONNECT,
                    idle: IDLE,
                    total: desired.pull.timeout(),
                };
                options.retries.times = RETRIES;
                Some(Registry::new(options).map_err(|error| unfetched(&error))?)
            }
            _ => None,
        };
        Ok(Self {
            installed: installed.clone(),
            registry,
            trust,
        })
    }

    /// Whether all that a file names was pulled before.
    pub(crate) fn has_all(&self, desired: &Desired) -> bool {
        let store = self.installed.store.as_ref();
        let pulled = store.map(|store| store.dir().join(PULLED));
        let is_here = |reference: &Reference| {
            let found = pulled.as_ref().zip(reference.digest());
            found.is_some_and(|(pulled, digest)| pulled.join(digest.to_string()).exists())
        };
        desired.references().all(is_here)
    }

    /// The digest of what a reference without one stands for now.
    pub(crate) async fn digest_of(&self, reference: &Reference) -> Option<Digest> {
        let pinned = self.registry.as_ref()?.resolve(reference).await.ok()?;
        Some(pinned.digest())
    }

    /// The same with the digests of what is in registries now.
    pub(crate) async fn pinned(&self, parts: &Parts) -> Result<Parts, RevisionError> {
        let mut pinned = parts.clone();
        for source in [&mut pinned.guest, &mut pinned.model].into_iter().flatten() {
            if let Source::Artifact(reference) = source {
                let found = self.registry()?.resolve(reference).await;
                *reference = found.map_err(|error| unfetched(&error))?.into();
            }
        }
        Ok(pinned)
    }

    /// Gets a guest and a model, and checks their signatures before anything of them is read.
    pub(crate) async fn fetch(&self, parts: &Parts) -> Result<Fetched, RevisionError> {
        let mut signed_by = Vec::new();
        let mut sources = [&parts.guest, &parts.model].into_iter().flatten();
        let is_pulled = sources.any(|source| matches!(source, Source::Artifact(_)));
        Ok(Fetched {
            guest: self.guest(parts, &mut signed_by).await?,
            model: self.model(parts.model.as_ref(), &mut signed_by).await?,
            signed_by,
            is_pulled,
        })
    }

    async fn guest(
        &self,
        parts: &Parts,
        signed_by: &mut Vec<PathBuf>,
    ) -> Result<Guest, RevisionError> {
        let configuration = match &parts.configuration {
            Some(configuration) => configuration.clone(),
            None => {
                let configured = self.installed.configuration.clone();
                blocking(move || configured.read()).await??
            }
        };
        let most = self.installed.max_bytes;
        let path = match &parts.guest {
            None => &self.installed.guest,
            Some(Source::Path(path)) => path,
            Some(Source::Artifact(reference)) => {
                let (registry, trust) = (self.registry()?, self.trust.as_ref());
                let pinned = registry
                    .resolve(reference)
                    .await
                    .map_err(|error| unfetched(&error))?;
                let pulled = registry.pull_guest(&pinned, trust, most as u64).await;
                let pulled = pulled.map_err(|error| unfetched(&error))?;
                signed_by.extend(pulled.signed_by.map(|by| by.key));
                return Ok(Guest {
                    component: pulled.component.into(),
                    origin: Origin::Artifact(reference.to_string().into()),
                    configuration,
                    name: None,
                });
            }
        };
        let component = {
            let path = path.clone();
            blocking(move || file::read(&path, most)).await?
        };
        let (component, _) = component.map_err(|unfit| match unfit {
            Unfit::TooLarge => too_large(most).into(),
            Unfit::Unreadable(reason) => unreadable(path, reason),
        })?;
        if let (Some(trust), Some(_)) = (&self.trust, &parts.guest) {
            let by = trust.verify_file(path, &component);
            let by = by.map_err(|error| of_path(path, &error))?;
            signed_by.push(by.key.clone());
        }
        Ok(Guest {
            component: component.into(),
            origin: Origin::File(path.clone()),
            configuration,
            name: None,
        })
    }

    async fn model(
        &self,
        source: Option<&Source>,
        signed_by: &mut Vec<PathBuf>,
    ) -> Result<FetchedModel, RevisionError> {
        match source {
            None => Ok(FetchedModel::Known(Arc::clone(&self.installed.model))),
            Some(Source::Path(dir)) => {
                if self.trust.is_some() {
                    return Err(refused_unverified(format!(
                        "{}: a directory has no signature; push it to a registry, and sign it \
                         there",
                        dir.display()
                    )));
                }
                let (loader, path) = (Arc::clone(&self.installed.loader), dir.clone());
                let model = blocking(move || loader.model(&path)).await?;
                let model = model.map_err(|error| match error {
                    LoadError::Unavailable(reason) => unreadable(dir, reason),
                    error => error.into(),
                })?;
                Ok(FetchedModel::Known(Arc::new(model)))
            }
            Some(Source::Artifact(reference)) => {
                let (registry, trust) = (self.registry()?, self.trust.as_ref());
                let most = self.installed.max_model_bytes;
                let pinned = registry
                    .resolve(reference)
                    .await
                    .map_err(|error| unfetched(&error))?;
                let pulled = registry.pull_model(&pinned, trust, most).await;
                let pulled = pulled.map_err(|error| unfetched(&error))?;
                signed_by.extend(pulled.signed_by().map(|by| by.key.clone()));
                let origin = Origin::Artifact(reference.to_string().into());
                Ok(FetchedModel::Pulled(pulled, origin))
            }
        }
    }

    fn registry(&self) -> Result<&Registry, RevisionError> {
        self.registry.as_ref().ok_or_else(|| {
            let reason = "artifacts of registries are kept in the state directory, and this \
                          server has none: start it with `--state DIR`";
            Refusal {
                step: "fetch",
                reason: reason.to_owned(),
            }
            .into()
        })
    }
}

impl Installed {
    /// Keeps a model where it stays, while nothing else changes the state directory.
    pub(crate) fn keep(&self, got: FetchedModel) -> Result<Arc<Model>, RevisionError> {
        let (pulled, origin) = match got {
            FetchedModel::Known(model) => return Ok(model),
            FetchedModel::Pulled(pulled, origin) => (pulled, origin),
        };
        let store = self.store.as_ref().ok_or(RevisionError::NoState)?;
        let digest = self.loader.model(pulled.dir())?.digest;
        if !store.models().digests().contains(&digest) {
            Unnamed::copy(store, pulled.dir(), digest)?.name(store, origin.clone())?;
        }
        Ok(Arc::new(Model {
            origin,
            ..store.model(digest)
        }))
    }
}

fn unreadable(path: &Path, reason: String) -> RevisionError {
    RevisionError::Unreadable {
        path: path.to_owned(),
        reason,
    }
}

fn of_path(path: &Path, error: &TrustError) -> RevisionError {
    refused_unverified(format!("{} is not trusted: {error}", path.display()))
}

fn refused_unverified(reason: String) -> RevisionError {
    Refusal {
        step: "verify",
        reason,
    }
    .into()
}

fn unfetched(error: &ArtifactError) -> RevisionError {
    let step = match error {
        ArtifactError::Untrusted { .. } => "verify",
        _ => "fetch",
    };
    let reason = error.to_string();
    Refusal { step, reason }.into()
}
