//! Reads `Content-Encoding` of requests.

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, HeaderName};
use connection::decompress::Coding;

use crate::problem::{Kind, Problem};

/// The content codings of request bodies, as `Accept-Encoding` lists them.
pub(crate) const ACCEPTED: &str = "br, gzip, zstd";

/// The coding of a request's body, if it is compressed.
///
/// # Errors
///
/// If it is compressed with another coding, or more than once.
pub(crate) fn of_request(headers: &HeaderMap) -> Result<Option<Coding>, Problem> {
    let mut found = None;
    for name in members(headers, &CONTENT_ENCODING) {
        if name.is_empty() || name.eq_ignore_ascii_case("identity") {
            continue;
        }
        let coding = Coding::named(name);
        if coding.is_none() || found.is_some() {
            return Err(Problem::new(
                Kind::UnsupportedContentEncoding,
                format!("`Content-Encoding` may be one of {ACCEPTED}, or absent"),
            ));
        }
        found = coding;
    }
    Ok(found)
}

/// The members of a list that may be spread over several header lines.
pub(crate) fn members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> {
    // Bytes that are not text match nothing known.
    let values = headers.get_all(name).iter();
    let lists = values.map(|value| value.to_str().unwrap_or("?"));
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(CONTENT_ENCODING, value);
        }
        headers
    }

    #[test]
    fn a_body_is_compressed_at_most_once() {
        for (values, coding) in [
            (&[][..], None),
            (&[""], None),
            (&["identity"], None),
            (&["gzip"], Some(Coding::Gzip)),
            (&["X-GZip"], Some(Coding::Gzip)),
            (&["identity, br"], Some(Coding::Brotli)),
            (&["ZSTD", "identity"], Some(Coding::Zstd)),
        ] {
            assert_eq!(of_request(&headers(values)), Ok(coding), "{values:?}");
        }
        for values in [
            &["deflate"][..],
            &["gzip, br"],
            &["gzip", "gzip"],
            &["ä"],
            &["gzip;q=1"],
        ] {
            let problem = of_request(&headers(values)).unwrap_err();
            assert_eq!(problem.kind, Kind::UnsupportedContentEncoding, "{values:?}");
            assert!(problem.detail.contains(ACCEPTED));
        }
    }
}
