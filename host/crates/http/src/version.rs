//! `GET /version`: what this server is, and what makes its answers.
//!
//! This module must not know how a version comes to be live.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::exchange::document;
use super::problem::Problem;
use predictor::Revision;

/// What a server is, and what makes its answers.
#[derive(Serialize, ToSchema)]
#[schema(as = Version)]
pub(crate) struct Document {
    /// The name of the program.
    name: &'static str,
    /// The version of the program.
    version: &'static str,
    /// SHA-256 of the component that is live, in hexadecimal digits.
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
}

/// Tells of the version that is `live`.
pub(crate) fn answer(live: &Revision) -> Result<Response<Full<Bytes>>, Problem> {
    document(&Document::from(live))
}

impl From<&Revision> for Document {
    fn from(live: &Revision) -> Self {
        Self {
            name: "fastsentiment",
            version: env!("CARGO_PKG_VERSION"),
            guest: live.guest().to_string(),
            model: live.model().to_string(),
            configuration: live.configuration().to_string(),
            revision: live.digest().to_string(),
        }
    }
}
