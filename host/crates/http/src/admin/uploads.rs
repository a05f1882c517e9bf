//! Receives components from clients: no more of them at a time than there is memory for,
//! whatever becomes of the clients.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use connection::body::Whole;
use connection::{Memory, Session};
use revisions::{Added, Guest, Model, RevisionError, Revisions};

use crate::media_type::unsupported;
use crate::problem::Problem;

/// How many components of the largest size may be in memory: one that is loaded, and
/// those that wait for it.
const AT_A_TIME: usize = 4;

/// Limits on components that clients send.
pub struct Uploads {
    memory: Memory,
    max_bytes: usize,
    patience: Duration,
}

impl Uploads {
    /// Components of at most `max_bytes`, which may take `patience` to arrive.
    pub fn new(max_bytes: usize, patience: Duration) -> Self {
        // Each takes a little beside its bytes.
        let room = max_bytes.saturating_add(64 * 1024);
        Self {
            memory: Memory::undivided(room.saturating_mul(AT_A_TIME)),
            max_bytes,
            patience,
        }
    }

    /// The size of the largest component, and how long it may take to arrive.
    pub(super) fn limits(&self) -> (usize, Duration) {
        (self.max_bytes, self.patience)
    }

    /// Receives a body of at most `limit` bytes.
    pub(super) async fn read(
        &self,
        body: Body,
        limit: usize,
        session: &Session,
    ) -> Result<Whole, Problem> {
        let whole = session.read_body(body, None, limit, self.patience, &self.memory);
        Ok(whole.await?)
    }

    /// Adds a version of a model and the component in a body, even if the client leaves after
    /// sending it.
    pub(super) async fn add(
        &self,
        versions: &Arc<Revisions>,
        guest: Guest,
        model: Arc<Model>,
        headers: &HeaderMap,
        body: Body,
        session: &Session,
    ) -> Result<Added, Problem> {
        require_form(headers, Form::Component)?;
        let Whole { bytes, reservation } = self.read(body, self.max_bytes, session).await?;
        let versions = Arc::clone(versions);
        // The memory is reserved for as long as the component is there, even if nobody
        // waits for it any more.
        let adding = tokio::spawn(async move {
            let guest = Guest {
                component: bytes.into(),
                ..guest
            };
            let added = versions.add(guest, model).await;
            drop(reservation);
            added
        });
        let added = adding.await.unwrap_or(Err(RevisionError::Ended));
        Ok(added.inspect_err(|error| tracing::warn!("an upload was not added: {error}"))?)
    }
}

/// What is uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A WebAssembly component.
    Component,
    /// A tar archive of a model directory.
    Model,
}

/// Accepts what is uploaded by its media type, bytes of any kind, and a request without
/// `Content-Type`. The error says what to send instead.
pub(super) fn require_form(headers: &HeaderMap, form: Form) -> Result<(), Problem> {
    let (media_type, wanted) = match form {
        Form::Component => (
            "application/wasm",
            "the body must be a WebAssembly component: send the header `Content-Type: \
             application/wasm` (with curl: `-H 'Content-Type: application/wasm' \
             --data-binary @FILE`)",
        ),
        Form::Model => (
            "application/x-tar",
            "the body must be a tar archive of a model directory: send the header \
             `Content-Type: application/x-tar` (with curl: `tar -C DIR -c . | curl -H \
             'Content-Type: application/x-tar' -T - -X POST`)",
        ),
    };
    if let Some(value) = headers.get(CONTENT_TYPE) {
        let value = value.to_str().unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default().trim();
        let known = [media_type, "application/octet-stream"];
        if !known
            .iter()
            .any(|known| essence.eq_ignore_ascii_case(known))
        {
            return Err(unsupported(wanted));
        }
    }
    match headers.get(CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => Err(unsupported(
            "the body must not be compressed: send it without `Content-Encoding`",
        )),
        _ => Ok(()),
    }
}
