//! The models API: list models, and upload one.
//!
//! A model is uploaded as a tar archive, which is written to disk as it arrives. It answers
//! nothing until a version has it (`POST /versions?model=...`).

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::{Buf, Bytes};
use connection::body::BodyError;
use http_body_util::BodyExt;
use revisions::{Model, RevisionError};
use tokio::sync::mpsc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Context;
use super::document::{ModelEntry, ModelListing, UploadedModel};
use super::openapi::{common, unavailable};
use super::query::{NoParameters, Query};
use super::uploads::{Form, require_form};
use crate::openapi::problems;
use crate::problem::Problem;

/// How many pieces of a body wait to be written.
const PIECES: usize = 16;

/// Serves the models API.
pub(super) fn router() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(list, upload))
}

problems!(ListProblems, common::<NoParameters>(vec![]));

/// All models that versions can be made with
#[utoipa::path(
    get,
    path = "/models",
    operation_id = "listModels",
    tag = "Versions",
    responses((status = 200, description = "The models", body = ModelListing), ListProblems)
)]
async fn list(
    _: Query<NoParameters>,
    State(context): State<Context>,
) -> Result<Json<ModelListing>, Problem> {
    let versions = context.managed.get()?;
    let known = versions.list();
    let entry = |model: &Arc<Model>| ModelEntry::new(model, &known);
    let models = versions.models().iter().map(entry).collect();
    Ok(Json(ModelListing { models }))
}

problems!(UploadProblems, {
    let headers = |name, value| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
    let mut more = vec![
        BodyError::Incomplete.into(),
        refused().into(),
        RevisionError::NoState.into(),
        unavailable(),
        RevisionError::Ended.into(),
    ];
    let text = headers(CONTENT_TYPE, "text/plain");
    let packed = headers(CONTENT_ENCODING, "gzip");
    more.extend(require_form(&text, Form::Model).err());
    more.extend(require_form(&packed, Form::Model).err());
    common::<NoParameters>(more)
});

fn refused() -> RevisionError {
    RevisionError::ModelRefused("the archive has no files".to_owned())
}

/// Upload a model
///
/// The body is a tar archive of a model directory: of its files, as with `tar -C DIR -c .`.
/// The server keeps it in its state directory, as long as a version has it or it is one of
/// the latest.
#[utoipa::path(
    post,
    path = "/models",
    operation_id = "uploadModel",
    tag = "Versions",
    request_body(content(
        (Vec<u8> = "application/x-tar"),
        (Vec<u8> = "application/octet-stream"),
    )),
    responses(
        (status = 200, description = "It was known already", body = UploadedModel),
        (status = 201, description = "It was added", body = UploadedModel),
        UploadProblems,
    )
)]
async fn upload(
    _: Query<NoParameters>,
    State(context): State<Context>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<UploadedModel>), Problem> {
    require_form(&headers, Form::Model)?;
    let versions = context.managed.get()?;
    let (pieces, receiver) = mpsc::channel(PIECES);
    let receiving = versions.receive_model(Pieces {
        receiver,
        piece: Bytes::new(),
    });
    let (sent, kept) = tokio::join!(send(body, pieces, context.patience()), receiving);
    // What was received of a body that has failed is no archive.
    sent?;
    let (model, is_known) =
        kept.inspect_err(|error| tracing::warn!("a model was not added: {error}"))?;
    let status = if is_known {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, Json(UploadedModel::new(&model, is_known))))
}

/// Sends the pieces of a body on until they are no longer wanted.
async fn send(
    mut body: Body,
    pieces: mpsc::Sender<Bytes>,
    patience: Duration,
) -> Result<(), BodyError> {
    loop {
        let frame = tokio::time::timeout(patience, body.frame()).await;
        let frame = frame.map_err(|_| BodyError::TimedOut { patience })?;
        let Some(frame) = frame else {
            return Ok(());
        };
        let frame = frame.map_err(|_| BodyError::Incomplete)?;
        // Trailers are ignored.
        if let Ok(piece) = frame.into_data()
            && pieces.send(piece).await.is_err()
        {
            return Ok(());
        }
    }
}

/// Reads what is sent, on a thread that may block.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
