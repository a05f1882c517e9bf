//! Tells how far what is declared has come, in the terms of Kubernetes' conditions.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use predictor::{Configuration, Digest, Revision, Router};
use rollout::{Share, Status};

use super::file::{Desired, Parts};
use super::{DesiredState, Progress, Role};
use crate::control::Revisions;
use crate::metrics::Held;
use crate::registry::Registry;
use crate::{Source, now};

/// How a server does.
#[derive(Clone, Debug)]
pub struct Report {
    /// What is declared, if a rollout file is in charge.
    pub desired: Option<DesiredReport>,
    /// Whether what is in use is what is declared. Without a file: whether the configured
    /// guest can be served.
    pub in_sync: bool,
    /// What is in use; `None` before the server serves.
    pub status: Option<Status>,
    /// The conditions: one of each kind.
    pub conditions: [Condition; 3],
}

/// What a rollout file declares, and how far that has come.
#[derive(Clone, Debug)]
pub struct DesiredReport {
    /// The file, or the tags that are followed in its place.
    pub file: String,
    /// SHA-256 of the content that was read last.
    pub digest: Option<Digest>,
    /// Why that content cannot be used; what the one before it declares is followed then.
    pub fault: Option<String>,
    /// The generation that is followed.
    pub generation: Option<u64>,
    /// What is declared for each role.
    pub roles: Vec<RoleReport>,
    /// What is being done.
    pub step: Option<StepReport>,
    /// What could not be done.
    pub errors: Vec<ErrorReport>,
    /// When that is tried again, if it is.
    pub retry_at: Option<SystemTime>,
    /// Since when changes by hand take precedence, if they do.
    pub overridden_since: Option<SystemTime>,
    /// When something was last had from a registry, or found to be here already.
    pub last_fetch: Option<SystemTime>,
}

/// What is declared for a role.
#[derive(Clone, Debug)]
pub struct RoleReport {
    /// The role.
    pub role: Role,
    /// Where the guest is to be had; `None` for the configured one.
    pub guest: Option<Source>,
    /// Where the model is to be had; `None` for the configured one.
    pub model: Option<Source>,
    /// What the guest is told when it asks for its configuration; `None` for what is
    /// configured.
    pub configuration: Option<Configuration>,
    /// The share of a trial.
    pub share: Option<Share>,
    /// The revision that this turned out to be.
    pub revision: Option<Arc<Revision>>,
    /// The keys that have signed it.
    pub signed_by: Vec<PathBuf>,
}

/// What is being done.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// For which role.
    pub role: Role,
    /// `fetch`, `load` or `activate`.
    pub name: &'static str,
    /// Since when.
    pub since: SystemTime,
}

/// What could not be done.
#[derive(Clone, Debug)]
pub struct ErrorReport {
    /// For which role.
    pub role: Role,
    /// The step that failed, such as `verify`.
    pub step: &'static str,
    /// Why.
    pub reason: String,
    /// When.
    pub at: SystemTime,
}

/// A condition, as of a Kubernetes object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Of which kind.
    pub kind: ConditionKind,
    /// Whether it holds.
    pub holds: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
    /// Since when.
    pub since: SystemTime,
}

/// The kinds of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionKind {
    /// The server answers.
    Ready,
    /// Something is being done, or will be tried again.
    Progressing,
    /// What is declared is not what is in use, and waiting does not help.
    Degraded,
}

/// The conditions at the last report, and since when they are so.
#[derive(Debug, Default)]
pub(crate) struct Conditions([Option<(bool, SystemTime)>; 3]);

/// Whether a condition holds, and why.
type Verdict = (bool, &'static str, String);

impl Conditions {
    fn update(&mut self, [ready, progressing, degraded]: [Verdict; 3]) -> [Condition; 3] {
        let mut kept = self.0.iter_mut();
        [
            (ConditionKind::Ready, ready),
            (ConditionKind::Progressing, progressing),
            (ConditionKind::Degraded, degraded),
        ]
        .map(|(kind, (holds, reason, message))| {
            let mut since = now();
            if let Some(kept) = kept.next() {
                match kept {
                    Some((held, before)) if *held == holds => since = *before,
                    _ => *kept = Some((holds, since)),
                }
            }
            Condition {
                kind,
                holds,
                reason,
                message,
                since,
            }
        })
    }
}

impl DesiredState {
    /// How a server does that does not serve yet.
    pub fn starting(&self) -> Report {
        let progress = self.progress();
        let message = match &progress.step {
            Some(step) => format!("{}: {}", step.role.name(), step.name),
            None => "the model and the guest are being loaded".to_owned(),
        };
        let verdicts = [
            (false, "Starting", "nothing is loaded yet".to_owned()),
            (true, "Starting", message),
            degraded(&progress, None),
        ];
        Report {
            desired: Some(self.report(&progress)),
            in_sync: false,
            status: None,
            conditions: Conditions::default().update(verdicts),
        }
    }

    fn report(&self, progress: &Progress) -> DesiredReport {
        let goal = progress.goal.as_deref();
        DesiredReport {
            file: self.declaration.to_string(),
            digest: progress.digest,
            fault: progress.fault.clone(),
            generation: goal
                .filter(|_| self.path().is_some())
                .map(|goal| goal.generation),
            roles: goal.map_or_else(Vec::new, |goal| roles(goal, progress)),
            step: progress.step.map(|step| StepReport {
                role: step.role,
                name: step.name,
                since: step.since,
            }),
            errors: progress.errors.iter().map(error).collect(),
            retry_at: progress.retry_at,
            overridden_since: progress.overridden,
            last_fetch: progress.last_fetch,
        }
    }

    /// When something was last had from a registry, and the generation that is followed.
    pub(crate) fn figures(&self) -> (Option<SystemTime>, Option<u64>) {
        let progress = self.progress();
        let goal = progress.goal.as_ref();
        (progress.last_fetch, goal.map(|goal| goal.generation))
    }
}

fn error(error: &super::Error) -> ErrorReport {
    ErrorReport {
        role: error.role,
        step: error.step,
        reason: error.reason.clone(),
        at: error.at,
    }
}

fn roles(goal: &Desired, progress: &Progress) -> Vec<RoleReport> {
    let role = |role, parts: &Parts, share| {
        let mut found = progress.found.iter();
        let found = found.find(|found| found.role == role);
        RoleReport {
            role,
            guest: parts.guest.clone(),
            model: parts.model.clone(),
            configuration: parts.configuration.clone(),
            share,
            revision: found.map(|found| Arc::clone(&found.revision)),
            signed_by: found.map_or_else(Vec::new, |found| found.signed_by.clone()),
        }
    };
    let trusted = goal.trusted.as_ref();
    let trial = goal.trial.as_ref();
    std::iter::once(role(Role::Live, &goal.live, None))
        .chain(trial.map(|trial| role(Role::Trial(trial.kind), &trial.parts, Some(trial.share))))
        .chain(trusted.map(|trusted| role(Role::Trusted, trusted, None)))
        .collect()
}

/// Whether what is declared is not what is in use, for a reason that waiting does not mend.
fn degraded(progress: &Progress, registry: Option<&Registry>) -> Verdict {
    if let Some(fault) = &progress.fault {
        return (true, "FileRefused", fault.clone());
    }
    if progress.overridden.is_some() {
        let message =
            "a change by hand takes precedence until what is declared changes or is reloaded";
        return (true, "Overridden", message.to_owned());
    }
    if let Some(error) = progress.errors.first() {
        let reason = match error.step {
            "quarantine" => "Quarantined",
            "fetch" => "NotFetched",
            "verify" => "NotVerified",
            _ => "NotLoaded",
        };
        let message = format!("{}: {}: {}", error.role.name(), error.step, error.reason);
        return (true, reason, message);
    }
    let quarantined = progress.found.iter().find_map(|found| {
        let entry = registry?.quarantine.find(&found.revision)?;
        Some(format!("{}: {}", found.role.name(), entry.reason))
    });
    match quarantined {
        Some(reason) => (true, "Quarantined", reason),
        None => (false, "AsDeclared", String::new()),
    }
}

fn progressing(progress: &Progress) -> Verdict {
    match (&progress.step, progress.retry_at) {
        (Some(step), _) => {
            let message = format!("{}: {}", step.role.name(), step.name);
            (true, "Reconciling", message)
        }
        (None, Some(_)) => (
            true,
            "WaitingToRetry",
            "what failed is tried again".to_owned(),
        ),
        (None, None) => (false, "Settled", String::new()),
    }
}

impl Revisions {
    /// How the server does.
    pub fn report(&self) -> Report {
        let registry = self.registry();
        let status = self.rollout.status();
        let ready = (true, "Serving", format!("{} answers", status.live.short()));
        let in_sync = self.is_in_sync(&registry);
        let (desired, verdicts) = if let Some(desired) = &self.options.rollout {
            let progress = desired.progress();
            let verdicts = [
                ready,
                progressing(&progress),
                degraded(&progress, Some(&registry)),
            ];
            (Some(desired.report(&progress)), verdicts)
        } else {
            let idle = (false, "NothingDeclared", String::new());
            let degraded = match registry.fault(&status.live) {
                Some(fault) => (true, "ConfiguredGuestNotServed", fault),
                None => (false, "AsConfigured", String::new()),
            };
            (None, [ready, idle, degraded])
        };
        let conditions = self.conditions.lock();
        let mut conditions = conditions.unwrap_or_else(PoisonError::into_inner);
        Report {
            desired,
            in_sync,
            status: Some(status),
            conditions: conditions.update(verdicts),
        }
    }

    /// Whether what is in use is what is declared, or, without a rollout file, whether the
    /// configured guest can be served.
    pub(crate) fn is_in_sync(&self, registry: &Registry) -> bool {
        match &self.options.rollout {
            Some(desired) => self.is_as_desired(desired),
            None => registry.fault(&self.rollout.live()).is_none(),
        }
    }

    /// Publishes what there is, and how far what is declared has come.
    pub(crate) fn publish(&self, registry: &Registry) {
        let fault = registry.fault(&self.rollout.live());
        let desired = self.options.rollout.as_ref();
        let (last_fetch, generation) = desired.map_or((None, None), |desired| desired.figures());
        self.metrics.hold(Held {
            revisions: registry.entries.len(),
            models: registry.loaded_models(),
            quarantined: registry.quarantine.list().len(),
            is_unserved: fault.is_some(),
            is_in_sync: self.is_in_sync(registry),
            generation: generation.unwrap_or_default(),
            last_fetch,
        });
    }
}
