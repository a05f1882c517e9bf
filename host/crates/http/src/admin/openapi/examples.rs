//! What there might be to answer: problems and documents.
//!
//! This module must not know operations.

use hyper::Request;
use sha2::{Digest as _, Sha256};

use crate::admin::document::{Added, Change, Entry, Gone, Name, Origin, Standing};
use crate::admin::query::parameters;
use crate::admin::versions::unnamed;
use crate::problem::Problem;
use predictor::{Digest, Version};
use revisions::{Refusal, VersionsError};

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
        VersionsError::Unknown("0123456789ab".to_owned()).into(),
        VersionsError::Ambiguous("0123".to_owned()).into(),
    ]
}

pub(super) fn quarantined() -> Problem {
    let guest = example("another guest").guest.short();
    let reason = "5 of its last 5 calls failed".to_owned();
    VersionsError::Quarantined { guest, reason }.into()
}

pub(super) fn refused() -> Problem {
    let step = "contract";
    let reason = "the component does not export `predict`".to_owned();
    VersionsError::Refused(Refusal { step, reason }).into()
}

pub(super) fn unavailable() -> Problem {
    let reason = "no thread can be started: Resource temporarily unavailable (os error 11)";
    VersionsError::Unavailable(reason.to_owned()).into()
}

// ---- Documents ----

/// A version that there might be.
pub(super) fn example(guest: &str) -> Version {
    let digest = |of: &str| Digest(Sha256::digest(of.as_bytes()).into());
    Version {
        guest: digest(guest),
        model: digest("the model"),
    }
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
