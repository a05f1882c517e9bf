//! `Content-Type` of requests: JSON, or lines of JSON.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

use crate::problem::{Kind, Problem};

/// Accepts `application/json` and `application/*+json`, in UTF-8, and a request without
/// `Content-Type`. The error says what to send instead.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(value) = headers.get(CONTENT_TYPE) {
        let value = value.to_str().unwrap_or_default();
        let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
        if !is_json(essence.trim()) {
            return Err(unsupported(
                "the body must be JSON: send the header `Content-Type: application/json` \
                 (with curl: `-H 'Content-Type: application/json'`, because `curl -d` alone \
                 sends `application/x-www-form-urlencoded`)",
            ));
        }
        require_utf8(parameters)?;
    }
    Ok(())
}

/// Accepts bytes as well: JSON with binary tensors behind it.
pub(crate) fn require_json_or_bytes(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let is_bytes = |value: &str| {
        let essence = value.split(';').next().unwrap_or_default();
        essence
            .trim()
            .eq_ignore_ascii_case("application/octet-stream")
    };
    if value.is_some_and(is_bytes) {
        return Ok(());
    }
    require_json(headers)
}

/// Whether the body is lines of JSON.
pub(crate) fn is_ndjson(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    let is = |name: &str| essence.trim().eq_ignore_ascii_case(name);
    is("application/x-ndjson") || is("application/ndjson")
}

/// Accepts UTF-8. The error says what to send instead.
pub(crate) fn require_utf8_lines(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let parameters = value.and_then(|value| value.split_once(';'));
    require_utf8(parameters.map_or("", |(_, parameters)| parameters))
}

fn require_utf8(parameters: &str) -> Result<(), Problem> {
    if parameters.split(';').all(is_utf8_or_no_charset) {
        Ok(())
    } else {
        Err(unsupported(
            "the body must be in UTF-8: leave `charset` out of `Content-Type`",
        ))
    }
}

/// The problem of a body of another type than the path takes.
pub(crate) fn unsupported(detail: &'static str) -> Problem {
    Problem::new(Kind::UnsupportedMediaType, detail)
}

fn is_json(essence: &str) -> bool {
    let essence = essence.to_ascii_lowercase();
    match essence.strip_prefix("application/") {
        Some("json") => true,
        Some(subtype) => subtype.len() > "+json".len() && subtype.ends_with("+json"),
        None => false,
    }
}

fn is_utf8_or_no_charset(parameter: &str) -> bool {
    match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            let value = value.trim().trim_matches('"');
            value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::HeaderValue;

    fn accepts(content_type: &'static str) -> bool {
        let headers = HeaderMap::from_iter([(
            CONTENT_TYPE,
            HeaderValue::from_bytes(content_type.as_bytes()).unwrap(),
        )]);
        require_json(&headers).is_ok()
    }

    #[test]
    fn json_in_utf8_is_accepted() {
        assert!(require_json(&HeaderMap::new()).is_ok());
        for content_type in [
            "application/json",
            "Application/JSON ; Charset=\"UTF-8\"",
            "application/json;charset=utf-8;profile=x",
            "application/json;",
            "application/vnd.api+json",
        ] {
            assert!(accepts(content_type), "{content_type}");
        }
    }

    #[test]
    fn other_types_are_refused() {
        for content_type in [
            "",
            "text/plain",
            "text/json",
            "application/+json",
            "application/jsonl",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin1",
            "applicätion/json",
        ] {
            assert!(!accepts(content_type), "{content_type}");
        }
    }

    #[test]
    fn lines_have_their_own_type() {
        for (content_type, expected) in [
            ("application/x-ndjson", true),
            ("Application/NDJSON ; charset=utf-8", true),
            ("application/json", false),
            ("application/x-ndjson2", false),
            ("text/x-ndjson", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]);
            assert_eq!(is_ndjson(&headers), expected, "{content_type}");
        }
        assert!(!is_ndjson(&HeaderMap::new()));
        let latin = HeaderValue::from_static("application/x-ndjson; charset=latin1");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, latin)]);
        assert!(is_ndjson(&headers) && require_utf8_lines(&headers).is_err());
    }
}
