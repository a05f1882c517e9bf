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
use crate::exchange::document as json;
use crate::problem::{Kind, Problem};
use revisions::{KnownRevision, Revisions};
use rollout::{Share, Trial};

/// The fewest digits of a digest that name a version.
pub(super) const FEWEST_DIGITS: usize = 4;

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

    /// Refuses a path that names what can not be a version.
    pub(super) fn check(self) -> Result<(), Problem> {
        match self {
            Self::One(id) | Self::Activate(id) | Self::Try(id, _) if !is_name(id) => Err(unnamed()),
            _ => Ok(()),
        }
    }

    /// The methods that the path takes, for the `Allow` header.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::All => "GET, HEAD, OPTIONS, POST",
            Self::One(_) => "DELETE, GET, HEAD, OPTIONS",
            Self::Trial => "DELETE, OPTIONS",
            Self::Activate(_) | Self::Try(..) | Self::Promote | Self::Rollback | Self::Reload => {
                "OPTIONS, POST"
            }
        }
    }
}

/// The paths of this API, with `{id}` for the digest of a version.
pub(super) const PATHS: [&str; 9] = [
    "/versions",
    "/versions/{id}",
    "/versions/{id}/activate",
    "/versions/{id}/canary",
    "/versions/{id}/shadow",
    "/trial",
    "/trial/promote",
    "/rollback",
    "/reload",
];

/// What is done with a version that is uploaded.
enum Then {
    Keep,
    Activate,
    Try(Trial, Share),
}

/// Answers a request about versions. `body` is that of the request.
pub(super) async fn answer(
    target: Target<'_>,
    versions: &Arc<Revisions>,
    uploads: &Uploads,
    head: &Parts,
    body: &mut Incoming,
) -> Result<Response<Full<Bytes>>, Problem> {
    match (target, &head.method) {
        (Target::All, &Method::GET | &Method::HEAD) => {
            let [] = parameters(head, [])?;
            json(&Listing::new(
                &versions.status(),
                &versions.list(),
                versions.configured_fault(),
            ))
        }
        (Target::All, &Method::POST) => upload(versions, uploads, head, body).await,
        (Target::One(id), &Method::GET | &Method::HEAD) => {
            let [] = parameters(head, [])?;
            json(&Entry::new(&versions.status(), &find(versions, id)?))
        }
        (Target::One(id), &Method::DELETE) => {
            let [] = parameters(head, [])?;
            let known = find(versions, id)?;
            versions.remove(&known.revision)?;
            gone(&Name::from(&*known.revision))
        }
        (Target::Activate(id), &Method::POST) => {
            let [force] = parameters(head, ["force"])?;
            let insist = flag("force", force.as_deref())?;
            let known = find(versions, id)?;
            json(&Change::from(&versions.activate(&known.revision, insist)?))
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
            versions.begin_trial(&known.revision, trial, share)?;
            json(&document::Trial::new(&known.revision, trial, share))
        }
        (Target::Trial, &Method::DELETE) => {
            let [] = parameters(head, [])?;
            gone(&Name::from(&*versions.end_trial()?))
        }
        (Target::Promote, &Method::POST) => {
            let [] = parameters(head, [])?;
            json(&Change::from(&versions.promote()?))
        }
        (Target::Rollback, &Method::POST) => {
            let [from] = parameters(head, ["from"])?;
            let from = from.map(|from| find(versions, &from)).transpose()?;
            let from = from.map(|known| known.revision);
            json(&Change::from(&versions.rollback(from.as_deref())?))
        }
        (Target::Reload, &Method::POST) => {
            let [] = parameters(head, [])?;
            let (added, change) = versions.reload().await?;
            json(&Added {
                change: Some(Change::from(&change)),
                ..Added::from(&added)
            })
        }
        (target, _) => Err(Problem::method_not_allowed(target.allow())),
    }
}

/// Adds the version in a body, and then does with it what the query says. If the
/// client leaves before it is ready, it is added and nothing more: who breaks a
/// swap off does not want it to happen later.
async fn upload(
    versions: &Arc<Revisions>,
    uploads: &Uploads,
    head: &Parts,
    body: &mut Incoming,
) -> Result<Response<Full<Bytes>>, Problem> {
    // Before seconds are spent on a request that is wrong anyway.
    let then = then(head)?;
    let added = uploads.add(versions, &head.headers, body).await?;
    let revision = &added.revision;
    let mut document = Added::from(&added);
    match then {
        Then::Keep => {}
        Then::Activate => {
            document.change = Some(Change::from(&versions.activate(revision, false)?));
        }
        Then::Try(trial, share) => {
            versions.begin_trial(revision, trial, share)?;
            document.trial = Some(document::Trial::new(revision, trial, share));
        }
    }
    let mut response = json(&document)?;
    if !added.known {
        *response.status_mut() = StatusCode::CREATED;
        if let Ok(location) = HeaderValue::try_from(format!("/versions/{}", revision.guest())) {
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

/// The version whose digest, or whose guest's, alone begins so.
fn find(versions: &Revisions, id: &str) -> Result<KnownRevision, Problem> {
    if !is_name(id) {
        return Err(unnamed());
    }
    Ok(versions.find(&id.to_ascii_lowercase())?)
}

/// Whether a version can be named so.
fn is_name(id: &str) -> bool {
    let is_hexadecimal = id.bytes().all(|digit| digit.is_ascii_hexdigit());
    (FEWEST_DIGITS..=64).contains(&id.len()) && is_hexadecimal
}

/// The problem of what can not name a version.
pub(super) fn unnamed() -> Problem {
    Problem::new(
        Kind::UnknownVersion,
        "a version is named by the SHA-256 of its guest, or by 4 or more of the 64 \
         hexadecimal digits that this begins with",
    )
}

fn gone(version: &Name) -> Result<Response<Full<Bytes>>, Problem> {
    json(&Gone {
        version: version.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place in [`PATHS`]; the compiler asks for it when there is a new target.
    fn place(target: Target<'_>) -> usize {
        match target {
            Target::All => 0,
            Target::One(_) => 1,
            Target::Activate(_) => 2,
            Target::Try(_, Trial::Canary) => 3,
            Target::Try(_, Trial::Shadow) => 4,
            Target::Trial => 5,
            Target::Promote => 6,
            Target::Rollback => 7,
            Target::Reload => 8,
        }
    }

    #[test]
    fn every_target_has_its_path() {
        let places: Vec<_> = PATHS
            .into_iter()
            .filter_map(Target::of)
            .map(place)
            .collect();
        assert_eq!(places, (0..PATHS.len()).collect::<Vec<_>>());
    }

    #[test]
    fn what_can_name_no_version_is_refused() {
        for id in ["1f3", "1f3g", "", "{id}", &"0".repeat(65)] {
            assert_eq!(Target::One(id).check(), Err(unnamed()), "{id}");
            assert_eq!(Target::Activate(id).check(), Err(unnamed()), "{id}");
            assert!(Target::Try(id, Trial::Canary).check().is_err(), "{id}");
        }
        assert_eq!(Target::One(&"Ab".repeat(32)).check(), Ok(()));
        assert_eq!(Target::Reload.check(), Ok(()));
    }

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
            assert_eq!(target.check(), Ok(()), "{path}");
        }
        for path in ["", "/", "versions", "/version", "/trial/", "/rollback/x"] {
            assert_eq!(Target::of(path), None, "{path}");
        }
    }
}
