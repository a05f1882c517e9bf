//! Answers of the Open Inference Protocol.

use predictor::Scores;
use serde::{Serialize, Serializer};
use service::Predictions;
use utoipa::ToSchema;

use super::{Infer, Output, Wanted, binary};
use crate::problem::{Kind, Problem};
use crate::protocol::Written;

/// The labels of all texts and their scores, highest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct InferResponse<'a> {
    /// The name of the model, as the request has it.
    model_name: &'a str,
    /// The first 12 digits of the digest of the revision that answered; of each, if a canary
    /// answered some of the texts.
    #[schema(pattern = "^[0-9a-f]{12}(, [0-9a-f]{12})*$")]
    model_version: &'a str,
    /// The id of the request, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    id: Option<&'a str>,
    /// The outputs that are wanted, in the order of the request.
    #[schema(min_items = 1, max_items = 2)]
    outputs: Vec<InferOutput<'a>>,
}

/// A tensor of labels (`BYTES`) or of their scores (`FP32`).
#[derive(Serialize, ToSchema)]
struct InferOutput<'a> {
    /// `labels` or `scores`.
    #[schema(value_type = String, pattern = "^(labels|scores)$")]
    name: &'static str,
    /// `BYTES` or `FP32`.
    #[schema(value_type = String, pattern = "^(BYTES|FP32)$")]
    datatype: &'static str,
    /// The number of texts, and that of labels.
    #[schema(value_type = Vec<u64>, min_items = 2, max_items = 2)]
    shape: [usize; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    parameters: Option<InferOutputParameters>,
    /// The elements, those of the first text first; absent if they are binary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<InferElement>, required = false)]
    data: Option<Elements<'a>>,
}

/// Where the elements of an output are.
#[derive(Serialize, ToSchema)]
struct InferOutputParameters {
    /// They follow the JSON and earlier outputs, in so many bytes.
    binary_data_size: usize,
}

/// A label or a score.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum InferElement {
    Label(String),
    Score(f32),
}

/// The elements of an output.
enum Elements<'a> {
    Labels(&'a [Scores]),
    Scores(&'a [Scores]),
}

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Labels(texts) => {
                let all = texts.iter().flat_map(|scores| scores.iter());
                serializer.collect_seq(all.map(|score| &*score.label))
            }
            Self::Scores(texts) => {
                let all = texts.iter().flat_map(|scores| scores.iter());
                serializer.collect_seq(all.map(|score| score.score))
            }
        }
    }
}

impl Infer {
    /// The answer of this version.
    ///
    /// # Errors
    ///
    /// If the texts have different numbers of labels: a guest may answer so, and no tensor
    /// can.
    pub(crate) fn write(
        &self,
        predictions: &Predictions,
        version: &str,
    ) -> Result<Written, Problem> {
        let scores = &*predictions.scores;
        let labels = scores.first().map_or(0, |scores| scores.len());
        if scores.iter().any(|scores| scores.len() != labels) {
            return Err(Problem::new(
                Kind::Failed,
                "the texts have different numbers of labels, which no tensor can hold: send \
                 them one by one, or to `POST /predict`",
            ));
        }
        let mut binary = Vec::new();
        let shape = [scores.len(), labels];
        let output = |&Wanted {
                          output,
                          binary: is_binary,
                      }: &Wanted| {
            let elements = match output {
                Output::Labels => Elements::Labels(scores),
                Output::Scores => Elements::Scores(scores),
            };
            let packed = is_binary.then(|| match output {
                Output::Labels => binary::labels(scores),
                Output::Scores => binary::scores(scores),
            });
            let parameters = packed.map(|packed| {
                binary.extend_from_slice(&packed);
                let binary_data_size = packed.len();
                InferOutputParameters { binary_data_size }
            });
            InferOutput {
                name: output.name(),
                datatype: output.datatype(),
                shape,
                data: parameters.is_none().then_some(elements),
                parameters,
            }
        };
        let outputs = self.outputs.iter().map(output).collect();
        let written = Written::json(&InferResponse {
            model_name: &self.model,
            model_version: version,
            id: self.id.as_deref(),
            outputs,
        })?;
        let is_binary = self.outputs.iter().any(|wanted| wanted.binary);
        Ok(if is_binary {
            written.followed_by(&binary)
        } else {
            written
        })
    }
}
