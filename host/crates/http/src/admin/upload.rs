//! Takes components from clients: no more of them at a time than there is room
//! for, whatever becomes of the clients.
//!
//! This module must not know what is done with a version.

use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};

use crate::body::{self, Whole};
use crate::memory::Memory;
use crate::problem::{Kind, Problem};
use revisions::{Added, Origin, RevisionError, Revisions};

/// How many components of the largest size may be here at a time: one that is
/// loaded, and those that wait for it.
const AT_A_TIME: usize = 4;

/// The bounds on components that clients send.
pub struct Uploads {
    memory: Memory,
    max_bytes: usize,
    patience: Duration,
}

impl Uploads {
    /// Components of at most `max_bytes`, which may take until `patience` is over
    /// to arrive.
    pub fn new(max_bytes: usize, patience: Duration) -> Self {
        // A little is taken beside each.
        let room = max_bytes.saturating_add(64 * 1024);
        Self {
            memory: Memory::new(room.saturating_mul(AT_A_TIME)),
            max_bytes,
            patience,
        }
    }

    /// The size of the largest component, and how long it may take to arrive.
    pub(super) fn bounds(&self) -> (usize, Duration) {
        (self.max_bytes, self.patience)
    }

    /// Adds the component in a body. It is added even if the client leaves once
    /// it has sent it all.
    pub(super) async fn add(
        &self,
        versions: &Arc<Revisions>,
        headers: &HeaderMap,
        body: &mut Incoming,
    ) -> Result<Added, Problem> {
        require_component(headers)
            .map_err(|detail| Problem::new(Kind::UnsupportedMediaType, detail))?;
        let Whole { bytes, held } =
            body::read(body, self.max_bytes, self.patience, &self.memory).await?;
        let versions = Arc::clone(versions);
        // The room is taken for as long as the component is there, and so also
        // when nobody waits for it any more.
        let adding = tokio::spawn(async move {
            let added = versions.add(bytes, Origin::Upload).await;
            drop(held);
            added
        });
        let added = adding.await.unwrap_or(Err(RevisionError::Ended));
        Ok(added.inspect_err(|error| tracing::warn!("an upload was not added: {error}"))?)
    }
}

/// Accepts WebAssembly, bytes of any kind, and a request that does not say. The
/// error says what to send instead.
pub(super) fn require_component(headers: &HeaderMap) -> Result<(), &'static str> {
    if let Some(value) = headers.get(CONTENT_TYPE) {
        let value = value.to_str().unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default().trim();
        let known = ["application/wasm", "application/octet-stream"];
        if !known
            .iter()
            .any(|known| essence.eq_ignore_ascii_case(known))
        {
            return Err(
                "the body must be a WebAssembly component: send the header `Content-Type: \
                 application/wasm` (with curl: `-H 'Content-Type: application/wasm' \
                 --data-binary @FILE`)",
            );
        }
    }
    match headers.get(CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err("the component must not be compressed: send it without `Content-Encoding`")
        }
        _ => Ok(()),
    }
}
