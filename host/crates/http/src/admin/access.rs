//! Who may see and change versions: an uploaded guest answers every request. So there is a
//! token, or a socket that only the server's user can connect to. Only an operator who says so
//! opens them to every process of this machine.

use std::borrow::Cow;
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

use super::token::Token;
use crate::authorization::bearer;
use crate::problem::{Kind, Problem};

/// Why a listener without a token is closed.
const NO_TOKEN: &str = "without a token, versions can be managed only over a loopback address: \
                        start the server with `--admin-token-file FILE`";

/// What a request must show.
pub struct Access {
    rule: Rule,
    /// Where the token is found, for whoever sends none or a wrong one.
    place: Option<String>,
}

enum Rule {
    /// The token with this SHA-256. Digests have one length, so that the time of a comparison
    /// does not reveal the token's length.
    Token([u8; 32]),
    /// Nothing, since only this machine can connect.
    OfThisMachine,
    /// Nothing, since only the server's user can connect.
    OfThisUser,
    /// Nobody is allowed anything, and why.
    Closed(String),
}

impl Access {
    /// The rules of a listener on an address: a token is always required if there is one.
    /// Without one, only a listener that other machines cannot reach allows anything.
    pub fn new(token: Option<&Token>, listener: IpAddr) -> Self {
        let rule = match token {
            Some(token) => Rule::Token(sha256(token.expose().as_bytes())),
            None if listener.to_canonical().is_loopback() => Rule::OfThisMachine,
            None => Rule::Closed(NO_TOKEN.to_owned()),
        };
        Self { rule, place: None }
    }

    /// The rules of a Unix socket that only the server's user can connect to.
    pub fn of_own_socket(token: Option<&Token>) -> Self {
        let token = token.map(|token| Rule::Token(sha256(token.expose().as_bytes())));
        let rule = token.unwrap_or(Rule::OfThisUser);
        Self { rule, place: None }
    }

    /// Nothing is allowed; `why` is a sentence that says what to do about it.
    pub fn closed(why: String) -> Self {
        let rule = Rule::Closed(why);
        Self { rule, place: None }
    }

    /// Tells whoever sends no token, or a wrong one, where it is found.
    #[must_use]
    pub fn found_in(mut self, place: String) -> Self {
        self.place = Some(place);
        self
    }

    /// Why nobody is allowed anything, if that is so.
    pub fn why_closed(&self) -> Option<&str> {
        match &self.rule {
            Rule::Closed(why) => Some(why),
            _ => None,
        }
    }

    /// The problems of requests that are refused.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let refusal = match &self.rule {
            Rule::Token(_) => Some(self.unauthorized("")),
            Rule::Closed(why) => Some(forbidden(why.clone())),
            Rule::OfThisMachine | Rule::OfThisUser => None,
        };
        refusal.into_iter().chain([from_a_page()]).collect()
    }

    /// Whether a request must show a token.
    pub(super) fn has_token(&self) -> bool {
        matches!(self.rule, Rule::Token(_))
    }

    /// Refuses a request that shows too little.
    fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
        // Any page can have the browser of someone on this machine send requests here.
        // Browsers then send `Origin` (except for reads, whose answers they withhold from
        // the page); other clients do not.
        if headers.contains_key(ORIGIN) {
            return Err(from_a_page());
        }
        match &self.rule {
            Rule::Token(token) => {
                let given = bearer(headers).map(sha256);
                if given.is_some_and(|given| given.ct_eq(token).into()) {
                    return Ok(());
                }
                let is_missing = !headers.contains_key(AUTHORIZATION);
                let wrong = if is_missing {
                    ""
                } else {
                    "the token is wrong: "
                };
                Err(self.unauthorized(wrong))
            }
            Rule::Closed(why) => Err(forbidden(why.clone())),
            // DNS rebinding: a page whose name resolves to 127.0.0.1 once it is loaded is
            // same-origin to its browser, which sends no `Origin` and shows it answers.
            // But the request has the name. A token would stop it as well.
            Rule::OfThisMachine if !is_meant_for_this_machine(headers, uri) => Err(forbidden(
                "without a token, the request's `Host` must be an IP address or `localhost`",
            )),
            Rule::OfThisMachine | Rule::OfThisUser => Ok(()),
        }
    }

    /// The refusal, which begins with what is wrong.
    fn unauthorized(&self, wrong: &str) -> Problem {
        let place = self.place.as_ref();
        let place = place.map(|place| format!(" (it is in {place})"));
        let place = place.unwrap_or_default();
        Problem::new(
            Kind::Unauthorized,
            format!("{wrong}send the server's admin token{place}: `Authorization: Bearer TOKEN`"),
        )
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

fn from_a_page() -> Problem {
    Problem::new(
        Kind::Forbidden,
        "this API is not for browsers: the request has an `Origin` header",
    )
}

fn forbidden(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Kind::Forbidden, detail)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
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
    fn a_token_is_required_on_every_listener() {
        let token = Token::parse(SECRET.as_bytes()).unwrap();
        for address in [LOOPBACK, ANY] {
            let access = Access::new(Some(&token), address);
            assert!(access.why_closed().is_none());
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
            assert!(access.why_closed().is_none(), "{address}");
            assert_eq!(problem(&access, &[("host", "127.0.0.1:8001")]), None);
        }
        for address in ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1"] {
            let access = Access::new(None, address.parse().unwrap());
            assert!(access.why_closed().is_some(), "{address}");
            let host = [("host", "127.0.0.1:8001")];
            assert_eq!(problem(&access, &host), Some(Kind::Forbidden), "{address}");
        }
    }

    #[test]
    fn a_socket_of_this_user_needs_no_token_and_is_not_for_pages_either() {
        let open = Access::of_own_socket(None);
        assert!(open.why_closed().is_none());
        assert_eq!(problem(&open, &[("host", "any.example")]), None);
        let page = [("origin", "http://localhost")];
        assert_eq!(problem(&open, &page), Some(Kind::Forbidden));
        let token = Token::parse(SECRET.as_bytes()).unwrap();
        let with = Access::of_own_socket(Some(&token));
        assert_eq!(problem(&with, &[]), Some(Kind::Unauthorized));
    }

    #[test]
    fn a_refusal_says_where_the_token_is_and_not_what() {
        let token = Token::parse(SECRET.as_bytes()).unwrap();
        let access = Access::new(Some(&token), LOOPBACK).found_in("/run/x".to_owned());
        let refused = access.unauthorized("").detail;
        assert!(refused.contains("(it is in /run/x)"), "{refused}");
        assert!(!refused.contains(SECRET), "{refused}");
        let closed = Access::closed("set --run-dir".to_owned());
        assert_eq!(closed.why_closed(), Some("set --run-dir"));
        assert_eq!(problem(&closed, &[]), Some(Kind::Forbidden));
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
