//! The documents of the models API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use revisions::{KnownRevision, Model};

use super::Origin;

/// All models: `GET /models`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelListing {
    /// Those that came last first.
    pub models: Vec<ModelEntry>,
}

/// A model that versions can be made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelEntry {
    /// SHA-256 over the model directory's files.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub model: String,
    /// The beginning of `model`, by which it can be named as well.
    #[schema(pattern = "^[0-9a-f]{12}$")]
    pub model_short: String,
    /// Where it came from.
    pub origin: Origin,
    /// The revisions that have it and are ready. It is loaded while there are any.
    pub versions: Vec<String>,
}

/// A model that was uploaded: `POST /models`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadedModel {
    /// SHA-256 over the model directory's files.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub model: String,
    /// The beginning of `model`, by which it can be named as well.
    #[schema(pattern = "^[0-9a-f]{12}$")]
    pub model_short: String,
    /// Whether it was known before.
    pub known: bool,
}

impl ModelEntry {
    /// Of a model, and all versions.
    pub(in super::super) fn new(model: &Model, known: &[KnownRevision]) -> Self {
        let of_model = known
            .iter()
            .filter(|known| known.revision.model() == model.digest);
        Self {
            model: model.digest.to_string(),
            model_short: model.digest.short(),
            origin: Origin::from(&model.origin),
            versions: of_model
                .map(|known| known.revision.digest().to_string())
                .collect(),
        }
    }
}

impl UploadedModel {
    pub(in super::super) fn new(model: &Model, known: bool) -> Self {
        Self {
            model: model.digest.to_string(),
            model_short: model.digest.short(),
            known,
        }
    }
}
