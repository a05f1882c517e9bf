//! `GET /version`: what this server is, and what makes its answers.
//!
//! This module must not know how a version comes to be live.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Response};
use serde::Serialize;

use super::exchange::document;
use super::health::read_only;
use super::problem::Problem;
use crate::predictor::Version;

/// The document.
#[derive(Serialize)]
struct Document {
    name: &'static str,
    version: &'static str,
    /// SHA-256 of the component that is live, in hexadecimal digits.
    guest: String,
    /// SHA-256 over the model directory's files.
    model: String,
}

/// Tells of the version that is `live`.
pub(crate) fn answer(method: &Method, live: &Version) -> Result<Response<Full<Bytes>>, Problem> {
    read_only(method)?;
    document(&Document {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        guest: live.guest.to_string(),
        model: live.model.to_string(),
    })
}
