//! `fastsentiment push`: puts a guest or a model into an OCI registry.

use std::path::PathBuf;
use std::process::ExitCode;

use artifacts::Reference;
use clap::Args;

use super::exit;
use super::output;
use super::registry::RegistryOptions;

/// Puts a guest or a model into an OCI registry.
#[derive(Args)]
#[command(after_help = exit::REGISTRY)]
pub(super) struct PushCommand {
    /// Where to: `oci://registry/repository:tag`; the tag is `latest` if there is none
    #[arg(value_name = "REFERENCE")]
    reference: Reference,

    #[command(flatten)]
    artifact: Artifact,

    #[command(flatten)]
    registry: RegistryOptions,
}

/// What is pushed.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Artifact {
    /// Guest component to push, as a Wasm artifact
    #[arg(long, value_name = "FILE")]
    guest: Option<PathBuf>,

    /// Model directory to push, with a layer for each of its files
    ///
    /// Hidden files and subdirectories are left out.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
}

impl PushCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        // Nothing is pulled.
        let registry = self.registry.connect(PathBuf::new())?;
        let reference = &self.reference;
        let pushed = super::runtime()?.block_on(async {
            match (&self.artifact.guest, &self.artifact.model) {
                (Some(file), _) => registry.push_guest(reference, file).await.map(Some),
                (None, Some(dir)) => registry.push_model(reference, dir).await.map(Some),
                // The parser has seen one of them.
                (None, None) => Ok(None),
            }
        });
        if let Some(pinned) = pushed? {
            output::print(&format!("{pinned}\n"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
