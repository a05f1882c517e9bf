//! The part of the versions API that tries versions: canaries and shadows.

use axum::Json;
use axum::extract::State;
use revisions::RevisionError;
use rollout::{Share, TrialKind};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Context;
use super::document::{self, Change, Gone};
use super::id::Id;
use super::openapi::{common, declared, example, quarantined, unknown};
use super::query::{CanaryParameters, EndParameters, Query, ShadowParameters};
use super::versions::gone;
use crate::openapi::problems;
use crate::problem::Problem;

/// Serves trials.
pub(super) fn router() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(canary))
        .routes(routes!(shadow))
        .routes(routes!(end_trial))
        .routes(routes!(promote))
}

problems!(TrialProblems, {
    let is_live = RevisionError::IsLive(example("the revision").short());
    common::<ShadowParameters>(
        [unknown(), vec![is_live.into(), quarantined(), declared()]].concat(),
    )
});

/// Let a version answer a share of the texts
#[utoipa::path(
    post,
    path = "/versions/{id}/canary",
    operation_id = "tryAsCanary",
    tag = "Versions",
    params(Id, CanaryParameters),
    responses((status = 200, description = "The trial has begun", body = document::Trial), TrialProblems)
)]
async fn canary(
    id: Id,
    Query(parameters): Query<CanaryParameters>,
    State(context): State<Context>,
) -> Result<Json<document::Trial>, Problem> {
    context.managed.get()?.permit(parameters.overriding)?;
    begin_trial(&context, &id, TrialKind::Canary, parameters.share)
}

/// Give a version copies of texts, and compare its answers
#[utoipa::path(
    post,
    path = "/versions/{id}/shadow",
    operation_id = "tryAsShadow",
    tag = "Versions",
    params(Id, ShadowParameters),
    responses((status = 200, description = "The trial has begun", body = document::Trial), TrialProblems)
)]
async fn shadow(
    id: Id,
    Query(parameters): Query<ShadowParameters>,
    State(context): State<Context>,
) -> Result<Json<document::Trial>, Problem> {
    context.managed.get()?.permit(parameters.overriding)?;
    // All of its answers are dropped.
    let share = parameters.share.unwrap_or(Share::ALL);
    begin_trial(&context, &id, TrialKind::Shadow, share)
}

problems!(
    NoTrialProblems,
    common::<EndParameters>(vec![RevisionError::NoTrial.into(), declared()])
);

/// End the trial
#[utoipa::path(
    delete,
    path = "/trial",
    operation_id = "endTrial",
    tag = "Versions",
    params(EndParameters),
    responses((status = 200, description = "It has ended", body = Gone), NoTrialProblems)
)]
async fn end_trial(
    Query(parameters): Query<EndParameters>,
    State(context): State<Context>,
) -> Result<Json<Gone>, Problem> {
    let versions = context.managed.get()?;
    versions.permit(parameters.overriding)?;
    let version = versions.end_trial()?;
    Ok(gone(&version))
}

/// Make the version on trial live
#[utoipa::path(
    post,
    path = "/trial/promote",
    operation_id = "promote",
    tag = "Versions",
    params(EndParameters),
    responses((status = 200, description = "It is live", body = Change), NoTrialProblems)
)]
async fn promote(
    Query(parameters): Query<EndParameters>,
    State(context): State<Context>,
) -> Result<Json<Change>, Problem> {
    let versions = context.managed.get()?;
    versions.permit(parameters.overriding)?;
    let change = versions.promote()?;
    Ok(Json(Change::from(&change)))
}

fn begin_trial(
    context: &Context,
    id: &Id,
    kind: TrialKind,
    share: Share,
) -> Result<Json<document::Trial>, Problem> {
    let known = id.find(context)?;
    let versions = context.managed.get()?;
    versions.begin_trial(&known.revision, kind, share)?;
    Ok(Json(document::Trial::new(&known.revision, kind, share)))
}
