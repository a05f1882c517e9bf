//! What there might be to answer: problems and documents.
//!
//! This module must not know operations.

use hyper::Request;

use crate::admin::document::{Added, Change, Entry, Gone, Name, Origin, Standing};
use crate::admin::query::parameters;
use crate::admin::versions::unnamed;
use crate::problem::Problem;
use predictor::{Digest, Revision};
use revisions::{Refusal, RevisionError};

// ---- Problems, made as they are made elsewhere ----

/// That of a parameter which a path that takes those in `expected` does not take.
pub(super) fn unexpected<const N: usize>(expected: [&str; N]) -> Vec<Problem> {
    let request = Request::builder().uri("/?other=1").body(());
    let refused = request.map(|request| parameters(&request.into_parts().0, expected).err());
    refused.ok().flatten().into_iter().collect()
}

pub(super) fn unknown() -> Vec<Problem> {
    vec![
        unnamed(),
        RevisionError::Unknown("0123456789ab".to_owned()).into(),
        RevisionError::Ambiguous("0123".to_owned()).into(),
    ]
}

pub(super) fn quarantined() -> Problem {
    let guest = example("another guest").guest().short();
    let reason = "5 of its last 5 calls failed".to_owned();
    RevisionError::Quarantined { guest, reason }.into()
}

pub(super) fn refused() -> Problem {
    let step = "contract";
    let reason = "the component does not export `predict`".to_owned();
    RevisionError::Refused(Refusal { step, reason }).into()
}

pub(super) fn unavailable() -> Problem {
    let reason = "no thread can be started: Resource temporarily unavailable (os error 11)";
    RevisionError::Unavailable(reason.to_owned()).into()
}

// ---- Documents ----

/// A version that there might be.
pub(super) fn example(guest: &str) -> Revision {
    let digest = |of: &str| Digest::of(of.as_bytes());
    Revision::new(
        digest(guest),
        digest("the model"),
        Revision::NO_CONFIGURATION,
    )
}

pub(super) fn entry() -> Entry {
    Entry {
        name: Name::from(&example("the guest")),
        standing: Standing::Live,
        share: None,
        quarantine: None,
        comparison: None,
        origin: Origin::File {
            path: "fastsentiment_guest.wasm".to_owned(),
        },
        size_bytes: 3_145_728,
        added: "2026-11-23T08:00:00Z".to_owned(),
        activated: Some("2026-11-23T08:00:00Z".to_owned()),
        texts: 1024,
        failures: 0,
    }
}

pub(super) fn added() -> Added {
    Added {
        version: Name::from(&example("another guest")),
        known: false,
        compiled: true,
        took_ms: 5120,
        change: None,
        trial: None,
    }
}

pub(super) fn change() -> Change {
    Change {
        live: Name::from(&example("another guest")),
        before: Name::from(&example("the guest")),
        changed: true,
    }
}

pub(super) fn gone() -> Gone {
    Gone {
        version: Name::from(&example("another guest")),
    }
}
