//! Where the guest and the model of `swap` come from: from this machine, or from an OCI
//! registry; and by whom they must be signed.

use std::path::{Path, PathBuf};

use anyhow::Context;
use artifacts::{Model, Registry, Trust};
use clap::Args;
use revisions::Source;
use tempfile::TempDir;

use super::log;
use super::registry::RegistryOptions;

/// The largest guest and the largest model that are pulled, in bytes: more than any server
/// takes.
const LARGEST_GUEST: u64 = 1 << 30;
const LARGEST_MODEL: u64 = 1 << 40;

/// How sources are reached and checked.
#[derive(Args)]
pub(super) struct SourceOptions {
    /// Public key, as cosign writes it, that must have signed what is uploaded
    ///
    /// A file needs a signature beside it (`guest.wasm.sig`, from `cosign sign-blob`), an
    /// artifact one in its registry (`cosign sign`). Repeat it for several keys: any of them
    /// will do.
    #[arg(
        long,
        env = "FASTSENTIMENT_TRUST",
        value_name = "FILE",
        value_delimiter = ','
    )]
    trust: Vec<PathBuf>,

    #[command(flatten)]
    registry: RegistryOptions,
}

/// Reads sources.
pub(super) struct Sources {
    registry: Registry,
    trust: Option<Trust>,
    /// Where artifacts are pulled to.
    _pulled: TempDir,
}

/// A model directory, as long as this is there.
pub(super) enum ModelDir {
    Here(PathBuf),
    Pulled(Model),
}

impl ModelDir {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Here(path) => path,
            Self::Pulled(model) => model.dir(),
        }
    }
}

impl SourceOptions {
    pub(super) fn open(self) -> anyhow::Result<Sources> {
        let trust = match &self.trust[..] {
            [] => None,
            keys => Some(Trust::load(keys)?),
        };
        let pulled = tempfile::tempdir().context("cannot make a directory for artifacts")?;
        Ok(Sources {
            registry: self.registry.connect(pulled.path().join("registry"))?,
            trust,
            _pulled: pulled,
        })
    }
}

impl Sources {
    /// A component.
    pub(super) async fn guest(&self, source: &Source) -> anyhow::Result<Vec<u8>> {
        let trust = self.trust.as_ref();
        let (component, signed_by) = match source {
            Source::Path(path) => {
                let bytes = std::fs::read(path);
                let bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
                let signed_by = trust.map(|trust| trust.verify_file(path, &bytes).cloned());
                let signed_by = signed_by.transpose();
                (
                    bytes,
                    signed_by.with_context(|| format!("{} is refused", path.display()))?,
                )
            }
            Source::Artifact(reference) => {
                let pinned = self.registry.resolve(reference).await?;
                let guest = self
                    .registry
                    .pull_guest(&pinned, trust, LARGEST_GUEST)
                    .await?;
                (guest.component, guest.signed_by)
            }
        };
        if let Some(by) = signed_by {
            report(source, &by.key);
        }
        Ok(component)
    }

    /// A model directory.
    pub(super) async fn model(&self, source: &Source) -> anyhow::Result<ModelDir> {
        match source {
            Source::Path(path) => {
                anyhow::ensure!(path.is_dir(), "{} is not a directory", path.display());
                anyhow::ensure!(
                    self.trust.is_none(),
                    "{} is refused: a directory has no signature; push it to a registry, and \
                     sign it there",
                    path.display()
                );
                Ok(ModelDir::Here(path.clone()))
            }
            Source::Artifact(reference) => {
                let trust = self.trust.as_ref();
                let pinned = self.registry.resolve(reference).await?;
                let model = self
                    .registry
                    .pull_model(&pinned, trust, LARGEST_MODEL)
                    .await?;
                if let Some(by) = model.signed_by() {
                    report(source, &by.key);
                }
                Ok(ModelDir::Pulled(model))
            }
        }
    }
}

fn report(source: &Source, key: &Path) {
    log::print(&format!("{source} is signed by {}\n", key.display()));
}
