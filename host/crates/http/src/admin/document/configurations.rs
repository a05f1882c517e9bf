//! The documents of the configurations API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use predictor::Configuration;

/// Keys and values that a guest reads, for people to see: `null` for a value that is secret by
/// the name of its key.
pub type Shown = BTreeMap<String, Option<String>>;

/// Values for keys; `null` removes a key: `POST /configurations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"margin": "0.3"}))]
pub struct Changes(
    /// Numbers and booleans are read as well, and become strings.
    pub BTreeMap<String, Option<String>>,
);

/// A configuration that was received: `POST /configurations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceivedConfiguration {
    /// SHA-256 over its keys and values; that of no bytes if there are none.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub configuration: String,
    /// All of its keys, with the values that are not secret.
    pub settings: Shown,
    /// Whether it was among the latest before.
    pub known: bool,
}

impl ReceivedConfiguration {
    pub(in super::super) fn new(received: &Configuration, known: bool) -> Self {
        Self {
            configuration: received.digest().to_string(),
            settings: shown(received),
            known,
        }
    }
}

/// A configuration for people to see.
pub fn shown(configuration: &Configuration) -> Shown {
    let shown = configuration.shown();
    let owned = |(key, value): (&str, Option<&str>)| (key.to_owned(), value.map(str::to_owned));
    shown.map(owned).collect()
}
