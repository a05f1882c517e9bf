//! Which pages of other origins may read answers in a browser (CORS): none, unless the
//! operator names them. Cookies are never allowed, since nothing depends on them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue,
    RETRY_AFTER,
};
use axum::http::{Method, Uri};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::caller::{LIMIT, POLICY, REMAINING, RESET};
use crate::infer::HEADER_LENGTH;
use crate::options::TIMEOUT;
use crate::predict::{CACHE_HITS, GUEST, MODEL, NAME, REVISION};
use crate::request_id::REQUEST_ID;
use crate::server_timing::SERVER_TIMING;

/// How long a browser may cache the answer to a preflight request: browsers allow no more.
const MAX_AGE: Duration = Duration::from_secs(7200);

/// An origin whose pages may read answers, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// Not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an origin is a scheme and a host, with a port unless it is the default one, such as \
     https://example.org or http://localhost:3000, and nothing after them; or * for all"
)]
pub struct OriginError;

/// The layer that lets pages of these origins read answers, if there are any.
pub(crate) fn layer(origins: &[Origin]) -> Option<CorsLayer> {
    let allowed = if origins.iter().any(|origin| origin.0 == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().map(|origin| origin.0.clone()))
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([
            AUTHORIZATION,
            CACHE_CONTROL,
            CONTENT_ENCODING,
            CONTENT_TYPE,
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("tracestate"),
            TIMEOUT,
            HEADER_LENGTH,
            REQUEST_ID,
        ])
        .expose_headers([
            RETRY_AFTER,
            LIMIT,
            REMAINING,
            RESET,
            POLICY,
            SERVER_TIMING,
            CACHE_HITS,
            NAME,
            GUEST,
            MODEL,
            REVISION,
            HEADER_LENGTH,
            REQUEST_ID,
        ])
        .max_age(MAX_AGE);
    (!origins.is_empty()).then_some(layer)
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    /// Normalizes an origin to how browsers write it: in lower case, without the default
    /// port.
    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text == "*" {
            return Ok(Self(HeaderValue::from_static("*")));
        }
        let uri: Uri = text.parse().map_err(|_| OriginError)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(OriginError);
        };
        // A parsed URI always has a path.
        let is_bare = text.len() == scheme.len() + "://".len() + authority.as_str().len();
        if !is_bare || authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(OriginError);
        }
        let default = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let port = authority.port_u16().filter(|port| Some(*port) != default);
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let origin = format!("{scheme}://{}{port}", authority.host()).to_ascii_lowercase();
        let origin = HeaderValue::try_from(origin).map_err(|_| OriginError)?;
        Ok(Self(origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        for (text, origin) in [
            ("*", "*"),
            ("https://example.org", "https://example.org"),
            ("HTTPS://Example.org:443", "https://example.org"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://example.org:80", "https://example.org:80"),
        ] {
            let read: Origin = text.parse().unwrap();
            assert_eq!(read.to_string(), origin);
        }
        for text in [
            "",
            "null",
            "example.org",
            "example.org:80",
            "/path",
            "https://",
            "https://example.org/",
            "https://example.org/path",
            "https://example.org?query",
            "https://user@example.org",
            "https://*.example.org/",
            "https://example.org https://example.com",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(OriginError), "{text}");
        }
    }
}
