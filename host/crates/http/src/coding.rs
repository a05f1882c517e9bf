//! The content codings that bodies may come and go in: gzip, Brotli and Zstandard.
//!
//! This module must not know bodies: it reads and names codings.

use std::fmt;

use hyper::HeaderMap;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};

use super::problem::{Kind, Problem};

/// What a request may be packed with, as `Accept-Encoding` says it.
pub(crate) const ACCEPTED: &str = "br, gzip, zstd";

/// A way to pack bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 8878
    Zstd,
    /// RFC 7932
    Brotli,
    /// RFC 1952
    Gzip,
}

/// The codings of answers, the cheapest first: among those that a client likes equally
/// it is the processor that counts.
const PREFERRED: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

impl Coding {
    /// The coding of this name, in any case.
    fn named(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("gzip") || is("x-gzip") {
            Some(Self::Gzip)
        } else if is("br") {
            Some(Self::Brotli)
        } else {
            is("zstd").then_some(Self::Zstd)
        }
    }

    /// Its name, as `Content-Encoding` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// Its name as a header.
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a request's body is packed with, if it is.
///
/// # Errors
///
/// If it is packed with something else, or more than once.
pub(crate) fn of_request(headers: &HeaderMap) -> Result<Option<Coding>, Problem> {
    let mut found = None;
    for member in members(headers, &CONTENT_ENCODING) {
        if member.is_empty() || member.eq_ignore_ascii_case("identity") {
            continue;
        }
        let coding = Coding::named(member);
        if coding.is_none() || found.is_some() {
            return Err(Problem::new(
                Kind::UnsupportedContentEncoding,
                format!(
                    "the body may be packed with one of {ACCEPTED}, once, or not at all: \
                     `Content-Encoding` says something else"
                ),
            ));
        }
        found = coding;
    }
    Ok(found)
}

/// What an answer is to be packed with: what the client likes most (RFC 9110, section
/// 12.5.3), and nothing if it does not say or likes it no less.
pub(crate) fn of_answer(headers: &HeaderMap) -> Option<Coding> {
    let liked = Liked::of(headers);
    // Unless it is named, it is taken but not wished for.
    let least = liked.plain.unwrap_or(1).max(1);
    let weights = PREFERRED.into_iter().zip(liked.weights);
    // Of equals, the last one is found: so the cheapest has to be.
    let (coding, weight) = weights.rev().max_by_key(|(_, weight)| *weight)?;
    (weight >= least).then_some(coding)
}

/// Whether a client takes what is packed so. One that does not say gets what it can
/// read in any case.
pub(crate) fn is_taken(coding: Coding, headers: &HeaderMap) -> bool {
    let weights = PREFERRED.into_iter().zip(Liked::of(headers).weights);
    weights
        .into_iter()
        .any(|(known, weight)| known == coding && weight > 0)
}

/// How much a client likes what an answer may come as, in thousandths.
struct Liked {
    /// Of each that is preferred.
    weights: [u16; PREFERRED.len()],
    /// Of what is not packed, if it says.
    plain: Option<u16>,
}

impl Liked {
    fn of(headers: &HeaderMap) -> Self {
        let (mut weights, mut any, mut plain) = ([None; PREFERRED.len()], None, None);
        for member in members(headers, &ACCEPT_ENCODING) {
            let (name, weight) = member.split_once(';').unwrap_or((member, ""));
            let (name, weight) = (name.trim(), weight_of(weight));
            if name == "*" {
                any = Some(weight);
            } else if name.eq_ignore_ascii_case("identity") {
                plain = Some(weight);
            } else if let Some(coding) = Coding::named(name) {
                let at = PREFERRED.iter().position(|known| *known == coding);
                if let Some(place) = at.and_then(|at| weights.get_mut(at)) {
                    *place = Some(weight);
                }
            }
        }
        let weights = weights.map(|weight| weight.or(any).unwrap_or(0));
        Self { weights, plain }
    }
}

/// A weight in thousandths; what is none counts as a refusal.
fn weight_of(parameter: &str) -> u16 {
    let parameter = parameter.trim();
    if parameter.is_empty() {
        return 1000;
    }
    let value = parameter
        .strip_prefix(['q', 'Q'])
        .and_then(|rest| rest.trim_start().strip_prefix('='));
    let weight: f32 = value
        .and_then(|value| value.trim().parse().ok())
        .filter(|weight| (0.0..=1.0).contains(weight))
        .unwrap_or_default();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 1000"
    )]
    let thousandths = (weight * 1000.0).round() as u16;
    thousandths
}

/// The members of a list that may be in several lines.
pub(super) fn members<'a>(
    headers: &'a HeaderMap,
    name: &hyper::header::HeaderName,
) -> impl Iterator<Item = &'a str> {
    // What is no text is no member that is known.
    let values = headers.get_all(name).iter();
    let lists = values.map(|value| value.to_str().unwrap_or("?"));
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &hyper::header::HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn a_body_is_packed_once_or_not_at_all() {
        for (values, coding) in [
            (&[][..], None),
            (&[""], None),
            (&["identity"], None),
            (&["gzip"], Some(Coding::Gzip)),
            (&["X-GZip"], Some(Coding::Gzip)),
            (&["identity, br"], Some(Coding::Brotli)),
            (&["ZSTD", "identity"], Some(Coding::Zstd)),
        ] {
            let found = of_request(&headers(&CONTENT_ENCODING, values));
            assert_eq!(found, Ok(coding), "{values:?}");
        }
        for values in [
            &["deflate"][..],
            &["gzip, br"],
            &["gzip", "gzip"],
            &["ä"],
            &["gzip;q=1"],
        ] {
            let problem = of_request(&headers(&CONTENT_ENCODING, values)).unwrap_err();
            assert_eq!(problem.kind, Kind::UnsupportedContentEncoding, "{values:?}");
            assert!(problem.detail.contains(ACCEPTED));
        }
    }

    #[test]
    fn what_is_packed_already_is_for_those_who_take_it() {
        for (values, taken) in [
            (&[][..], false),
            (&["gzip, deflate, br, zstd"], true),
            (&["br;q=1.0, GZIP;q=0.8, *;q=0.1"], true),
            (&["br", "gzip"], true),
            (&["*"], true),
            (&["gzip;q=0, *"], false),
            (&["gzip;q=0.000"], false),
            (&["*;q=0"], false),
            (&["gzip;q=x"], false),
            (&["identity, br, xgzip"], false),
            (&["gzip;q=0.1, identity"], true),
            (&[""], false),
        ] {
            let headers = headers(&ACCEPT_ENCODING, values);
            assert_eq!(is_taken(Coding::Gzip, &headers), taken, "{values:?}");
        }
    }

    #[test]
    fn an_answer_is_packed_as_the_client_likes_it() {
        use Coding::{Brotli, Gzip, Zstd};
        for (values, coding) in [
            (&[][..], None),
            (&[""], None),
            (&["identity"], None),
            (&["deflate, compress"], None),
            (&["gzip, deflate, br, zstd"], Some(Zstd)),
            (&["gzip, deflate"], Some(Gzip)),
            (&["gzip", "br"], Some(Brotli)),
            (&["GZIP;q=0.8, br;q=0.8, zstd;q=0.2"], Some(Brotli)),
            (&["gzip;q=1.0, br ; Q = 0.999"], Some(Gzip)),
            (&["*"], Some(Zstd)),
            (&["*, zstd;q=0"], Some(Brotli)),
            (&["*;q=0, gzip;q=0.001"], Some(Gzip)),
            (&["gzip;q=0"], None),
            (&["gzip;q=0.000, *;q=0"], None),
            (&["gzip;q=x"], None),
            (&["gzip;q=2"], None),
            (&["gzip;q=0.5, identity"], None),
            (&["gzip;q=0.5, identity;q=0.5"], Some(Gzip)),
            (&["gzip;q=0.5, identity;q=0"], Some(Gzip)),
            (&["ä, gzip"], None),
        ] {
            let found = of_answer(&headers(&ACCEPT_ENCODING, values));
            assert_eq!(found, coding, "{values:?}");
        }
    }
}
