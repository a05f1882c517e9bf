//! Which pages of other origins may ask this server from a browser (CORS, as in the
//! Fetch standard): none, unless the operator names them.
//!
//! Credentials are never allowed, since nothing here depends on them. Who is not named
//! is answered all the same: it is the browser that keeps the answer from the page.
//!
//! This module must not know routes: which methods a path takes is in what answers it.

use std::fmt;
use std::str::FromStr;

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW,
    HeaderValue, ORIGIN, VARY,
};
use hyper::http::Uri;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};

/// What a page may send beside what every page may.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "cache-control, content-encoding, content-type, traceparent, tracestate, \
     x-fastsentiment-timeout-ms, x-request-id",
);

/// What a page may see beside what every page may.
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "retry-after, server-timing, x-fastsentiment-cache-hits, x-fastsentiment-guest, \
     x-fastsentiment-model, x-fastsentiment-revision, x-request-id",
);

/// How long a browser need not ask again, in seconds: as long as any of them does not.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// An origin that may ask, or any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// What is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an origin is a scheme and a host, with a port unless it is the usual one, such as \
     https://example.org or http://localhost:3000, and nothing behind them; or * for all"
)]
pub struct OriginError;

impl Origin {
    fn is_any(&self) -> bool {
        self.0 == "*"
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    /// Reads an origin as browsers write it: in lower case, without the usual port.
    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text == "*" {
            return Ok(Self(HeaderValue::from_static("*")));
        }
        let uri: Uri = text.parse().map_err(|_| OriginError)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(OriginError);
        };
        // A path is never quite absent in what was parsed.
        let is_bare = text.len() == scheme.len() + "://".len() + authority.as_str().len();
        if !is_bare || authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(OriginError);
        }
        let usual = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let port = authority.port_u16().filter(|port| Some(*port) != usual);
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let origin = format!("{scheme}://{}{port}", authority.host()).to_ascii_lowercase();
        let origin = HeaderValue::try_from(origin).map_err(|_| OriginError)?;
        Ok(Self(origin))
    }
}

/// Tells a browser what a page may do, in the answer to a request of this head.
pub(crate) fn allow(origins: &[Origin], head: &Parts, headers: &mut HeaderMap) {
    if origins.is_empty() {
        return;
    }
    let is_any = origins.iter().any(Origin::is_any);
    if !is_any {
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
    let Some(origin) = head.headers.get(ORIGIN) else {
        return;
    };
    if is_any {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else if origins.iter().any(|allowed| allowed.0 == origin) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    } else {
        return;
    }
    let asks_first =
        head.method == Method::OPTIONS && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if asks_first {
        let methods = headers.get(ALLOW).cloned();
        headers.extend(methods.map(|methods| (ACCESS_CONTROL_ALLOW_METHODS, methods)));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    } else {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
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
