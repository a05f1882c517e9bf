//! The versions API: see, add, try and change versions.
//!
//! This module must not know how versions are made, kept or routed to, nor who
//! may ask.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use super::document;
use super::document::{Added, Change, Entry, Gone, Listing, Name};
use super::query::{flag, invalid, parameters, share};
use super::upload::Uploads;
use crate::http::exchange::document as json;
use crate::http::problem::{Kind, Problem};
use crate::predictor::Digest;
use crate::rollout::{Share, Trial};
use crate::versions::{Known, Versions};

/// The fewest digits of a digest that name a version.
const FEWEST_DIGITS: usize = 4;

/// What a path is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    All,
    One(&'a str),
    Activate(&'a str),
    Try(&'a str, Trial),
    Trial,
    Promote,
    Rollback,
    Reload,
}

impl<'a> Target<'a> {
    /// What a path is about, if it is one of this API.
    pub(super) fn of(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let mut parts = path.split('/');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
        Some(match parts {
            [Some("versions"), None, ..] => Self::All,
            [Some("versions"), Some(id), None, _] => Self::One(id),
            [Some("versions"), Some(id), Some("activate"), None] => Self::Activate(id),
            [Some("versions"), Some(id), Some("canary"), None] => Self::Try(id, Trial::Canary),
            [Some("versions"), Some(id), Some("shadow"), None] => Self::Try(id, Trial::Shadow),
            [Some("trial"), None, ..] => Self::Trial,
            [Some("trial"), Some("promote"), None, _] => Self::Promote,
            [Some("rollback"), None, ..] => Self::Rollback,
            [Some("reload"), None, ..] => Self::Reload,
            _ => return None,
        })
    }
}

/// What is done with a version that is uploaded.
enum Then {
    Keep,
    Activate,
    Try(Trial, Share),
}

/// Answers a request about versions. `body` is that of the request.
pub(super) async fn answer(
    target: Target<'_>,
    versions: &Arc<Versions>,
    uploads: &Uploads,
    head: &Parts,
    body: &mut Incoming,
) -> Result<Response<Full<Bytes>>, Problem> {
    match (target, &head.method) {
        (Target::All, &Method::GET | &Method::HEAD) => {
            let [] = parameters(head, [])?;
            json(&Listing::new(&versions.status(), &versions.list()))
        }
        (Target::All, &Method::POST) => upload(versions, uploads, head, body).await,
        (Target::All, _) => Err(Problem::method_not_allowed("GET, HEAD, POST")),
        (Target::One(id), &Method::GET | &Method::HEAD) => {
            let [] = parameters(head, [])?;
            json(&Entry::new(&versions.status(), &find(versions, id)?))
        }
        (Target::One(id), &Method::DELETE) => {
            let [] = parameters(head, [])?;
            let known = find(versions, id)?;
            versions.remove(&known.version.guest)?;
            gone(&Name::from(&*known.version))
        }
        (Target::One(_), _) => Err(Problem::method_not_allowed("DELETE, GET, HEAD")),
        (Target::Activate(id), &Method::POST) => {
            let [force] = parameters(head, ["force"])?;
            let insist = flag("force", force.as_deref())?;
            let known = find(versions, id)?;
            json(&Change::from(
                &versions.activate(&known.version.guest, insist)?,
            ))
        }
        (Target::Try(id, trial), &Method::POST) => {
            let [given] = parameters(head, ["share"])?;
            let share = match (given, trial) {
                (Some(given), _) => share("share", &given)?,
                // All of its answers are dropped.
                (None, Trial::Shadow) => Share::ALL,
                (None, Trial::Canary) => {
                    return Err(invalid(
                        "`share` must say which share of the texts the version answers, such \
                         as 0.1"
                            .to_owned(),
                    ));
                }
            };
            let known = find(versions, id)?;
            versions.begin_trial(&known.version.guest, trial, share)?;
            json(&document::Trial::new(&known.version, trial, share))
        }
        (Target::Trial, &Method::DELETE) => {
            let [] = parameters(head, [])?;
            gone(&Name::from(&*versions.end_trial()?))
        }
        (Target::Trial, _) => Err(Problem::method_not_allowed("DELETE")),
        (Target::Promote, &Method::POST) => {
            let [] = parameters(head, [])?;
            json(&Change::from(&versions.promote()?))
        }
        (Target::Rollback, &Method::POST) => {
            let [from] = parameters(head, ["from"])?;
            let from = from.map(|from| guest(versions, &from)).transpose()?;
            json(&Change::from(&versions.rollback(from.as_ref())?))
        }
        (Target::Reload, &Method::POST) => {
            let [] = parameters(head, [])?;
            let (added, change) = versions.reload().await?;
            json(&Added {
                change: Some(Change::from(&change)),
                ..Added::from(&added)
            })
        }
        (
            Target::Activate(_)
            | Target::Try(..)
            | Target::Promote
            | Target::Rollback
            | Target::Reload,
            _,
        ) => Err(Problem::method_not_allowed("POST")),
    }
}

/// Adds the version in a body, and then does with it what the query says. If the
/// client leaves before it is ready, it is added and nothing more: who breaks a
/// swap off does not want it to happen later.
async fn upload(
    versions: &Arc<Versions>,
    uploads: &Uploads,
    head: &Parts,
    body: &mut Incoming,
) -> Result<Response<Full<Bytes>>, Problem> {
    // Before seconds are spent on a request that is wrong anyway.
    let then = then(head)?;
    let added = uploads.add(versions, &head.headers, body).await?;
    let version = &added.version;
    let mut document = Added::from(&added);
    match then {
        Then::Keep => {}
        Then::Activate => {
            document.change = Some(Change::from(&versions.activate(&version.guest, false)?));
        }
        Then::Try(trial, share) => {
            versions.begin_trial(&version.guest, trial, share)?;
            document.trial = Some(document::Trial::new(version, trial, share));
        }
    }
    let mut response = json(&document)?;
    if !added.known {
        *response.status_mut() = StatusCode::CREATED;
        if let Ok(location) = HeaderValue::try_from(format!("/versions/{}", version.guest)) {
            response.headers_mut().insert(LOCATION, location);
        }
    }
    Ok(response)
}

fn then(head: &Parts) -> Result<Then, Problem> {
    let [activate, canary, shadow] = parameters(head, ["activate", "canary", "shadow"])?;
    let activate = flag("activate", activate.as_deref())?;
    match (activate, canary, shadow) {
        (false, None, None) => Ok(Then::Keep),
        (true, None, None) => Ok(Then::Activate),
        (false, Some(canary), None) => Ok(Then::Try(Trial::Canary, share("canary", &canary)?)),
        (false, None, Some(shadow)) => Ok(Then::Try(Trial::Shadow, share("shadow", &shadow)?)),
        _ => Err(invalid(
            "only one of `activate`, `canary` and `shadow` can be done with a version".to_owned(),
        )),
    }
}

/// The version with this digest, or whose digest alone begins so.
fn find(versions: &Versions, id: &str) -> Result<Known, Problem> {
    let digits = id.to_ascii_lowercase();
    let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !(FEWEST_DIGITS..=64).contains(&digits.len()) || !is_hexadecimal {
        return Err(Problem::new(
            Kind::UnknownVersion,
            "a version is named by the SHA-256 of its guest, or by 4 or more of the 64 \
             hexadecimal digits that this begins with",
        ));
    }
    Ok(versions.find(&digits)?)
}

fn guest(versions: &Versions, id: &str) -> Result<Digest, Problem> {
    Ok(find(versions, id)?.version.guest)
}

fn gone(version: &Name) -> Result<Response<Full<Bytes>>, Problem> {
    json(&Gone {
        version: version.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_what_they_say_and_nothing_else() {
        for (path, target) in [
            ("/versions", Target::All),
            ("/versions/1f3a", Target::One("1f3a")),
            ("/versions/1f3a/activate", Target::Activate("1f3a")),
            ("/versions/1f3a/canary", Target::Try("1f3a", Trial::Canary)),
            ("/versions/1f3a/shadow", Target::Try("1f3a", Trial::Shadow)),
            ("/trial", Target::Trial),
            ("/trial/promote", Target::Promote),
            ("/rollback", Target::Rollback),
            ("/reload", Target::Reload),
        ] {
            assert_eq!(Target::of(path), Some(target), "{path}");
            assert_eq!(Target::of(&format!("{path}/x/y/z")), None, "{path}/x/y/z");
            assert_eq!(Target::of(&format!("/x{path}")), None, "/x{path}");
        }
        for path in ["", "/", "versions", "/version", "/trial/", "/rollback/x"] {
            assert_eq!(Target::of(path), None, "{path}");
        }
    }
}
