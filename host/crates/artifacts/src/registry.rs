//! Pulling: what a reference stands for, and the files of an artifact.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use predictor::Digest;
use tokio::time::timeout;

use crate::client::Client;
use crate::error::{ArtifactError, Fault};
use crate::manifest::{Blob, Sort};
use crate::options::Options;
use crate::reference::{PinnedReference, Reference};
use crate::store::{Hold, Lock, Store};
use crate::trust::{SignedBy, Trust};

/// How often a damaged artifact is pulled anew by one call.
const MOST_PULLS: usize = 3;

/// A client for all registries.
pub struct Registry {
    pub(crate) client: Client,
    pub(crate) total: Duration,
    store: OnceLock<Arc<Store>>,
    store_path: PathBuf,
    store_bytes: u64,
}

/// A guest that was pulled.
#[derive(Debug)]
pub struct Guest {
    /// The component.
    pub component: Vec<u8>,
    /// The digest of the component.
    pub digest: Digest,
    /// The trusted key that has signed it, if keys were given.
    pub signed_by: Option<SignedBy>,
}

/// A model that was pulled. Its directory stays where it is for as long as this lives.
#[derive(Debug)]
pub struct Model {
    dir: PathBuf,
    signed_by: Option<SignedBy>,
    _lock: Lock,
}

impl Model {
    /// The directory with the model's files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The trusted key that has signed it, if keys were given.
    pub fn signed_by(&self) -> Option<&SignedBy> {
        self.signed_by.as_ref()
    }
}

/// Which artifact is pulled, and on which conditions.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    reference: &'a PinnedReference,
    sort: Sort,
    trust: Option<&'a Trust>,
    most: u64,
}

/// An artifact that is on disk.
struct Pulled {
    files: Vec<Blob>,
    signed_by: Option<SignedBy>,
    lock: Lock,
}

impl Registry {
    /// Makes a client. It connects with its first call; files that options name are read
    /// now, except for credentials, which are read with each call.
    ///
    /// # Errors
    ///
    /// If an option cannot be used.
    pub fn new(options: Options) -> Result<Self, ArtifactError> {
        Ok(Self {
            client: Client::new(&options)?,
            total: options.times.total,
            store: OnceLock::new(),
            store_path: options.store,
            store_bytes: options.store_bytes,
        })
    }

    /// Finds out which digest a reference stands for now. One that has a digest is not
    /// looked up.
    ///
    /// # Errors
    ///
    /// If the registry does not answer, or does not have the tag.
    pub async fn resolve(&self, reference: &Reference) -> Result<PinnedReference, ArtifactError> {
        if let Some(digest) = reference.digest() {
            return Ok(reference.pin(digest));
        }
        let digest = self.client.retry(|| self.client.digest_of(reference));
        Ok(reference.pin(self.limited(reference, digest).await?))
    }

    /// Pulls a guest of at most `most` bytes, or takes the one on disk if it is there and
    /// undamaged. With `trust`, it must be signed by one of its keys.
    ///
    /// # Errors
    ///
    /// If it cannot be had, is too large, is not a guest, or is not trusted.
    pub async fn pull_guest(
        &self,
        reference: &PinnedReference,
        trust: Option<&Trust>,
        most: u64,
    ) -> Result<Guest, ArtifactError> {
        let sort = Sort::Guest;
        let wanted = Wanted {
            reference,
            sort,
            trust,
            most,
        };
        let pull = async {
            let pulled = self.pull(wanted).await?;
            let digest = reference.digest();
            let file = pulled.files.into_iter().next();
            let read = self.blocking(move |store| {
                let file = file?;
                Some((store.read(&digest, &file)?, file.digest))
            });
            let (component, digest) = read.await?.ok_or_else(|| {
                let changed = io::Error::other("a file in it was changed");
                self.store_failed(&changed)
            })?;
            Ok(Guest {
                component,
                digest,
                signed_by: pulled.signed_by,
            })
        };
        self.limited(reference, pull).await
    }

    /// Pulls a model whose files have at most `most` bytes in all, or takes the one on disk
    /// if it is there and undamaged. With `trust`, it must be signed by one of its keys.
    ///
    /// # Errors
    ///
    /// If it cannot be had, is too large, is not a model, or is not trusted.
    pub async fn pull_model(
        &self,
        reference: &PinnedReference,
        trust: Option<&Trust>,
        most: u64,
    ) -> Result<Model, ArtifactError> {
        let sort = Sort::Model;
        let wanted = Wanted {
            reference,
            sort,
            trust,
            most,
        };
        let pulled = self.limited(reference, self.pull(wanted)).await?;
        Ok(Model {
            dir: self.store()?.path(&reference.digest()),
            signed_by: pulled.signed_by,
            _lock: pulled.lock,
        })
    }

    /// Limits a call in time.
    pub(crate) async fn limited<T>(
        &self,
        reference: &impl ToString,
        call: impl Future<Output = Result<T, ArtifactError>>,
    ) -> Result<T, ArtifactError> {
        let done = timeout(self.total, call).await;
        done.unwrap_or_else(|_| {
            Err(ArtifactError::TimedOut {
                reference: reference.to_string(),
                after: self.total,
            })
        })
    }

    async fn pull(&self, wanted: Wanted<'_>) -> Result<Pulled, ArtifactError> {
        let digest = wanted.reference.digest();
        let store = self.store()?;
        for _ in 0..MOST_PULLS {
            let lock = store.lock(&digest, Hold::Shared).await?;
            if let Some(pulled) = self.kept(wanted, lock).await? {
                return Ok(pulled);
            }
            let lock = store.lock(&digest, Hold::Exclusive).await?;
            // Whoever had the lock may have pulled it.
            if store.manifest(&digest).is_some()
                && let Some(files) = self.intact(wanted).await?
            {
                drop((lock, files));
                continue;
            }
            if let Err(error) = self.fetch(wanted).await {
                store.give_up(&digest, &lock);
                return Err(error);
            }
        }
        let damaged = io::Error::other("what is pulled into it does not stay as it was");
        Err(self.store_failed(&damaged))
    }

    /// The artifact that is on disk, if it is intact.
    async fn kept(&self, wanted: Wanted<'_>, lock: Lock) -> Result<Option<Pulled>, ArtifactError> {
        let digest = wanted.reference.digest();
        if self.store()?.manifest(&digest).is_none() {
            return Ok(None);
        }
        let signed_by = match wanted.trust {
            None => None,
            Some(trust) => {
                let kept = self.store()?.signature(&digest);
                let kept = kept.and_then(|kept| {
                    let key = trust.verify_statement(&digest, &kept).ok()?;
                    Some(key.clone())
                });
                match kept {
                    Some(key) => Some(key),
                    // It may have been signed since, or by another key.
                    None => {
                        let (signature, key) = self.signature(wanted.reference, trust).await?;
                        self.store()?.keep_signature(&digest, &signature)?;
                        Some(key)
                    }
                }
            }
        };
        let Some(files) = self.intact(wanted).await? else {
            return Ok(None);
        };
        Store::touch(&lock).map_err(|error| self.store_failed(&error))?;
        Ok(Some(Pulled {
            files,
            signed_by,
            lock,
        }))
    }

    /// The files of the artifact on disk, if they are what its manifest says.
    async fn intact(&self, wanted: Wanted<'_>) -> Result<Option<Vec<Blob>>, ArtifactError> {
        let digest = wanted.reference.digest();
        let Some(manifest) = self.store()?.manifest(&digest) else {
            return Ok(None);
        };
        let files = wanted.files(&manifest)?;
        let intact = self.blocking(move |store| store.is_intact(&digest, &files).then_some(files));
        intact.await
    }

    /// Pulls the artifact from its registry. The caller has locked it.
    async fn fetch(&self, wanted: Wanted<'_>) -> Result<(), ArtifactError> {
        let digest = wanted.reference.digest();
        let place = wanted.reference.place();
        // Nothing is parsed, and nothing large is downloaded, before it is trusted.
        let signature = match wanted.trust {
            Some(trust) => Some(self.signature(wanted.reference, trust).await?.0),
            None => None,
        };
        let manifest = self.client.retry(|| self.client.manifest(place, &digest));
        let manifest = manifest.await?;
        let files = wanted.files(&manifest)?;
        let begun = files.clone();
        let begun = self.blocking(move |store| store.begin(&digest, &begun));
        let (dir, complete) = begun.await??;
        let missing = |file: &&Blob| !complete.contains(&file.name);
        let needed = files.iter().filter(missing).map(|file| file.size).sum();
        self.blocking(move |store| store.make_room(needed))
            .await??;
        for file in files.iter().filter(missing) {
            self.client.download(place, file, &dir).await?;
        }
        let finish =
            move |store: &Store| store.finish(&digest, &dir, &manifest, signature.as_ref());
        self.blocking(finish).await?
    }

    fn store(&self) -> Result<Arc<Store>, ArtifactError> {
        if let Some(store) = self.store.get() {
            return Ok(Arc::clone(store));
        }
        let store = Store::open(&self.store_path, self.store_bytes)?;
        Ok(Arc::clone(self.store.get_or_init(|| Arc::new(store))))
    }

    /// Works on the directory, on a thread that serves no sockets.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T, ArtifactError> {
        let store = self.store()?;
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.map_err(|error| self.store_failed(&io::Error::other(error)))
    }

    fn store_failed(&self, error: &io::Error) -> ArtifactError {
        ArtifactError::Store {
            path: self.store_path.clone(),
            reason: error.to_string(),
        }
    }
}

impl Wanted<'_> {
    /// The files that a manifest names, if they are of an artifact that is wanted.
    fn files(&self, manifest: &[u8]) -> Result<Vec<Blob>, ArtifactError> {
        let reference = self.reference.to_string();
        let files = self.sort.files(manifest);
        let files = files.map_err(|fault: Fault| ArtifactError::Unusable {
            reference: reference.clone(),
            fault,
        })?;
        let mut sizes = files.iter().map(|file| file.size);
        let total = sizes.try_fold(0, u64::checked_add);
        if total.is_none_or(|total| total > self.most) {
            return Err(ArtifactError::TooLarge {
                what: reference,
                most: self.most,
            });
        }
        Ok(files)
    }
}
