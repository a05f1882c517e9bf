//! The rollout file, and how far what it declares has come.
//!
//! The file says what should run, and nothing about how to get there. It is watched like a
//! guest's file, and each usable content of it is an order to reconcile (`reconcile.rs`): to
//! fetch, verify, load and test what it names, and then to change what is in use, one step at
//! a time. A newer order ends the one before. What cannot be done leaves what serves; it is
//! tried again if it may succeed later, and reported in any case (`report.rs`).
//!
//! While a file is in charge, a change by hand is an *override*: it needs to be asked for as
//! such, and lasts until the file changes or somebody has it followed again.

pub(crate) mod fetch;
pub(crate) mod file;
mod reconcile;
mod report;
mod tags;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use predictor::{Digest, Revision};
use rollout::TrialKind;
use tokio::sync::watch;

use crate::{RevisionError, now};
use fetch::Installed;
use file::{Desired, DesiredError};
pub(crate) use report::Conditions;
pub use report::{
    Condition, ConditionKind, DesiredReport, ErrorReport, Report, RoleReport, StepReport,
};
pub use tags::Tags;

/// What a revision is declared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To answer.
    Live,
    /// To be tried beside the live one.
    Trial(TrialKind),
    /// To be fallen back to.
    Trusted,
}

impl Role {
    /// The name of its table in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Trial(trial) => trial.name(),
            Self::Trusted => "trusted",
        }
    }
}

/// What is in charge.
enum Declaration {
    /// A rollout file.
    File(PathBuf),
    /// Tags of the command line.
    Tags(Box<Tags>),
}

impl fmt::Display for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Tags(tags) => tags.fmt(f),
        }
    }
}

/// A rollout file or tags that are in charge, and how far that has come. Whoever has it sees
/// the same.
pub struct DesiredState {
    declaration: Declaration,
    progress: Mutex<Progress>,
    /// Counts the orders to reconcile.
    orders: watch::Sender<u64>,
    /// The last order that was carried out, as far as it could be.
    carried_out: watch::Sender<u64>,
}

#[derive(Default)]
struct Progress {
    /// The digest of the content that was read last, whether it can be used or not.
    digest: Option<Digest>,
    /// Why that content cannot be used.
    fault: Option<String>,
    /// A content that would be used if all its references had digests.
    not_pinned: Option<Arc<Desired>>,
    /// The last content that can be used.
    goal: Option<Arc<Desired>>,
    /// What was found to be in a role.
    found: Vec<Found>,
    /// What is being done.
    step: Option<Step>,
    /// What could not be done.
    errors: Vec<Error>,
    retry_at: Option<SystemTime>,
    overridden: Option<SystemTime>,
    last_fetch: Option<SystemTime>,
}

#[derive(Clone)]
struct Found {
    role: Role,
    revision: Arc<Revision>,
    signed_by: Vec<PathBuf>,
}

#[derive(Clone, Copy)]
struct Step {
    role: Role,
    name: &'static str,
    since: SystemTime,
}

#[derive(Clone)]
struct Error {
    role: Role,
    step: &'static str,
    reason: String,
    at: SystemTime,
}

impl DesiredState {
    /// Puts a rollout file in charge. It is not read yet.
    pub fn new(path: PathBuf) -> Self {
        let path = std::path::absolute(&path).unwrap_or(path);
        Self::new_of(Declaration::File(path))
    }

    fn new_of(declaration: Declaration) -> Self {
        Self {
            declaration,
            progress: Mutex::default(),
            orders: watch::Sender::default(),
            carried_out: watch::Sender::default(),
        }
    }

    /// The file, if it is one that is in charge.
    pub fn path(&self) -> Option<&Path> {
        match &self.declaration {
            Declaration::File(path) => Some(path),
            Declaration::Tags(_) => None,
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a content of the file at `path`. The same one as before is no news.
    pub(crate) fn take(&self, content: &[u8], path: &Path) {
        let digest = Digest::of(content);
        let mut progress = self.progress();
        let is_news = progress.digest.replace(digest) != Some(digest);
        if !is_news && progress.fault.is_none() {
            return;
        }
        let desired = Desired::parse(content, path).map(Arc::new);
        progress.not_pinned = None;
        match desired {
            Ok(desired) => match desired.not_pinned() {
                Some(reference) => {
                    let error = DesiredError::NotPinned(reference.clone());
                    progress.not_pinned = Some(Arc::clone(&desired));
                    self.refuse(&mut progress, error.to_string());
                    drop(progress);
                    self.order();
                }
                None => {
                    let generation = desired.generation;
                    *progress = Progress {
                        digest: progress.digest,
                        goal: Some(desired),
                        step: progress.step,
                        last_fetch: progress.last_fetch,
                        ..Progress::default()
                    };
                    drop(progress);
                    tracing::info!(generation, "the rollout file is followed");
                    self.order();
                }
            },
            Err(error) => self.refuse(&mut progress, error.to_string()),
        }
    }

    /// Records that the file cannot be used as it is.
    pub(crate) fn cannot_be_used(&self, reason: String) {
        self.refuse(&mut self.progress(), reason);
    }

    fn refuse(&self, progress: &mut Progress, reason: String) {
        if progress.fault.as_ref() != Some(&reason) {
            let declaration = &self.declaration;
            tracing::error!("THE ROLLOUT FILE {declaration} CANNOT BE FOLLOWED: {reason}");
        }
        progress.fault = Some(reason);
    }

    /// What should run, unless somebody has chosen otherwise.
    fn goal(&self) -> Option<Arc<Desired>> {
        let progress = self.progress();
        let goal = progress.goal.as_ref();
        goal.filter(|_| progress.overridden.is_none()).cloned()
    }

    /// What should run at a start.
    pub(crate) async fn at_start(&self, installed: &Installed) -> Option<Arc<Desired>> {
        match &self.declaration {
            Declaration::File(path) => match crate::file::read(path, file::MOST_BYTES) {
                Ok((content, _)) => self.take(&content, path),
                Err(unfit) => self.cannot_be_used(DesiredError::from(unfit).to_string()),
            },
            Declaration::Tags(_) => {
                self.begin(Role::Live, "fetch");
                if let Err(error) = self.look_up(installed).await {
                    self.failed(Role::Live, &error);
                }
            }
        }
        self.goal()
    }

    /// Has the file followed, even if it was before.
    fn order(&self) -> u64 {
        self.orders.send_modify(|orders| *orders += 1);
        *self.orders.borrow()
    }

    pub(crate) fn begin(&self, role: Role, name: &'static str) {
        let since = now();
        self.progress().step = Some(Step { role, name, since });
    }

    pub(crate) fn found(&self, role: Role, revision: &Arc<Revision>, signed_by: Vec<PathBuf>) {
        let mut progress = self.progress();
        progress.found.retain(|found| found.role != role);
        progress.found.push(Found {
            role,
            revision: Arc::clone(revision),
            signed_by,
        });
    }

    fn revision(&self, role: Role) -> Option<Arc<Revision>> {
        let progress = self.progress();
        let mut found = progress.found.iter();
        let found = found.find(|found| found.role == role)?;
        Some(Arc::clone(&found.revision))
    }

    pub(crate) fn has_fetched(&self) {
        self.progress().last_fetch = Some(now());
    }

    /// Records that a role is as it should be.
    fn done(&self, role: Role) {
        self.progress().errors.retain(|error| error.role != role);
    }

    /// Records that something could not be done.
    pub(crate) fn failed(&self, role: Role, error: &RevisionError) {
        let mut progress = self.progress();
        let step = match error {
            RevisionError::Refused(refusal) => refusal.step,
            RevisionError::Quarantined { .. } => "quarantine",
            RevisionError::Unreadable { .. } => "fetch",
            _ => progress.step.map_or("load", |step| step.name),
        };
        let reason = match error {
            RevisionError::Refused(refusal) => refusal.reason.clone(),
            error => error.to_string(),
        };
        let is_same = |known: &Error| known.role == role && known.reason == reason;
        if !progress.errors.iter().any(is_same) {
            let role = role.name();
            tracing::warn!(
                role,
                step,
                "what is declared cannot be followed, and what serves stays: {reason}"
            );
        }
        progress.errors.retain(|known| known.role != role);
        progress.errors.push(Error {
            role,
            step,
            reason,
            at: now(),
        });
    }

    /// Records a change by hand.
    pub(crate) fn overridden(&self) {
        let mut progress = self.progress();
        if progress.overridden.is_none() {
            if let Declaration::Tags(tags) = &self.declaration {
                tracing::info!("a change by hand lasts until {tags} stands for something else");
            } else {
                tracing::warn!("THE ROLLOUT FILE IS OVERRIDDEN until it changes or is reloaded");
            }
            progress.overridden = Some(now());
        }
        (progress.step, progress.retry_at) = (None, None);
        drop(progress);
        self.order();
    }

    /// Follows the file again after a change by hand or of what it names, and waits until that
    /// is done as far as it can be. The error is why the live revision is not what it should
    /// be.
    pub(crate) async fn resume(&self) -> Result<(), RevisionError> {
        {
            let mut progress = self.progress();
            progress.overridden = None;
            // Files are read again.
            progress.found.clear();
        }
        let order = self.order();
        let mut carried_out = self.carried_out.subscribe();
        // The sender is here.
        let _ = carried_out.wait_for(|done| *done >= order).await;
        let progress = self.progress();
        if let Some(fault) = &progress.fault {
            return Err(RevisionError::Unreadable {
                path: self.declaration.to_string().into(),
                reason: fault.clone(),
            });
        }
        let mut errors = progress.errors.iter();
        let error = errors.find(|error| error.role == Role::Live);
        error.map_or(Ok(()), |error| {
            Err(crate::Refusal {
                step: error.step,
                reason: error.reason.clone(),
            }
            .into())
        })
    }
}

impl fmt::Debug for DesiredState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DesiredState({})", self.declaration)
    }
}
