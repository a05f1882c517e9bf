//! Runs the model on rows of token ids, through `wasi:nn`.
//!
//! `wasi:nn` does not tell what inputs a graph takes, and exports differ: with or
//! without `token_type_ids`, seldom without `attention_mask`, ids as 64-bit or 32-bit integers or as floats (which the
//! ONNX backend of the `wasmtime` command takes). So the signatures are tried once, the
//! likeliest first, and the first that works is kept.
//!
//! This module must not know what the logits mean.

use std::sync::OnceLock;

use crate::bindings::Error;
use crate::bindings::wasi::nn::errors::Error as NnError;
use crate::bindings::wasi::nn::graph::load_by_name;
use crate::bindings::wasi::nn::inference::GraphExecutionContext;
use crate::bindings::wasi::nn::tensor::{Tensor, TensorType};
use crate::encode::Row;

/// The name of the model in `wasi:nn`, which the contract states.
const GRAPH: &str = "model";

/// The inputs that a graph takes.
#[derive(Clone, Copy)]
struct Signature {
    /// Whether it takes `attention_mask`. Without, rows cannot be padded.
    mask: bool,
    token_types: bool,
    element: Element,
}

/// The type of the ids.
#[derive(Clone, Copy)]
enum Element {
    I64,
    I32,
    F32,
}

/// The logits of a batch.
pub(crate) struct Logits {
    values: Vec<f32>,
    labels: usize,
}

impl Logits {
    /// The logits of each row, in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.labels)
    }
}

/// Runs a model, and remembers the signature of its graph.
#[derive(Clone)]
pub(crate) struct Runner {
    pad_id: u32,
    labels: usize,
    expects_token_types: bool,
    signature: OnceLock<Signature>,
}

impl Runner {
    /// A runner for a model with `labels` logits, whose rows are padded with `pad_id`.
    /// `expects_token_types` decides which signature is tried first.
    pub(crate) fn new(pad_id: u32, labels: usize, expects_token_types: bool) -> Self {
        Self {
            pad_id,
            labels,
            expects_token_types,
            signature: OnceLock::new(),
        }
    }

    /// Opens the graph for the runs of one call. The handle must not outlive the call,
    /// since handles do not survive in a snapshot.
    pub(crate) fn open() -> Result<GraphExecutionContext, Error> {
        load_by_name(GRAPH)
            .map_err(|error| Error::ModelMissing(format!("the graph `{GRAPH}`: {}", error.data())))?
            .init_execution_context()
            .map_err(|error| {
                Error::InferenceFailed(format!("no context for `{GRAPH}`: {}", error.data()))
            })
    }

    /// The logits of a batch of rows, which are padded to the longest.
    pub(crate) fn run(
        &self,
        context: &GraphExecutionContext,
        rows: &[&Row],
    ) -> Result<Logits, Error> {
        let outputs = match self.signature.get() {
            Some(signature) => self
                .compute(context, rows, *signature)
                .map_err(|error| Error::InferenceFailed(error.data()))?,
            None => self.probe(context, rows)?,
        };
        self.logits(&outputs, rows.len())
    }

    /// Whether rows of different lengths may be run together: whether padding is masked.
    pub(crate) fn can_pad(&self) -> bool {
        self.signature.get().is_some_and(|signature| signature.mask)
    }

    /// All signatures, the likeliest first.
    fn signatures(&self) -> impl Iterator<Item = Signature> {
        let elements = || [Element::I64, Element::I32, Element::F32].into_iter();
        let token_types = [self.expects_token_types, !self.expects_token_types];
        [true, false].into_iter().flat_map(move |mask| {
            elements().flat_map(move |element| {
                token_types.map(|token_types| Signature {
                    mask,
                    token_types,
                    element,
                })
            })
        })
    }

    fn probe(
        &self,
        context: &GraphExecutionContext,
        rows: &[&Row],
    ) -> Result<Vec<(String, Tensor)>, Error> {
        let mut failures = Vec::new();
        for signature in self.signatures() {
            match self.compute(context, rows, signature) {
                Ok(outputs) => {
                    self.signature.get_or_init(|| signature);
                    return Ok(outputs);
                }
                Err(error) => failures.push(error.data()),
            }
        }
        failures.dedup();
        Err(Error::ModelUnsuitable(format!(
            "model.onnx takes none of the inputs that a sequence classifier is known to take: {}",
            failures.join("; ")
        )))
    }

    fn compute(
        &self,
        context: &GraphExecutionContext,
        rows: &[&Row],
        signature: Signature,
    ) -> Result<Vec<(String, Tensor)>, NnError> {
        let width = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
        let tensor = |pad: u32, values: fn(&Row) -> &[u32]| {
            let rows = rows.iter().map(|row| values(row));
            signature.element.tensor(rows, width, pad)
        };
        let mut inputs = vec![("input_ids".to_owned(), tensor(self.pad_id, |row| &row.ids))];
        if signature.mask {
            let mask = tensor(0, |row| &row.mask);
            inputs.push(("attention_mask".to_owned(), mask));
        }
        if signature.token_types {
            let types = tensor(0, |row| &row.type_ids);
            inputs.push(("token_type_ids".to_owned(), types));
        }
        context.compute(inputs)
    }

    /// Finds the logits in the outputs: the output `logits`, or else the first, since
    /// some exporters number their outputs.
    fn logits(&self, outputs: &[(String, Tensor)], rows: usize) -> Result<Logits, Error> {
        let at = outputs
            .iter()
            .position(|(name, _)| name == "logits")
            .unwrap_or(0);
        let (name, tensor) = outputs
            .get(at)
            .ok_or_else(|| Error::ModelUnsuitable("model.onnx has no output".to_owned()))?;
        let shape = tensor.dimensions();
        if shape
            .iter()
            .map(|size| *size as usize)
            .ne([rows, self.labels])
        {
            let hint = match shape.len() {
                2 => "",
                _ => "; export the model for the task text-classification",
            };
            return Err(Error::ModelUnsuitable(format!(
                "the output `{name}` of model.onnx has the shape {shape:?}, but the texts and the \
                 labels of config.json make [{rows}, {}]{hint}",
                self.labels
            )));
        }
        let values = floats(tensor.ty(), &tensor.data()).ok_or_else(|| {
            Error::ModelUnsuitable(format!(
                "the output `{name}` of model.onnx is not of a float type"
            ))
        })?;
        if values.len() != rows * self.labels {
            return Err(Error::InferenceFailed(format!(
                "the graph's output `{name}` does not fill its shape {shape:?}"
            )));
        }
        Ok(Logits {
            values,
            labels: self.labels,
        })
    }
}

impl Element {
    /// A tensor of the rows, each padded to `width` with `pad`. Ids are at most a few
    /// hundred thousand, so every type here represents them exactly.
    fn tensor<'a>(
        self,
        rows: impl ExactSizeIterator<Item = &'a [u32]>,
        width: usize,
        pad: u32,
    ) -> Tensor {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "memory holds fewer than 2^32 ids"
        )]
        let dimensions = [rows.len() as u32, width as u32];
        let (ty, data) = match self {
            Self::I64 => (
                TensorType::I64,
                fill(rows, width, pad, |id| i64::from(id).to_le_bytes()),
            ),
            Self::I32 => (TensorType::I32, fill(rows, width, pad, u32::to_le_bytes)),
            #[expect(clippy::cast_precision_loss, reason = "ids are below 2^24")]
            Self::F32 => (
                TensorType::Fp32,
                fill(rows, width, pad, |id| (id as f32).to_le_bytes()),
            ),
        };
        Tensor::new(&dimensions, ty, &data)
    }
}

/// The bytes of rows that are padded to `width` elements with `pad`.
fn fill<'a, const N: usize>(
    rows: impl ExactSizeIterator<Item = &'a [u32]>,
    width: usize,
    pad: u32,
    bytes: impl Fn(u32) -> [u8; N],
) -> Vec<u8> {
    let mut data = Vec::with_capacity(rows.len() * width * N);
    for row in rows {
        for id in row {
            data.extend_from_slice(&bytes(*id));
        }
        for _ in row.len()..width {
            data.extend_from_slice(&bytes(pad));
        }
    }
    data
}

/// Elements as 32-bit floats, or `None` if they are not floats.
fn floats(ty: TensorType, data: &[u8]) -> Option<Vec<f32>> {
    let values = match ty {
        TensorType::Fp32 => words(data).map(f32::from_le_bytes).collect(),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "24 bits are enough for a score"
        )]
        TensorType::Fp64 => words(data)
            .map(|word| f64::from_le_bytes(word) as f32)
            .collect(),
        TensorType::Fp16 => words(data)
            .map(|word| half::f16::from_le_bytes(word).to_f32())
            .collect(),
        TensorType::Bf16 => words(data)
            .map(|word| half::bf16::from_le_bytes(word).to_f32())
            .collect(),
        TensorType::U8 | TensorType::I32 | TensorType::I64 => return None,
    };
    Some(values)
}

fn words<const N: usize>(data: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    data.as_chunks::<N>().0.iter().copied()
}
