//! Who may see and change versions.
//!
//! Whoever can is as good as the operator: an uploaded guest answers every request.
//! So there is either a token, or nobody but this machine can connect.
//!
//! This module must not know what is asked for.

use std::fmt;
use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
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

/// Why a text can not be a token. None of these tells anything of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
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
        "the admin token holds something that can not be in a header; letters, digits and \
         marks of ASCII are allowed, and no spaces"
    )]
    Unsendable,
}

impl Token {
    /// A token as a file or the environment has it: white space around it, such as
    /// the end of the line, is no part of it.
    ///
    /// # Errors
    ///
    /// If it is too short, too long, or could not be sent.
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

/// What a request has to show.
pub struct Access {
    /// The SHA-256 of the token, if there is one: all are of one length, so that
    /// not even how long the token is can be told from how long a comparison takes.
    token: Option<[u8; 32]>,
    is_loopback: bool,
}

impl Access {
    /// The rules of a listener: with a token it is always asked for; without one,
    /// only a listener that other machines can not reach allows anything.
    pub fn new(token: Option<&Token>, listener: IpAddr) -> Self {
        Self {
            token: token.map(|token| sha256(token.0.as_bytes())),
            is_loopback: listener.to_canonical().is_loopback(),
        }
    }

    /// Whether nobody can be allowed anything, for want of a token.
    pub fn is_closed(&self) -> bool {
        self.token.is_none() && !self.is_loopback
    }

    /// The problems of requests that are refused for what they show.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let unauthorized = self.token.map(|_| unauthorized());
        unauthorized.into_iter().chain([from_a_page()]).collect()
    }

    /// Whether a request has to show a token.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Refuses a request that shows too little.
    pub(super) fn check(&self, head: &Parts) -> Result<(), Problem> {
        // A page from anywhere can have the browser of someone on this machine send
        // requests here. Browsers then say so (except for what only reads, whose
        // answer they keep from the page), and no other client does.
        if head.headers.contains_key(ORIGIN) {
            return Err(from_a_page());
        }
        match self.token {
            Some(token) => {
                let mut given = head.headers.get_all(AUTHORIZATION).iter();
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
            // A page whose name is made to lead to 127.0.0.1 once it is loaded (DNS
            // rebinding) is no stranger to its browser, which then sends no `Origin`
            // and shows the page the answers. But the name is in the request. With a
            // token this is no danger, since the page does not have it.
            None if !is_meant_for_this_machine(head) => forbidden(
                "without a token, the request's `Host` must be an IP address or `localhost`",
            ),
            None => Ok(()),
        }
    }
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
        "this API is not for browsers: the request has an `Origin`",
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

/// Whether every name under which this server is asked for is an address or
/// `localhost`; there must be one.
fn is_meant_for_this_machine(head: &Parts) -> bool {
    let parse = |host: &HeaderValue| Authority::try_from(host.as_bytes()).ok();
    let headers = head.headers.get_all(HOST).iter().map(parse);
    // HTTP/2 has it in the URI.
    let uri = head.uri.authority().cloned().map(Some);
    let mut hosts = headers.chain(uri).peekable();
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
    use hyper::Request;

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
        access.check(&head).err().map(|problem| problem.kind)
    }

    #[test]
    fn a_token_is_a_line_of_something_that_can_be_sent() {
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
    fn a_token_is_asked_for_wherever_the_listener_is() {
        let token = Token::parse(SECRET.as_bytes()).unwrap();
        for address in [LOOPBACK, ANY] {
            let access = Access::new(Some(&token), address);
            assert!(!access.is_closed());
            let check = |value: &str| problem(&access, &[("authorization", value)]);
            for right in [format!("Bearer {SECRET}"), format!("bearer  {SECRET} ")] {
                assert_eq!(check(&right), None);
                // It may come under any name, but not from a page.
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
    fn without_a_token_only_this_machine_is_allowed() {
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
