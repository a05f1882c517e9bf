//! Secrets in the `Authorization` header (RFC 6750).

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HeaderValue};

/// The secret that a request shows: that of its only `Authorization` header, of two neither is
/// right.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => secret(value),
        _ => None,
    }
}

fn secret(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, secret) = value.as_bytes().split_at_checked("Bearer ".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer ");
    is_bearer.then(|| secret.trim_ascii())
}
