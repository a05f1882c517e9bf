//! Follows tags of registries that were given on the command line.
//!
//! What a tag stands for is declared live, and is looked up again and again. A change by hand
//! needs no override: like a change of the tag, it is a decision, and the last one wins.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::fetch::{Fetcher, Installed};
use super::file::{Desired, Parts, Pull};
use super::{Declaration, DesiredState, Progress};
use crate::{RevisionError, Source, now};

/// A guest and a model, at least one of which is in a registry.
#[derive(Clone, Debug)]
pub struct Tags {
    /// Where they are; `None` for the configured ones.
    pub parts: Parts,
    /// How artifacts are pulled.
    pub pull: Pull,
    /// The public keys of which one must have signed each of them, if there are any.
    pub trust: Vec<PathBuf>,
    /// How often to look up what the tags stand for; `None` to do so at a start only.
    pub every: Option<Duration>,
}

impl Tags {
    fn desired(&self) -> Desired {
        Desired {
            generation: 0,
            live: self.parts.clone(),
            trusted: None,
            trial: None,
            pull: self.pull.clone(),
            trust: self.trust.clone(),
        }
    }
}

impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = [&self.parts.guest, &self.parts.model].into_iter().flatten();
        let artifacts = sources.filter(|source| matches!(source, Source::Artifact(_)));
        for (at, source) in artifacts.enumerate() {
            write!(f, "{}{source}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl DesiredState {
    /// Puts tags in charge. They are not looked up yet.
    pub fn of_tags(tags: Tags) -> Self {
        Self::new_of(Declaration::Tags(Box::new(tags)))
    }

    /// Looks up what the tags stand for. Returns whether that has changed; for a file, whose
    /// changes are orders, it may have.
    pub(super) async fn look_up(&self, installed: &Installed) -> Result<bool, RevisionError> {
        let Declaration::Tags(tags) = &self.declaration else {
            return Ok(true);
        };
        let declared = tags.desired();
        let fetcher = Fetcher::new(&declared, installed)?;
        let live = fetcher.pinned(&declared.live).await?;
        let goal = Arc::new(Desired { live, ..declared });
        let mut progress = self.progress();
        progress.last_fetch = Some(now());
        if progress.goal.as_ref() == Some(&goal) {
            return Ok(false);
        }
        let sources = [&goal.live.guest, &goal.live.model].into_iter().flatten();
        for source in sources {
            tracing::info!(%source, "followed");
        }
        *progress = Progress {
            goal: Some(goal),
            step: progress.step,
            last_fetch: progress.last_fetch,
            ..Progress::default()
        };
        Ok(true)
    }

    /// Waits until the tags are to be looked up again.
    pub(super) async fn wait_to_look_up(&self) {
        let every = match &self.declaration {
            Declaration::Tags(tags) => tags.every.filter(|_| tags.desired().not_pinned().is_some()),
            Declaration::File(_) => None,
        };
        match every {
            Some(every) => {
                // A fleet that was started at once does not ask at once.
                let jitter = every.mul_f64(fastrand::f64() / 4.0);
                tokio::time::sleep(every + jitter).await;
            }
            None => std::future::pending().await,
        }
    }
}
