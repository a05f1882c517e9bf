//! Checks the `Host` header of requests (RFC 9112, section 3.2).
//!
//! A request without a host, or with two, is read by one proxy as meant for one server and
//! by another as meant for a second one.

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Version};
use axum::middleware::Next;
use axum::response::Response;

use crate::problem::{Kind, Problem};

/// Refuses a request that does not say which host it is for, or says so more than once.
pub(crate) async fn require_host(request: Request, next: Next) -> Result<Response, Problem> {
    check(request.version(), request.headers())?;
    Ok(next.run(request).await)
}

fn check(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let detail = match (hosts.next(), hosts.next()) {
        // HTTP/2 has `:authority`, and HTTP/1.0 is older than the header.
        (None, _) if version != Version::HTTP_11 => return Ok(()),
        (None, _) => "the request has no `Host` header; a request of HTTP/1.1 needs one",
        (Some(host), None) if is_host(host) => return Ok(()),
        (Some(_), None) => {
            "the value of `Host` must be a name or an address, with or without a port"
        }
        (Some(_), Some(_)) => "the request has more than one `Host` header",
    };
    Err(Problem::new(Kind::InvalidHeader, detail))
}

/// Whether a value is a host with or without a port, or empty: a client whose target has no
/// host must send an empty one.
fn is_host(value: &HeaderValue) -> bool {
    if value.is_empty() {
        return true;
    }
    let Ok(authority) = Authority::try_from(value.as_bytes()) else {
        return false;
    };
    let text = authority.as_str();
    let port = text.strip_prefix(authority.host());
    // What else may stand before a host in a URL is a user's name.
    port.is_some_and(|port| {
        let digits = port.strip_prefix(':').unwrap_or(port);
        digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(version: Version, hosts: &[&str]) -> Option<Problem> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        check(version, &headers).err()
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for host in [
            "",
            "localhost",
            "localhost:8000",
            "localhost:",
            "fastsentiment_1.svc",
            "10.0.0.1:80",
            "[::1]",
            "[::1]:8000",
            "sentiment.example.com.",
        ] {
            let refused = refusal(Version::HTTP_11, &[host]);
            assert!(refused.is_none(), "{host}: {refused:?}");
        }
        for host in [
            "two words",
            "a, b",
            "user@host",
            "user:word@host:80",
            "host/path",
            "http://host/",
            "host:port",
            "host:1:2",
            "[::1",
            "a\"b",
            "h\u{f6}st",
            "@",
        ] {
            for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
                let refused = refusal(version, &[host]).expect(host);
                assert_eq!(refused.kind, Kind::InvalidHeader);
            }
        }
    }

    #[test]
    fn a_request_has_one_host() {
        assert!(refusal(Version::HTTP_11, &[]).is_some());
        for version in [Version::HTTP_10, Version::HTTP_2] {
            assert!(refusal(version, &[]).is_none());
        }
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert!(refusal(version, &["a"]).is_none());
            assert!(refusal(version, &["a", "a"]).is_some());
        }
    }
}
