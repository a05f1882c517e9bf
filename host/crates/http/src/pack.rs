//! Packs answers for clients that can unpack them, where that is worth it.
//!
//! Lines that are sent as they are made are not packed, nor is what is packed already.
//!
//! This module must not know what an answer says.

use std::io;

use async_compression::Level;
use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use async_compression::zstd::CParameter;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, VARY};
use hyper::{HeaderMap, Response, StatusCode};
use tokio::io::AsyncReadExt;

use super::coding::{self, Coding};

/// What is shorter, in bytes, fits into a packet or two as it is.
const AT_LEAST: usize = 1024;

/// Up to this size, in bytes, answers are packed where they are: that takes less than a
/// millisecond. Larger ones would keep other connections of the thread waiting.
const IN_PLACE: usize = 32 * 1024;

/// Packs an answer to a request of these headers.
pub(crate) async fn pack(
    headers: &HeaderMap,
    mut response: Response<Full<Bytes>>,
) -> Response<Full<Bytes>> {
    if response.body().size_hint().lower() < AT_LEAST as u64 || !is_worth_it(&response) {
        return response;
    }
    let accept_encoding = HeaderValue::from_static("accept-encoding");
    response.headers_mut().append(VARY, accept_encoding);
    let Some(coding) = coding::of_answer(headers) else {
        return response;
    };
    let (mut head, body) = response.into_parts();
    let Ok(body) = body.collect().await;
    let body = body.to_bytes();
    match packed(coding, body.clone()).await {
        Ok(packed) => {
            head.headers.insert(CONTENT_ENCODING, coding.header());
            Response::from_parts(head, Full::from(packed))
        }
        Err(error) => {
            tracing::error!(%error, %coding, "an answer could not be packed");
            Response::from_parts(head, Full::from(body))
        }
    }
}

/// Whether an answer is text, whole and not packed.
fn is_worth_it(response: &Response<Full<Bytes>>) -> bool {
    let headers = response.headers();
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_text = |name: &[u8]| {
        name.starts_with(b"text/")
            || [
                &b"application/json"[..],
                b"application/problem+json",
                b"image/svg+xml",
            ]
            .contains(&name)
    };
    response.status() != StatusCode::PARTIAL_CONTENT
        && !headers.contains_key(CONTENT_ENCODING)
        // It would be one of other bytes.
        && !headers.contains_key(ETAG)
        // Who made it has seen to it.
        && !headers.contains_key(VARY)
        && content_type.is_some_and(is_text)
}

async fn packed(coding: Coding, body: Bytes) -> io::Result<Vec<u8>> {
    if body.len() <= IN_PLACE {
        return encode(coding, &body).await;
    }
    // It reads what is there, and so never waits.
    let encode = move || encode(coding, &body).now_or_never();
    let encoded = tokio::task::spawn_blocking(encode).await?;
    encoded.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
}

/// Levels are those at which packing takes about as long as sending would.
pub(super) async fn encode(coding: Coding, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = Vec::with_capacity(body.len() / 4);
    match coding {
        Coding::Zstd => {
            // Its tables are no larger than what is packed needs.
            let window = body
                .len()
                .next_power_of_two()
                .trailing_zeros()
                .clamp(10, 21);
            let window = [CParameter::window_log(window)];
            let level = Level::Precise(3);
            let mut encoder = ZstdEncoder::with_quality_and_params(body, level, &window);
            encoder.read_to_end(&mut packed).await?;
        }
        Coding::Brotli => {
            let mut encoder = BrotliEncoder::with_quality(body, Level::Precise(4));
            encoder.read_to_end(&mut packed).await?;
        }
        Coding::Gzip => {
            let mut encoder = GzipEncoder::with_quality(body, Level::Precise(5));
            encoder.read_to_end(&mut packed).await?;
        }
    }
    Ok(packed)
}
