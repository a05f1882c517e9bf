//! `GET /status`: whether what is in use is what is declared, and what stands in the way.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use revisions::DesiredState;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Managed;
use super::document::Status;
use crate::openapi::problems;
use crate::problem::{Problem, no_version};

/// Whose status it is: `desired` is there before any version is loaded.
#[derive(Clone)]
struct Context {
    managed: Managed,
    desired: Option<Arc<DesiredState>>,
}

/// Serves the status.
pub(super) fn router(managed: Managed, desired: Option<Arc<DesiredState>>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(status))
        .with_state(Context { managed, desired })
}

problems!(StatusProblems, [no_version()]);

/// Whether what is in use is what is declared
///
/// With a rollout file, this is answered before anything is loaded, too.
#[utoipa::path(
    get,
    path = "/status",
    tag = "Operation",
    responses((status = 200, description = "The status", body = Status), StatusProblems)
)]
async fn status(State(context): State<Context>) -> Result<Json<Status>, Problem> {
    let report = match (context.managed.get(), &context.desired) {
        (Ok(versions), _) => versions.report(),
        (Err(_), Some(desired)) => desired.starting(),
        (Err(starting), None) => return Err(starting),
    };
    Ok(Json(Status::from(&report)))
}
