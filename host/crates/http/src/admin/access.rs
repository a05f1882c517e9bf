//! Who may see and change versions: an uploaded guest answers every request. So there is
//! either a token, or only this machine can connect.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::problem::{Kind, Problem};

/// The fewest bytes of a token: with 16 random ones there is nothing to guess.
const SHORTEST: usize = 16;

/// The most bytes of a token, so that it always fits a request's head.
const LONGEST: usize = 4096;

/// A secret that allows its holder to change versions.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why a text cannot be a token. None of these reveals anything of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is empty.
    #[error("the admin token is empty")]
    Empty,
    /// It could be guessed.
    #[error("the admin token has {0} bytes; it needs at least {SHORTEST}")]
    TooShort(usize),
    /// It would not fit a request.
    #[error("the admin token has more than the {LONGEST} bytes that are allowed")]
    TooLong,
    /// It could not be sent.
    #[error(
        "the admin token has characters that a header cannot carry; printable ASCII \
         characters are allowed, except for spaces"
    )]
    Unsendable,
}

impl Token {
    /// Reads a token from a file or the environment. White space around it, such as the
    /// end of the line, is ignored.
    ///
    /// # Errors
    ///
    /// If it is too short, too long, or cannot be sent.
    pub fn parse(text: &[u8]) -> Result<Self, TokenError> {
        let text = text.trim_ascii();
        match text.len() {
            0 => return Err(TokenError::Empty),
            length if length < SHORTEST => return Err(TokenError::TooShort(length)),
            length if length > LONGEST => return Err(TokenError::TooLong),
            _ => {}
        }
        match str::from_utf8(text) {
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(TokenError::Unsendable),
        }
    }

    /// The value of the `Authorization` header of a request with this token.
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What a request must show.
pub struct Access {
    /// The SHA-256 of the token, if there is one. Digests have one length, so that the
    /// time of a comparison does not reveal the token's length.
    token: Option<[u8; 32]>,
    is_loopback: bool,
}

impl Access {
    /// The rules of a listener: a token is always required if there is one. Without one,
    /// only a listener that other machines cannot reach allows anything.
    pub fn new(token: Option<&Token>, listener: IpAddr) -> Self {
        Self {
            token: token.map(|token| sha256(token.0.as_bytes())),
            is_loopback: listener.to_canonical().is_loopback(),
        }
    }

    /// Whether nobody is allowed anything, since there is no token.
    pub fn is_closed(&self) -> bool {
        self.token.is_none() && !self.is_loopback
    }

    /// The problems of requests that are refused.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let unauthorized = self.token.map(|_| unauthorized());
        unauthorized.into_iter().chain([from_a_page()]).collect()
    }

    /// Whether a request must show a token.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Refuses a request that shows too little.
    fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
        // Any page can have the browser of someone on this machine send requests here.
        // Browsers then send `Origin` (except for reads, whose answers they withhold from
        // the page); other clients do not.
        if headers.contains_key(ORIGIN) {
            return Err(from_a_page());
        }
        match self.token {
            Some(token) => {
                let mut given = headers.get_all(AUTHORIZATION).iter();
                let right = match (given.next().and_then(bearer), given.next()) {
                    (Some(given), None) => sha256(given).ct_eq(&token).into(),
                    _ => false,
                };
                if right {
                    return Ok(());
                }
                Err(unauthorized())
            }
            None if !self.is_loopback => forbidden(
                "without a token, versions can be managed only over a loopback address: start \
                 the server with `--admin-token-file FILE`",
            ),
            // DNS rebinding: a page whose name resolves to 127.0.0.1 once it is loaded is
            // same-origin to its browser, which sends no `Origin` and shows it answers.
            // But the request has the name. A token would stop it as well.
            None if !is_meant_for_this_machine(headers, uri) => forbidden(
                "without a token, the request's `Host` must be an IP address or `localhost`",
            ),
            None => Ok(()),
        }
    }
}

/// Lets a request through that shows enough.
pub(super) async fn check(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    access.check(request.headers(), request.uri())?;
    Ok(next.run(request).await)
}

fn unauthorized() -> Problem {
    Problem::new(
        Kind::Unauthorized,
        "send the server's admin token: `Authorization: Bearer TOKEN`",
    )
}

fn from_a_page() -> Problem {
    Problem::new(
        Kind::Forbidden,
        "this API is not for browsers: the request has an `Origin` header",
    )
}

fn forbidden(detail: &'static str) -> Result<(), Problem> {
    Err(Problem::new(Kind::Forbidden, detail))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The token of an `Authorization` header.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer ");
    is_bearer.then(|| token.trim_ascii())
}

/// Whether every host that the request names is an address or `localhost`, and there is
/// one.
fn is_meant_for_this_machine(headers: &HeaderMap, uri: &Uri) -> bool {
    let parse = |host: &HeaderValue| Authority::try_from(host.as_bytes()).ok();
    let hosts = headers.get_all(HOST).iter().map(parse);
    // HTTP/2 has it in the URI.
    let authority = uri.authority().cloned().map(Some);
    let mut hosts = hosts.chain(authority).peekable();
    hosts.peek().is_some() && hosts.all(|host| host.is_some_and(|host| is_local(host.host())))
}

fn is_local(host: &str) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost") || address.unwrap_or(host).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const ANY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    const SECRET: &str = "0123456789abcdef";

    /// The name of the problem of a request with these headers, if it has one.
    fn problem(access: &Access, headers: &[(&str, &str)]) -> Option<Kind> {
        let mut request = Request::builder().uri("/versions");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        let checked = access.check(&head.headers, &head.uri);
        checked.err().map(|problem| problem.kind)
    }

    #[test]
    fn tokens_are_checked() {
        let text = |text: &[u8]| Token::parse(text).map(|token| token.authorization());
        let right = Ok(format!("Bearer {SECRET}"));
        assert_eq!(text(SECRET.as_bytes()), right);
        assert_eq!(text(format!(" {SECRET}\r\n").as_bytes()), right);
        for (wrong, error) in [
            (&b""[..], TokenError::Empty),
            (b" \r\n\t", TokenError::Empty),
            (b"0123456789abcde\n", TokenError::TooShort(15)),
            (&[b'a'; LONGEST + 1], TokenError::TooLong),
            (b"0123456789 abcdef", TokenError::Unsendable),
            (b"0123456789\nabcdef", TokenError::Unsendable),
            (b"0123456789\0abcdef", TokenError::Unsendable),
            ("0123456789abcdé".as_bytes(), TokenError::Unsendable),
            (b"0123456789abcde\xff", TokenError::Unsendable),
        ] {
            assert_eq!(text(wrong), Err(error));
        }
        assert!(text(&[b'a'; LONGEST]).is_ok());
        let token = Token::parse(SECRET.as_bytes()).unwrap();
        assert!(!format!("{token:?}").contains(SECRET));
    }

    #[test]
    fn a_token_is_required_on_every_listener() {
        let token = Token::parse(SECRET.as_bytes()).unwrap();
        for address in [LOOPBACK, ANY] {
            let access = Access::new(Some(&token), address);
            assert!(!access.is_closed());
            let check = |value: &str| problem(&access, &[("authorization", value)]);
            for right in [format!("Bearer {SECRET}"), format!("bearer  {SECRET} ")] {
                assert_eq!(check(&right), None);
                // From any host name, but not from a page.
                let mut headers = vec![("authorization", right.as_str()), ("host", "a.example")];
                assert_eq!(problem(&access, &headers), None);
                headers.push(("origin", "null"));
                assert_eq!(problem(&access, &headers), Some(Kind::Forbidden));
            }
            for wrong in [
                String::new(),
                "Bearer".to_owned(),
                "Bearer ".to_owned(),
                SECRET.to_owned(),
                format!("Basic {SECRET}"),
                format!("Bearer {SECRET}0"),
                format!("Bearer {}", &SECRET[1..]),
                format!("Bearer {}", SECRET.to_uppercase()),
            ] {
                assert_eq!(check(&wrong), Some(Kind::Unauthorized), "{wrong}");
            }
            assert_eq!(problem(&access, &[]), Some(Kind::Unauthorized));
            let right = format!("Bearer {SECRET}");
            let twice = [("authorization", right.as_str()); 2];
            assert_eq!(problem(&access, &twice), Some(Kind::Unauthorized));
        }
    }

    #[test]
    fn without_a_token_only_loopback_listeners_are_open() {
        for address in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            let access = Access::new(None, address.parse().unwrap());
            assert!(!access.is_closed(), "{address}");
            assert_eq!(problem(&access, &[("host", "127.0.0.1:8001")]), None);
        }
        for address in ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1"] {
            let access = Access::new(None, address.parse().unwrap());
            assert!(access.is_closed(), "{address}");
            let host = [("host", "127.0.0.1:8001")];
            assert_eq!(problem(&access, &host), Some(Kind::Forbidden), "{address}");
        }
    }

    #[test]
    fn without_a_token_no_page_is_allowed_under_any_name() {
        let access = Access::new(None, LOOPBACK);
        let hosts = |hosts: &[&str]| {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            problem(&access, &headers)
        };
        for right in [
            "localhost",
            "LocalHost:1",
            "[::1]:8001",
            "[::1]",
            "10.1.2.3",
        ] {
            assert_eq!(hosts(&[right]), None, "{right}");
            let headers = [("host", right), ("origin", "http://127.0.0.1:8001")];
            assert_eq!(problem(&access, &headers), Some(Kind::Forbidden), "{right}");
        }
        for wrong in [
            &["rebound.example:8001"][..],
            &["localhost.rebound.example"],
            &["127.0.0.1.rebound.example"],
            &["127.0.0.1", "rebound.example"],
            &["rebound.example@"],
            &[""],
            &[],
        ] {
            assert_eq!(hosts(wrong), Some(Kind::Forbidden), "{wrong:?}");
        }
    }
}
