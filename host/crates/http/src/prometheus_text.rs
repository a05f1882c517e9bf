//! `GET /metrics`: all metrics of a registry in Prometheus' text format.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use prometheus::{Registry, TextEncoder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::openapi::problems;
use crate::problem::Problem;

/// The media type of the format.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves the metrics of `registry`.
pub(crate) fn router(registry: Registry) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(metrics))
        .with_state(registry)
}

problems!(MetricsProblems, [Problem::failed()]);

/// All metrics, in the text format of Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "Operation",
    responses(
        (status = 200, description = "The metrics", body = String,
            content_type = "text/plain; version=0.0.4; charset=utf-8"),
        MetricsProblems,
    )
)]
async fn metrics(State(registry): State<Registry>) -> Result<impl IntoResponse, Problem> {
    // Some collectors read /proc, which must not hold up the connections of this thread.
    let gathered = tokio::task::spawn_blocking(move || {
        TextEncoder::new().encode_to_string(&registry.gather())
    });
    let text = gathered.await.map_err(|error| {
        tracing::error!(%error, "metrics could not be gathered");
        Problem::failed()
    })?;
    let text = text.map_err(|error| {
        tracing::error!(%error, "metrics could not be written");
        Problem::failed()
    })?;
    Ok(([(CONTENT_TYPE, FORMAT)], text))
}
