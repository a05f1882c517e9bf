//! The options that a client sets by headers of `POST /predict`.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, HeaderName};

use crate::problem::{Kind, Problem};
use predictor::{Caching, Client, LongTexts, RequestOptions};
use service::Options;

/// The header that says how long the client waits, in milliseconds.
pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("x-fastsentiment-timeout-ms");

/// Reads `Cache-Control` (RFC 9111) and `x-fastsentiment-timeout-ms` of a request of
/// `client`.
pub(crate) fn options(headers: &HeaderMap, client: Client) -> Result<Options, Problem> {
    Ok(Options {
        timeout: timeout(headers)?,
        request: RequestOptions {
            caching: caching(headers),
            client,
            // These are not in headers.
            revision: None,
            long_texts: LongTexts::default(),
        },
    })
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let mut values = headers.get_all(TIMEOUT).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let digits = value.to_str().unwrap_or_default();
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    // A number too large to parse is longer than any deadline, which it can only shorten.
    let millis = digits.parse().unwrap_or(u64::MAX);
    if !is_number || millis == 0 || values.next().is_some() {
        return Err(Problem::new(
            Kind::InvalidHeader,
            format!(
                "`{TIMEOUT}` must be given once, as a whole number of milliseconds, at least 1"
            ),
        ));
    }
    Ok(Some(Duration::from_millis(millis)))
}

/// The strictest of all directives. Others are ignored, as the standard says.
fn caching(headers: &HeaderMap) -> Caching {
    let mut caching = Caching::Use;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in directives(value.as_bytes()) {
            let mut parts = directive.splitn(2, |byte| *byte == b'=');
            let name = parts.next().unwrap_or_default().trim_ascii();
            if name.eq_ignore_ascii_case(b"no-store") {
                return Caching::Bypass;
            }
            let is_zero = |age: &[u8]| !age.is_empty() && age.iter().all(|digit| *digit == b'0');
            if name.eq_ignore_ascii_case(b"no-cache")
                || name.eq_ignore_ascii_case(b"max-age")
                    && parts.next().is_some_and(|age| is_zero(unquoted(age)))
            {
                caching = Caching::Renew;
            }
        }
    }
    caching
}

fn unquoted(argument: &[u8]) -> &[u8] {
    let argument = argument.trim_ascii();
    let inside = argument.strip_prefix(b"\"");
    let inside = inside.and_then(|inside| inside.strip_suffix(b"\""));
    inside.unwrap_or(argument)
}

/// The members of a list. A comma in a quoted string does not separate them.
fn directives(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    list.split(move |byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        *byte == b',' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::HeaderValue;

    fn with(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn directives_are_found() {
        for (values, expected) in [
            (&[][..], Caching::Use),
            (&[""], Caching::Use),
            (&["max-age=60, only-if-cached"], Caching::Use),
            (&["no-stored, xno-cache"], Caching::Use),
            (&["max-age"], Caching::Use),
            (&["max-age="], Caching::Use),
            (&["max-age=05"], Caching::Use),
            (&["x=\"no-store, no-cache\""], Caching::Use),
            (&["x=\"\\\", no-store\""], Caching::Use),
            (&["ä, \u{80}"], Caching::Use),
            (&["no-cache"], Caching::Renew),
            (&["max-age=0"], Caching::Renew),
            (&["max-age=\"0\""], Caching::Renew),
            (&["MAX-AGE = 00 ,"], Caching::Renew),
            (&["x=\"a,b\",No-Cache"], Caching::Renew),
            (&["max-age=60", "\tno-cache "], Caching::Renew),
            (&["no-store"], Caching::Bypass),
            (&["no-cache,NO-STORE"], Caching::Bypass),
            (&["no-store", "no-cache"], Caching::Bypass),
            (&["no-cache", ",,no-store"], Caching::Bypass),
        ] {
            let headers = with(&CACHE_CONTROL, values);
            let found = options(&headers, Client::default())
                .unwrap()
                .request
                .caching;
            assert_eq!(found, expected, "{values:?}");
        }
    }

    #[test]
    fn a_timeout_is_at_least_one() {
        let timeout = |values: &[&str]| {
            options(&with(&TIMEOUT, values), Client::default()).map(|found| found.timeout)
        };
        assert_eq!(timeout(&[]), Ok(None));
        for (value, millis) in [
            ("1", 1),
            ("0250", 250),
            ("18446744073709551615", u64::MAX),
            ("99999999999999999999999", u64::MAX),
        ] {
            assert_eq!(timeout(&[value]), Ok(Some(Duration::from_millis(millis))));
        }
        for values in [
            &[""][..],
            &["0"],
            &["00"],
            &["-1"],
            &["+1"],
            &["1.5"],
            &["1s"],
            &["1, 2"],
            &["ä"],
            &["1", "1"],
        ] {
            let problem = timeout(values).unwrap_err();
            assert_eq!(problem.kind, Kind::InvalidHeader, "{values:?}");
            assert!(problem.detail.contains("at least 1"));
        }
    }
}
