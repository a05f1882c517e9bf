//! The document of the status.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use revisions::{ConditionKind, DesiredReport, Report, RoleReport};

use super::configurations::{Shown, shown};
use super::{Name, Trial, time};

/// How a server does: `GET /status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Whether what is in use is what the rollout file declares. Without one: whether the
    /// configured guest can be served.
    pub in_sync: bool,
    /// The version that answers; none before the server is ready.
    #[schema(required = true)]
    pub live: Option<Name>,
    /// The trial that goes on, if one does.
    #[schema(required = true)]
    pub trial: Option<Trial>,
    /// What is declared, if a rollout file is in charge.
    #[schema(required = true)]
    pub rollout: Option<Rollout>,
    /// One of each type.
    pub conditions: Vec<Condition>,
}

/// What a rollout file declares, and how far that has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    /// The file, or the tags of registries that are followed in its place.
    pub file: String,
    /// SHA-256 of the content that was read last.
    #[schema(required = true, pattern = "^[0-9a-f]{64}$")]
    pub file_digest: Option<String>,
    /// Why that content cannot be used, if it cannot. What the one before it declares is
    /// followed then.
    #[schema(required = true)]
    pub file_fault: Option<String>,
    /// The generation that is followed.
    #[schema(required = true)]
    pub generation: Option<u64>,
    /// What that declares.
    pub declared: Vec<Declared>,
    /// What is being done.
    #[schema(required = true)]
    pub step: Option<Step>,
    /// What could not be done.
    pub errors: Vec<StepError>,
    /// When that is tried again, if it is.
    #[schema(required = true, format = DateTime)]
    pub retry_at: Option<String>,
    /// Since when a change by hand takes precedence, if one does.
    #[schema(required = true, format = DateTime)]
    pub overridden_since: Option<String>,
    /// When an artifact that is declared was last pulled, or found to be here.
    #[schema(required = true, format = DateTime)]
    pub last_fetch: Option<String>,
}

/// What a version is declared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// To answer.
    Live,
    /// To answer a share of the texts.
    Canary,
    /// To be given copies of a share of the texts.
    Shadow,
    /// To be fallen back to.
    Trusted,
}

/// What is declared for a role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Declared {
    /// The role.
    pub role: Role,
    /// Where the guest is to be had: a path or a reference; none for the configured one.
    #[schema(required = true)]
    pub guest: Option<String>,
    /// Where the model is to be had; none for the configured one.
    #[schema(required = true)]
    pub model: Option<String>,
    /// What the guest reads, by key; none for what is configured. A value is `null` if it is
    /// secret by the name of its key.
    #[serde(default)]
    #[schema(required = true)]
    pub settings: Option<Shown>,
    /// The share of the texts on which it is tried.
    #[schema(required = true)]
    pub share: Option<f64>,
    /// The revision that this turned out to be.
    #[schema(required = true, pattern = "^[0-9a-f]{64}$")]
    pub revision: Option<String>,
    /// The files of the keys that have signed it.
    pub signed_by: Vec<String>,
}

/// What is being done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// For which role.
    pub role: Role,
    /// `fetch`, `load` or `activate`.
    pub step: String,
    /// Since when.
    #[schema(format = DateTime)]
    pub since: String,
}

/// What could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepError {
    /// For which role.
    pub role: Role,
    /// The step that failed, such as `fetch`, `verify`, `self_test` or `quarantine`.
    pub step: String,
    /// Why.
    pub reason: String,
    /// When it last did.
    #[schema(format = DateTime)]
    pub at: String,
}

/// A condition, as of a Kubernetes object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
// `Condition` is one of the health of a server.
#[schema(as = StatusCondition)]
pub struct Condition {
    /// `Ready`, `Progressing` or `Degraded`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence; may be empty.
    pub message: String,
    /// Since when.
    #[schema(format = DateTime)]
    pub since: String,
}

impl From<revisions::Role> for Role {
    fn from(role: revisions::Role) -> Self {
        match role {
            revisions::Role::Live => Self::Live,
            revisions::Role::Trial(rollout::TrialKind::Canary) => Self::Canary,
            revisions::Role::Trial(rollout::TrialKind::Shadow) => Self::Shadow,
            revisions::Role::Trusted => Self::Trusted,
        }
    }
}

impl From<&Report> for Status {
    fn from(report: &Report) -> Self {
        let status = report.status.as_ref();
        let trial = status.and_then(|status| status.trial.as_ref());
        Self {
            in_sync: report.in_sync,
            live: status.map(|status| Name::from(&*status.live)),
            trial: trial.map(Trial::from),
            rollout: report.desired.as_ref().map(Rollout::from),
            conditions: report.conditions.iter().map(Condition::from).collect(),
        }
    }
}

impl From<&DesiredReport> for Rollout {
    fn from(report: &DesiredReport) -> Self {
        let error = |error: &revisions::ErrorReport| StepError {
            role: error.role.into(),
            step: error.step.to_owned(),
            reason: error.reason.clone(),
            at: time(error.at),
        };
        Self {
            file: report.file.clone(),
            file_digest: report.digest.map(|digest| digest.to_string()),
            file_fault: report.fault.clone(),
            generation: report.generation,
            declared: report.roles.iter().map(Declared::from).collect(),
            step: report.step.map(|step| Step {
                role: step.role.into(),
                step: step.name.to_owned(),
                since: time(step.since),
            }),
            errors: report.errors.iter().map(error).collect(),
            retry_at: report.retry_at.map(time),
            overridden_since: report.overridden_since.map(time),
            last_fetch: report.last_fetch.map(time),
        }
    }
}

impl From<&RoleReport> for Declared {
    fn from(role: &RoleReport) -> Self {
        let revision = role.revision.as_ref();
        let keys = role.signed_by.iter().map(|key| key.display().to_string());
        Self {
            role: role.role.into(),
            guest: role.guest.as_ref().map(ToString::to_string),
            model: role.model.as_ref().map(ToString::to_string),
            settings: role.configuration.as_ref().map(shown),
            share: role.share.map(rollout::Share::get),
            revision: revision.map(|revision| revision.digest().to_string()),
            signed_by: keys.collect(),
        }
    }
}

impl From<&revisions::Condition> for Condition {
    fn from(condition: &revisions::Condition) -> Self {
        let kind = match condition.kind {
            ConditionKind::Ready => "Ready",
            ConditionKind::Progressing => "Progressing",
            ConditionKind::Degraded => "Degraded",
        };
        Self {
            kind: kind.to_owned(),
            status: if condition.holds { "True" } else { "False" }.to_owned(),
            reason: condition.reason.to_owned(),
            message: condition.message.clone(),
            since: time(condition.since),
        }
    }
}
