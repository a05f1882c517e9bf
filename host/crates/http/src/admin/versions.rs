//! The versions API: list, add, try and change versions.

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::extract::{Extension, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;
use connection::body::BodyError;
use connection::{NoRoom, Session};
use predictor::{Configuration, Revision};
use revisions::{Guest, Origin, RevisionError};
use rollout::TrialKind;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Context;
use super::document::{self, Added, Change, Entry, Gone, Listing, Name};
use super::id::Id;
use super::openapi::{common, declared, example, quarantined, refused, unavailable, unknown};
use super::query::{
    ActivateParameters, AddParameters, NoParameters, Query, RollbackParameters, invalid,
};
use super::uploads::{Form, require_form};
use crate::openapi::problems;
use crate::problem::Problem;

/// Serves the versions.
pub(super) fn router() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(show, remove))
        .routes(routes!(activate))
        .routes(routes!(rollback))
        .routes(routes!(reload))
}

problems!(ListProblems, common::<NoParameters>(vec![]));

/// All versions, and which is used for what
#[utoipa::path(
    get,
    path = "/versions",
    operation_id = "listVersions",
    tag = "Versions",
    responses((status = 200, description = "The versions", body = Listing), ListProblems)
)]
async fn list(
    _: Query<NoParameters>,
    State(context): State<Context>,
) -> Result<Json<Listing>, Problem> {
    let versions = context.managed.get()?;
    Ok(Json(Listing::new(
        &versions.status(),
        &versions.list(),
        versions.configured_fault(),
    )))
}

problems!(AddProblems, {
    let text = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
    let mut more = vec![
        BodyError::Incomplete.into(),
        BodyError::NoRoom(NoRoom).into(),
        refused(),
        unavailable(),
        quarantined(),
        declared(),
        RevisionError::IsLive(example("the revision").short()).into(),
        RevisionError::Unknown("0123456789ab".to_owned()).into(),
        RevisionError::UnknownModel("0123456789ab".to_owned()).into(),
        RevisionError::AmbiguousModel("0123".to_owned()).into(),
        RevisionError::UnknownConfiguration("0123456789ab".to_owned()).into(),
        RevisionError::OtherName {
            revision: example("the revision").short(),
            name: None,
        }
        .into(),
        RevisionError::Ended.into(),
    ];
    more.extend(require_form(&text, Form::Component).err());
    common::<AddParameters>(more)
});

/// Add a version, and make it live or try it
///
/// The body is the guest's component, or empty if `guest` names a guest that is known. Only
/// one of `activate`, `canary` and `shadow` can be given. If the client leaves before
/// the version is ready, it is added and nothing more.
#[utoipa::path(
    post,
    path = "/versions",
    operation_id = "addVersion",
    tag = "Versions",
    params(AddParameters),
    request_body(content(
        (Vec<u8> = "application/wasm"),
        (Vec<u8> = "application/octet-stream"),
    )),
    responses(
        (status = 200, description = "It was known already", body = Added),
        (status = 201, description = "It was added", body = Added,
            headers(("Location" = String, description = "Where it is."))),
        AddProblems,
    )
)]
async fn add(
    Query(then): Query<AddParameters>,
    State(context): State<Context>,
    Extension(session): Extension<Session>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Option<[(HeaderName, String); 1]>, Json<Added>), Problem> {
    // Before seconds are spent on a request that is wrong anyway.
    let trial = match (then.activate, then.canary, then.shadow) {
        (_, None, None) => None,
        (false, Some(share), None) => Some((TrialKind::Canary, share)),
        (false, None, Some(share)) => Some((TrialKind::Shadow, share)),
        _ => {
            return Err(invalid(
                "only one of `activate`, `canary` and `shadow` can be given",
            ));
        }
    };
    let versions = context.managed.get()?;
    if then.activate || trial.is_some() {
        versions.permit(then.overriding)?;
    }
    let model = versions.model(then.model.as_deref())?;
    let configuration = versions.configuration(then.configuration.as_deref())?;
    let guest = match &then.guest {
        Some(guest) => versions.guest(Some(guest))?,
        None => Guest {
            component: Bytes::new(),
            origin: Origin::Upload,
            configuration: Configuration::NONE,
            name: None,
        },
    };
    let guest = Guest {
        configuration,
        name: then.name,
        ..guest
    };
    let added = match &then.guest {
        Some(_) if body.is_end_stream() => versions.add(guest, model).await?,
        Some(_) => return Err(invalid("with `guest`, the body must be empty")),
        None => {
            let uploads = &context.uploads;
            uploads
                .add(versions, guest, model, &headers, body, &session)
                .await?
        }
    };
    let revision = &added.revision;
    let mut document = Added::from(&added);
    if let Some((trial, share)) = trial {
        versions.begin_trial(revision, trial, share)?;
        document.trial = Some(document::Trial::new(revision, trial, share));
    } else if then.activate {
        document.change = Some(Change::from(&versions.activate(revision, false)?));
    }
    Ok(if added.known {
        (StatusCode::OK, None, Json(document))
    } else {
        let location = format!("/versions/{}", revision.digest());
        (
            StatusCode::CREATED,
            Some([(LOCATION, location)]),
            Json(document),
        )
    })
}

problems!(ShowProblems, common::<NoParameters>(unknown()));

/// One version
#[utoipa::path(
    get,
    path = "/versions/{id}",
    operation_id = "showVersion",
    tag = "Versions",
    params(Id),
    responses((status = 200, description = "The version", body = Entry), ShowProblems)
)]
async fn show(
    id: Id,
    _: Query<NoParameters>,
    State(context): State<Context>,
) -> Result<Json<Entry>, Problem> {
    let known = id.find(&context)?;
    let versions = context.managed.get()?;
    Ok(Json(Entry::new(&versions.status(), &known)))
}

problems!(RemoveProblems, {
    let in_use = RevisionError::InUse(example("the revision").short());
    common::<NoParameters>([unknown(), vec![in_use.into()]].concat())
});

/// Remove a version that is not in use
#[utoipa::path(
    delete,
    path = "/versions/{id}",
    operation_id = "removeVersion",
    tag = "Versions",
    params(Id),
    responses((status = 200, description = "It is removed", body = Gone), RemoveProblems)
)]
async fn remove(
    id: Id,
    _: Query<NoParameters>,
    State(context): State<Context>,
) -> Result<Json<Gone>, Problem> {
    let known = id.find(&context)?;
    context.managed.get()?.remove(&known.revision)?;
    Ok(gone(&known.revision))
}

problems!(ActivateProblems, {
    common::<ActivateParameters>([unknown(), vec![quarantined(), declared()]].concat())
});

/// Make a version live
#[utoipa::path(
    post,
    path = "/versions/{id}/activate",
    operation_id = "activateVersion",
    tag = "Versions",
    params(Id, ActivateParameters),
    responses((status = 200, description = "It is live", body = Change), ActivateProblems)
)]
async fn activate(
    id: Id,
    Query(parameters): Query<ActivateParameters>,
    State(context): State<Context>,
) -> Result<Json<Change>, Problem> {
    let known = id.find(&context)?;
    let versions = context.managed.get()?;
    versions.permit(parameters.overriding)?;
    let change = versions.activate(&known.revision, parameters.force)?;
    Ok(Json(Change::from(&change)))
}

problems!(RollbackProblems, {
    let mut more = unknown();
    more.extend([
        declared(),
        RevisionError::NothingBefore.into(),
        RevisionError::NotLive {
            given: example("another revision").short(),
            live: example("the revision").short(),
        }
        .into(),
    ]);
    common::<RollbackParameters>(more)
});

/// Go back to the version that was live before
#[utoipa::path(
    post,
    path = "/rollback",
    operation_id = "rollback",
    tag = "Versions",
    params(RollbackParameters),
    responses((status = 200, description = "It is live", body = Change), RollbackProblems)
)]
async fn rollback(
    Query(parameters): Query<RollbackParameters>,
    State(context): State<Context>,
) -> Result<Json<Change>, Problem> {
    let from = match parameters.from {
        Some(from) => Some(Id::parse(&from)?.find(&context)?.revision),
        None => None,
    };
    let versions = context.managed.get()?;
    versions.permit(parameters.overriding)?;
    Ok(Json(Change::from(&versions.rollback(from.as_deref())?)))
}

problems!(
    ReloadProblems,
    common::<NoParameters>(vec![
        refused(),
        unavailable(),
        RevisionError::Overtaken {
            revision: example("another revision").short(),
            live: example("the revision").short(),
        }
        .into(),
        quarantined(),
        RevisionError::Unreadable {
            path: "guest.wasm".into(),
            reason: "No such file or directory (os error 2)".to_owned(),
        }
        .into(),
        RevisionError::Ended.into(),
    ])
);

/// Read the configured guest and model again, and make them live
///
/// With a rollout file, that is followed again instead, which ends an override.
#[utoipa::path(
    post,
    path = "/reload",
    operation_id = "reload",
    tag = "Versions",
    responses((status = 200, description = "It is live", body = Added), ReloadProblems)
)]
async fn reload(
    _: Query<NoParameters>,
    State(context): State<Context>,
) -> Result<Json<Added>, Problem> {
    let (added, change) = context.managed.get()?.reload().await?;
    Ok(Json(Added {
        change: Some(Change::from(&change)),
        ..Added::from(&added)
    }))
}

pub(super) fn gone(revision: &Revision) -> Json<Gone> {
    let version = Name::from(revision);
    Json(Gone { version })
}
