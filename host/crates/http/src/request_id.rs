//! Request ids, and the trace that a request belongs to (W3C Trace Context). A span puts
//! both into every log line about the request.
//!
//! What clients send is used only if it is harmless in a log line.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};
use tracing::field::Empty;
use tracing::{Span, error_span};
use uuid::{Builder, Uuid};

/// The header with the id of a request, and of its answer.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The header with the trace of a request (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The field of a span with the name of the client's API key, once it is known.
pub(crate) const CLIENT: &str = "client";

/// The longest id that is accepted, in bytes.
const MAX_ID: usize = 128;

/// The id of a request: the client's own, if it is valid.
pub(crate) fn of(headers: &HeaderMap) -> HeaderValue {
    only(headers, &REQUEST_ID)
        .filter(|id| is_id(id.as_bytes()))
        .map_or_else(new_id, HeaderValue::clone)
}

/// The span of a request: its fields are in every line of the log about it.
///
/// Its level is that of errors, so that it exists even if only errors are logged.
pub(crate) fn span(id: &HeaderValue, headers: &HeaderMap) -> Span {
    let id = id.to_str().unwrap_or_default();
    let parent = only(headers, &TRACEPARENT);
    match parent.and_then(|parent| trace(parent.as_bytes())) {
        Some((trace, parent)) => error_span!(
            "request",
            request_id = %id,
            trace_id = %trace,
            parent_span_id = %parent,
            client = Empty
        ),
        None => error_span!("request", request_id = %id, client = Empty),
    }
}

/// A header that is given once: of two, neither is right.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether bytes are an id that is safe in a header, a log line and a URL.
fn is_id(bytes: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=MAX_ID).contains(&bytes.len()) && bytes.iter().all(fits)
}

/// A UUID of version 7 (RFC 9562), which sorts by time. It must be unique and need not
/// be secret, so that its random part costs no system call.
pub(crate) fn new() -> Uuid {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = now.unwrap_or_default().as_millis();
    let mut random = [0; 10];
    fastrand::fill(&mut random);
    let millis = u64::try_from(millis).unwrap_or_default();
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

fn new_id() -> HeaderValue {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = new().as_hyphenated().encode_lower(&mut text);
    // Hexadecimal digits are always valid in a header.
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"))
}

/// The trace and the parent in a `traceparent` (Trace Context level 2), unless it is
/// invalid. Later versions may have more parts, which are ignored.
fn trace(header: &[u8]) -> Option<(&str, &str)> {
    const LENGTH: usize = 55;
    let is_hex = |part: &str| {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        part.bytes().all(digit)
    };
    let is_set = |part: &&str| is_hex(part) && part.bytes().any(|byte| byte != b'0');
    let text = std::str::from_utf8(header)
        .ok()
        .filter(|text| text.is_ascii())?;
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let mut parts = known.split('-');
    let version = parts.next().filter(|version| version.len() == 2)?;
    let trace = parts.next().filter(|trace| trace.len() == 32)?;
    let parent = parts.next().filter(|parent| parent.len() == 16)?;
    let flags = parts.next().filter(|flags| flags.len() == 2)?;
    let is_known = is_hex(version) && version != "ff" && is_hex(flags);
    let ends = rest.is_empty() || version != "00" && rest.starts_with('-');
    (is_known && ends && parts.next().is_none())
        .then_some((trace, parent))
        .filter(|(trace, parent)| is_set(trace) && is_set(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &HeaderName, values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn assert_made(id: &HeaderValue) {
        let id = id.to_str().unwrap();
        let parsed = uuid::Uuid::try_parse(id).unwrap();
        assert_eq!((parsed.get_version_num(), id.len()), (7, 36), "{id}");
        assert_eq!(id, id.to_lowercase());
    }

    #[test]
    fn harmless_ids_are_kept() {
        let longest = "x".repeat(MAX_ID);
        for good in ["a", "0-_.:/+=@Z", longest.as_str()] {
            let headers = with(&REQUEST_ID, &[good.as_bytes()]);
            assert_eq!(of(&headers), good);
        }
        let too_long = "x".repeat(MAX_ID + 1);
        for bad in [
            "",
            "a b",
            "a\tb",
            "\"a\"",
            "a\\n",
            "<a>",
            "a;b",
            "a,b",
            "ä",
            too_long.as_str(),
        ] {
            assert_made(&of(&with(&REQUEST_ID, &[bad.as_bytes()])));
        }
        for values in [&[][..], &[&b"\xff"[..]], &[b"a", b"a"]] {
            assert_made(&of(&with(&REQUEST_ID, values)));
        }
    }

    #[test]
    fn new_ids_are_unique_and_sort_by_time() {
        let mut ids = std::collections::BTreeSet::new();
        let first = new_id();
        let before = SystemTime::now();
        while before.elapsed().unwrap_or_default().as_millis() < 2 {}
        for _ in 0..10_000 {
            assert!(ids.insert(new_id().to_str().unwrap().to_owned()));
        }
        assert!(ids.iter().all(|id| **id > *first.to_str().unwrap()));
    }

    #[test]
    fn traces_follow_the_standard() {
        let (id, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for good in [
            format!("00-{id}-{parent}-01"),
            format!("00-{id}-{parent}-00"),
            // Unknown flags are allowed.
            format!("00-{id}-{parent}-ff"),
            format!("01-{id}-{parent}-01"),
            format!("cc-{id}-{parent}-01-what-the-future-will-be-like"),
            format!("cc-{id}-{parent}-01-"),
        ] {
            assert_eq!(trace(good.as_bytes()), Some((id, parent)), "{good}");
        }
        let (zeros, zero) = ("0".repeat(32), "0".repeat(16));
        for bad in [
            String::new(),
            format!("00-{id}-{parent}"),
            format!("00-{id}-{parent}-1"),
            format!("00-{id}-{parent}-011"),
            format!("00-{id}-{parent}-01-"),
            format!("00-{id}-{parent}-01-more"),
            format!("cc-{id}-{parent}-01.what-the-future-will-not-be-like"),
            format!("cc-{id}-{parent}-0x-what"),
            format!("ff-{id}-{parent}-01"),
            format!("FF-{id}-{parent}-01"),
            format!("0x-{id}-{parent}-01"),
            format!("0-{id}-{parent}-01"),
            format!("00-{zeros}-{parent}-01"),
            format!("00-{id}-{zero}-01"),
            format!("00-{}-{parent}-01", id.to_uppercase()),
            format!("00-{id}-{}-01", parent.to_uppercase()),
            format!("00-{id}-{parent}-0F"),
            format!("00-{id}-{parent}-0.)"),
            format!("00-{}-{parent}-01", &id[1..]),
            format!("00-{}-{parent}0-01", &id[1..]),
            format!("00_{id}-{parent}-01"),
            format!(" 00-{id}-{parent}-01"),
            format!("00-{id}-{parent}-0ä"),
        ] {
            assert_eq!(trace(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(trace(b"\xff"), None);
    }

    #[test]
    fn two_traces_are_none() {
        let header = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let headers = with(&TRACEPARENT, &[header, header]);
        assert!(only(&headers, &TRACEPARENT).is_none());
    }
}
