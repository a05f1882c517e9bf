//! Scores as JSON.

use predictor::{Score, Scores};
use serde::{Serialize, Serializer};
use service::Predictions;
use utoipa::ToSchema;

/// The scores of the texts of a request.
#[derive(Serialize, ToSchema)]
#[schema(as = Predictions)]
pub(crate) struct Document<'a> {
    /// For each text, in the order of the texts, the scores of all labels, highest
    /// first.
    #[schema(value_type = Vec<Vec<LabelledScore>>)]
    predictions: Lists<'a>,
}

impl<'a> From<&'a [Scores]> for Document<'a> {
    fn from(scores: &'a [Scores]) -> Self {
        Self {
            predictions: Lists::of(scores, usize::MAX),
        }
    }
}

/// The scores of each text, the highest of them.
pub(crate) struct Lists<'a> {
    scores: &'a [Scores],
    most: usize,
}

impl<'a> Lists<'a> {
    /// The `most` highest scores of each text.
    pub(crate) fn of(scores: &'a [Scores], most: usize) -> Self {
        Self { scores, most }
    }
}

impl Serialize for Lists<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let each = self.scores.iter();
        serializer.collect_seq(each.map(|scores| List::of(scores, self.most)))
    }
}

/// The scores of one text.
pub(crate) struct List<'a>(pub(crate) &'a [Score]);

impl<'a> List<'a> {
    /// The `most` highest scores of a text.
    pub(crate) fn of(scores: &'a [Score], most: usize) -> Self {
        Self(&scores[..most.min(scores.len())])
    }
}

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(LabelledScore::from))
    }
}

/// How well a label fits a text.
#[derive(Serialize, ToSchema)]
#[schema(as = Score)]
pub(crate) struct LabelledScore<'a> {
    /// One of the labels of the model, or of the guest.
    label: &'a str,
    /// Written with as many digits as tell it from every other `f32`.
    score: f32,
}

impl<'a> From<&'a Score> for LabelledScore<'a> {
    fn from(Score { label, score }: &'a Score) -> Self {
        Self {
            label,
            score: *score,
        }
    }
}

/// The document with which `POST /predict` answers, for use without HTTP.
///
/// # Errors
///
/// None that is known; what the serialiser reports is passed on.
pub fn predictions_json(predictions: &Predictions) -> serde_json::Result<String> {
    serde_json::to_string(&Document::from(&*predictions.scores))
}
