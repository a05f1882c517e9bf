//! Where guests and models came from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a version came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// From a file that the server read.
    File {
        /// The file, as the server was told of it.
        path: String,
    },
    /// From a request.
    Upload,
    /// From a registry.
    Artifact {
        /// By this reference.
        reference: String,
    },
}

impl From<&revisions::Origin> for Origin {
    fn from(origin: &revisions::Origin) -> Self {
        match origin {
            revisions::Origin::File(path) => Self::File {
                path: path.display().to_string(),
            },
            revisions::Origin::Upload => Self::Upload,
            revisions::Origin::Artifact(reference) => Self::Artifact {
                reference: reference.to_string(),
            },
        }
    }
}
