//! `GET /metrics`: what is in a registry, in the text format of Prometheus.
//!
//! This module must not know what is measured.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use prometheus::{Registry, TextEncoder};

use super::problem::Problem;

/// The format, as a media type.
pub(crate) const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Tells what is in `registry`.
pub(crate) fn answer(registry: &Registry) -> Result<Response<Full<Bytes>>, Problem> {
    let text = TextEncoder::new()
        .encode_to_string(&registry.gather())
        .map_err(|error| {
            tracing::error!(%error, "the metrics could not be written");
            Problem::failed()
        })?;
    let mut response = Response::new(Full::from(text));
    let format = HeaderValue::from_static(FORMAT);
    response.headers_mut().insert(CONTENT_TYPE, format);
    Ok(response)
}
