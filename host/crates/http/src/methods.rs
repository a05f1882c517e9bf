//! Which methods a path takes: what `Allow` says, and what `OPTIONS` answers.
//!
//! This module must not know routes: each names its own methods.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::problem::Problem;

/// The methods of a path that changes nothing.
pub(crate) const READ_ONLY: &str = "GET, HEAD, OPTIONS";

/// What there is to say to a method of a path that takes those in `allow`: nothing
/// if the path is to answer by itself, else the answer to `OPTIONS`.
///
/// # Errors
///
/// If the path does not take the method.
pub(crate) fn settled(
    method: &Method,
    allow: &'static str,
) -> Result<Option<Response<Full<Bytes>>>, Problem> {
    if !each(allow).any(|allowed| allowed == method.as_str()) {
        return Err(Problem::method_not_allowed(allow));
    }
    if *method != Method::OPTIONS {
        return Ok(None);
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allow = HeaderValue::from_static(allow);
    response.headers_mut().insert(ALLOW, allow);
    Ok(Some(response))
}

/// The methods in the value of `Allow`.
pub(crate) fn each(allow: &str) -> impl Iterator<Item = &str> {
    allow.split(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_takes_its_own_methods() {
        assert!(settled(&Method::GET, READ_ONLY).unwrap().is_none());
        assert!(settled(&Method::HEAD, READ_ONLY).unwrap().is_none());
        let options = settled(&Method::OPTIONS, READ_ONLY).unwrap().unwrap();
        assert_eq!(options.status(), 204);
        assert_eq!(options.headers()[ALLOW], READ_ONLY);
        for method in ["POST", "get", "GE", "GET,", "GET, HEAD", "PROPFIND"] {
            let method = Method::from_bytes(method.as_bytes());
            let refused = method.map(|method| settled(&method, READ_ONLY).is_err());
            assert!(refused.unwrap_or(true));
        }
    }
}
