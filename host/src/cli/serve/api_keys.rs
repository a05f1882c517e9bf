//! API keys of clients: the option, and following the file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::api_keys::{ApiKeys, Entry, entries};
use anyhow::Context;
use clap::Args;
use prometheus::Registry;

use super::follower::Follower;
use crate::cli::values::path_or_none;

/// The most bytes of a file: what the most keys need, and as much again for comments.
const MOST: u64 = 1024 * 1024;

/// The keys that clients need.
#[derive(Args)]
#[command(next_help_heading = "Client limits")]
pub(in crate::cli) struct ApiKeyOptions {
    /// File with the API keys of clients, made by `fastsentiment keys` [default: none, for all
    /// clients]
    ///
    /// Texts are then scored only for requests with `Authorization: Bearer KEY`, within the
    /// quotas of the key. Health, version, documentation and pages need none. The file is read
    /// again when it changes. One that cannot be used is logged, and the keys before stay.
    #[arg(
        long,
        env = "FASTSENTIMENT_API_KEYS",
        value_name = "FILE",
        value_parser = path_or_none(),
        hide_short_help = true
    )]
    api_keys: Option<PathBuf>,
}

impl ApiKeyOptions {
    /// Reads the file, if there is one, and follows it.
    pub(in crate::cli) fn start(
        &self,
        registry: &Registry,
    ) -> anyhow::Result<Option<(Arc<ApiKeys>, Follower)>> {
        let Some(path) = self.path() else {
            return Ok(None);
        };
        let content = read(path);
        let keys = parse(&content).with_context(|| named(path))?;
        let keys = Arc::new(ApiKeys::new(keys, registry)?);
        let (path, current) = (path.to_owned(), Arc::clone(&keys));
        let again = path.clone();
        let following = Follower::start(
            content,
            move || read(&again),
            move |content| match parse(content) {
                Ok(entries) => {
                    tracing::info!(keys = entries.len(), "the API keys were read again");
                    current.replace(entries);
                }
                Err(error) => tracing::warn!(
                    "the file of API keys has changed, and cannot be used, so that the keys \
                     before stay: {}: {error:#}",
                    path.display()
                ),
            },
        );
        Ok(Some((keys, following)))
    }

    /// An error if the file cannot be used.
    pub(in crate::cli) fn fault(&self) -> Option<anyhow::Error> {
        let path = self.path()?;
        parse(&read(path)).with_context(|| named(path)).err()
    }

    fn path(&self) -> Option<&Path> {
        let path = self.api_keys.as_deref();
        path.filter(|path| !path.as_os_str().is_empty())
    }
}

fn named(path: &Path) -> String {
    format!("--api-keys {}", path.display())
}

/// The content of the file, or why there is none.
pub(in crate::cli) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(MOST + 1).read_to_end(&mut content);
    read.map_err(|error| error.to_string())?;
    if content.len() as u64 > MOST {
        return Err(format!("it has more than {MOST} bytes"));
    }
    Ok(content)
}

fn parse(content: &Result<Vec<u8>, String>) -> anyhow::Result<Vec<Entry>> {
    let content = content.as_ref().map_err(|error| anyhow::anyhow!("{error}"));
    Ok(entries(content?)?)
}
