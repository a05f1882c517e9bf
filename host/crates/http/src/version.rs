//! `GET /version`: what this server is, and which revision makes its answers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use predictor::Revision;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::openapi::problems;
use crate::problem::{self, Problem};

/// Looks up the version that is live.
pub(crate) type Live = Arc<dyn Fn() -> Result<Arc<Revision>, Problem> + Send + Sync>;

/// Serves the version that `live` finds.
pub(crate) fn router(live: Live) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(version))
        .with_state(live)
}

/// What a server is, and what makes its answers.
#[derive(Serialize, ToSchema)]
#[schema(as = Version)]
pub(crate) struct Document {
    /// The name of the program.
    name: &'static str,
    /// The version of the program.
    version: &'static str,
    /// SHA-256 of the live guest component, in hexadecimal digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    guest: String,
    /// SHA-256 over the model directory's files.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    model: String,
    /// SHA-256 over the configuration; that of no bytes if there is none.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    configuration: String,
    /// SHA-256 over the three digests above, which names what makes the answers.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    revision: String,
    /// What people call that, if it has a name.
    #[schema(required = true, pattern = "^[!-~]{1,100}$")]
    revision_name: Option<String>,
}

impl From<&Revision> for Document {
    fn from(live: &Revision) -> Self {
        Self {
            name: "fastsentiment",
            version: env!("CARGO_PKG_VERSION"),
            guest: live.guest().to_string(),
            model: live.model().to_string(),
            configuration: live.configuration().digest().to_string(),
            revision: live.digest().to_string(),
            revision_name: live.name().map(ToString::to_string),
        }
    }
}

problems!(VersionProblems, [problem::no_version()]);

/// What this server is, and what makes its answers
#[utoipa::path(
    get,
    path = "/version",
    tag = "Operation",
    responses((status = 200, description = "The version", body = Document), VersionProblems)
)]
async fn version(State(live): State<Live>) -> Result<Json<Document>, Problem> {
    Ok(Json(Document::from(&*live()?)))
}
