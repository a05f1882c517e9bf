//! The configurations API: receive one.
//!
//! A configuration has no place in a URL, since it may have secrets. So it is sent first, and
//! named by its digest when a version is made with it (`POST /versions?configuration=...`).

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use connection::body::BodyError;
use connection::{NoRoom, Session};
use predictor::{ConfigurationError, ConfigurationValue};
use revisions::RevisionError;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Context;
use super::document::{Changes, ReceivedConfiguration};
use super::id::Id;
use super::openapi::{common, unknown};
use super::query::{ConfigurationParameters, Query};
use crate::media_type::require_json;
use crate::openapi::problems;
use crate::problem::{Kind, Problem};

/// The most bytes of a body: a configuration, and how JSON escapes it.
const LIMIT: usize = 128 << 10;

/// Serves the configurations API.
pub(super) fn router() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(receive))
}

problems!(ReceiveProblems, {
    let text = HeaderMap::from_iter([(
        axum::http::header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain"),
    )]);
    let mut more = vec![
        BodyError::Incomplete.into(),
        BodyError::NoRoom(NoRoom).into(),
        BodyError::TooLarge { limit: LIMIT }.into(),
        RevisionError::Configuration(ConfigurationError::TooLarge(20_000)).into(),
    ];
    more.extend(require_json(&text).err());
    let wrong = [read(b"{").err(), read(b"[]").err()];
    more.extend(wrong.into_iter().flatten());
    common::<ConfigurationParameters>([unknown(), more].concat())
});

/// Send a configuration
///
/// The body is a JSON object: values for keys, or `null` to remove a key (RFC 7396). All keys
/// and values together have at most 16 KiB. Versions are made with the result by its digest.
/// The server forgets it with the versions that have it, unless it is one of the latest.
#[utoipa::path(
    post,
    path = "/configurations",
    operation_id = "sendConfiguration",
    tag = "Versions",
    params(ConfigurationParameters),
    request_body(content = Changes, content_type = "application/json"),
    responses(
        (status = 200, description = "It was known already", body = ReceivedConfiguration),
        (status = 201, description = "It was added", body = ReceivedConfiguration),
        ReceiveProblems,
    )
)]
async fn receive(
    Query(parameters): Query<ConfigurationParameters>,
    State(context): State<Context>,
    Extension(session): Extension<Session>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ReceivedConfiguration>), Problem> {
    require_json(&headers)?;
    let base = match &parameters.base {
        Some(base) => Some(Id::parse(base)?.find(&context)?.revision),
        None => None,
    };
    let whole = context.uploads.read(body, LIMIT, &session).await?;
    let changes = read(&whole.bytes)?.into_iter();
    let changes = changes.map(|(key, value)| (key, value.map(|value| value.0)));
    let versions = context.managed.get()?;
    let (received, is_known) = versions.receive_configuration(base.as_deref(), changes)?;
    let status = if is_known {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let received = ReceivedConfiguration::new(&received, is_known);
    Ok((status, Json(received)))
}

/// Reads a body. The error says where it is wrong, and not what is there, which may be secret.
fn read(body: &[u8]) -> Result<BTreeMap<String, Option<ConfigurationValue>>, Problem> {
    serde_json::from_slice(body).map_err(|error: serde_json::Error| {
        let kind = if error.is_data() {
            Kind::InvalidBody
        } else {
            Kind::InvalidJson
        };
        let detail = format!(
            "the body must be a JSON object whose values are strings, numbers, booleans or null \
             (line {}, column {})",
            error.line(),
            error.column()
        );
        Problem::new(kind, detail)
    })
}
