//! Requests of the Open Inference Protocol: one tensor of texts, in JSON or in binary.
//!
//! The body is read twice: for its texts, which are bounded as they are read, and for all
//! else, once it is known to be short.

use std::fmt;
use std::time::Duration;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor,
};
use utoipa::ToSchema;

use super::binary;
use super::values::{Few, Whole};
use super::{HEADER_LENGTH, Infer, Output, Wanted};
use crate::inputs::Input;
use crate::problem::{FieldError, Kind, Problem};
use crate::request::fields::{OneField, skip};
use crate::request::json::{Json, Object, Skipped, Source, found_string};
use crate::request::{self, Texts, TextsSeed};

/// Texts to score, as the Open Inference Protocol has them.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct InferRequest {
    /// Any name for the request; the answer repeats it.
    #[schema(max_length = 256)]
    id: Option<String>,
    #[schema(value_type = Option<InferRequestParameters>)]
    parameters: Option<Object<InferRequestParameters>>,
    /// One tensor.
    #[schema(value_type = Vec<InferInput>, min_items = 1, max_items = 1)]
    inputs: Few<Object<InferInput>>,
    /// The outputs that are wanted, each at most once; both unless any is named.
    #[schema(value_type = Option<Vec<InferRequestedOutput>>, max_items = 2)]
    outputs: Option<Few<Object<InferRequestedOutput>>>,
}

/// Options of a request. Others are ignored.
#[derive(Default, serde::Deserialize, ToSchema)]
struct InferRequestParameters {
    /// Whether outputs are binary that do not say so themselves.
    binary_data_output: Option<bool>,
    /// How long the client waits, in microseconds; 0 is no limit. It can only shorten the
    /// server's own.
    #[schema(value_type = Option<u64>)]
    timeout: Option<Whole>,
}

/// The tensor of texts.
#[derive(serde::Deserialize, ToSchema)]
struct InferInput {
    /// `text`
    #[schema(pattern = "^text$")]
    name: String,
    /// `BYTES`
    #[schema(pattern = "^BYTES$")]
    datatype: String,
    /// `[n]` or `[n, 1]` for n texts.
    #[schema(value_type = Vec<u64>, min_items = 1, max_items = 2)]
    shape: Few<Whole>,
    #[schema(value_type = Option<InferInputParameters>)]
    parameters: Option<Object<InferInputParameters>>,
    /// The texts, each in a list of its own or not; absent if they are binary.
    // `TensorSeed` reads it.
    #[serde(default, deserialize_with = "skip")]
    #[schema(value_type = Vec<Input>, required = false)]
    #[expect(dead_code, reason = "only its schema is used")]
    data: (),
}

/// Options of the tensor of texts. Others are ignored.
#[derive(Default, serde::Deserialize, ToSchema)]
struct InferInputParameters {
    /// The texts follow the JSON, in so many bytes: each is its length in UTF-8 (4 bytes,
    /// little-endian), and then itself.
    #[schema(value_type = Option<u64>)]
    binary_data_size: Option<Whole>,
    #[schema(ignore)]
    shared_memory_region: Option<IgnoredAny>,
}

/// An output that is wanted.
#[derive(serde::Deserialize, ToSchema)]
struct InferRequestedOutput {
    /// `labels` or `scores`.
    #[schema(pattern = "^(labels|scores)$")]
    name: String,
    #[schema(value_type = Option<InferRequestedOutputParameters>)]
    parameters: Option<Object<InferRequestedOutputParameters>>,
}

/// Options of an output. Others are ignored.
#[derive(Default, serde::Deserialize, ToSchema)]
struct InferRequestedOutputParameters {
    /// Whether the output follows the JSON in binary.
    binary_data: Option<bool>,
    #[schema(ignore)]
    classification: Option<IgnoredAny>,
    #[schema(ignore)]
    shared_memory_region: Option<IgnoredAny>,
}

/// Reads a request, of which at most `max_texts` texts are kept. `header` is the length of
/// the JSON, if something follows it.
///
/// # Errors
///
/// What is wrong, which is always [`Kind::InvalidHeader`], [`Kind::InvalidJson`] or
/// [`Kind::InvalidBody`].
pub(crate) fn read(
    body: &[u8],
    header: Option<usize>,
    max_texts: usize,
) -> Result<(Texts, Infer), Problem> {
    let length = header.unwrap_or(body.len());
    let (json, binary) = body.split_at_checked(length).ok_or_else(|| {
        let given = body.len();
        let detail = format!("`{HEADER_LENGTH}` is {length}, and the body has only {given} bytes");
        Problem::new(Kind::InvalidHeader, detail)
    })?;
    let json = request::body(Source::Infer, json)?;
    let outline = |max| json.read_with(seed(max));
    let (tensors, others) = outline(Some(max_texts)).map_err(|problem| {
        // Numbers in place of texts are wrong, but a wrong type of the tensor says it better.
        let is_wrong_field = problem.kind == Kind::InvalidBody;
        let options = is_wrong_field.then(|| outline(None).ok()).flatten();
        let better = options.and_then(|(_, others)| accept(json, others).err());
        better.unwrap_or(problem)
    })?;
    let (texts, others) = match tensors {
        Some(tensors) => (tensors.texts, joined(others, tensors.others)),
        None => (None, others),
    };
    let (shape, size, infer) = accept(json, others)?;
    let texts = match (texts, size) {
        (Some(texts), None) => {
            if !binary.is_empty() {
                let detail = format!(
                    "{} bytes follow the JSON, and no tensor has a `binary_data_size`",
                    binary.len()
                );
                return Err(at("", detail));
            }
            texts
        }
        (None, Some(size)) => binary::texts(binary, size, max_texts)?,
        (Some(_), Some(_)) => {
            let reason = "must be left out: the tensor has a `binary_data_size`";
            return Err(FieldError::at("/inputs/0/data", reason).into());
        }
        (None, None) => {
            let reason = "must be an array of strings, unless the tensor has a `binary_data_size`";
            return Err(FieldError::at("/inputs/0/data", reason).into());
        }
    };
    if texts.given != shape {
        let reason = format!(
            "is of {shape} texts, and the tensor has {}; it must be [n] or [n, 1] for n texts",
            texts.given
        );
        return Err(FieldError::at("/inputs/0/shape", &reason).into());
    }
    Ok((texts, infer))
}

/// What is wrong at a place, where a sentence does not begin with the pointer.
fn at(pointer: &str, detail: String) -> Problem {
    let pointer = pointer.to_owned();
    FieldError { pointer, detail }.into()
}

fn joined(mut one: Skipped, other: Skipped) -> Skipped {
    one.add(other);
    one
}

/// Reads all but the texts: how many there should be, in how many bytes if they are binary,
/// and what is asked for.
fn accept(json: Json<'_>, others: Skipped) -> Result<(usize, Option<usize>, Infer), Problem> {
    let request: InferRequest = request::read_options(json, others)?;
    let wrong = |pointer: &str, reason: &str| Err(FieldError::at(pointer, reason).into());
    let count = request.inputs.given;
    let mut inputs = request.inputs.kept;
    let Some(Object(input)) = inputs.pop().filter(|_| count == 1) else {
        return wrong("/inputs", &format!("must hold one tensor, found {count}"));
    };
    if input.name != "text" {
        return wrong(
            "/inputs/0/name",
            "must be \"text\": no other input is taken",
        );
    }
    if input.datatype != "BYTES" {
        return wrong(
            "/inputs/0/datatype",
            "must be \"BYTES\": the input is texts",
        );
    }
    let shape = match (&input.shape.kept[..], input.shape.given) {
        ([Whole(texts)], 1) | ([Whole(texts), Whole(1)], 2) => *texts,
        _ => return wrong("/inputs/0/shape", "must be [n] or [n, 1] for n texts"),
    };
    let options = input.parameters.map(|Object(options)| options);
    let options = options.unwrap_or_default();
    if options.shared_memory_region.is_some() {
        let pointer = "/inputs/0/parameters/shared_memory_region";
        return wrong(pointer, "must be left out: shared memory cannot be used");
    }
    let parameters = request.parameters.map(|Object(parameters)| parameters);
    let parameters = parameters.unwrap_or_default();
    let binary = parameters.binary_data_output.unwrap_or_default();
    let timeout = parameters.timeout.filter(|Whole(micros)| *micros > 0);
    let infer = Infer {
        model: String::new(),
        id: request.id,
        outputs: wanted(request.outputs, binary)?,
        timeout: timeout.map(|Whole(micros)| Duration::from_micros(micros as u64)),
    };
    let size = options.binary_data_size.map(|Whole(size)| size);
    Ok((shape, size, infer))
}

fn wanted(
    outputs: Option<Few<Object<InferRequestedOutput>>>,
    binary: bool,
) -> Result<Vec<Wanted>, Problem> {
    let given = outputs.as_ref().map_or(0, |outputs| outputs.given);
    if given == 0 {
        let all = [Output::Labels, Output::Scores];
        return Ok(all.map(|output| Wanted { output, binary }).into());
    }
    let mut wanted: Vec<Wanted> = Vec::new();
    let outputs = outputs.map_or_else(Vec::new, |outputs| outputs.kept);
    for (index, Object(asked)) in outputs.into_iter().enumerate() {
        let wrong = |field: &str, reason: &str| {
            FieldError::at(format!("/outputs/{index}/{field}"), reason).into()
        };
        let Some(output) = Output::named(&asked.name) else {
            return Err(wrong("name", "must be \"labels\" or \"scores\""));
        };
        if wanted.iter().any(|other| other.output == output) {
            return Err(wrong(
                "name",
                "must be given once: another output has this name",
            ));
        }
        let options = asked.parameters.map(|Object(options)| options);
        let options = options.unwrap_or_default();
        if options.classification.is_some() {
            let reason = "must be left out: `labels` and `scores` say the same";
            return Err(wrong("parameters/classification", reason));
        }
        if options.shared_memory_region.is_some() {
            let reason = "must be left out: shared memory cannot be used";
            return Err(wrong("parameters/shared_memory_region", reason));
        }
        let binary = options.binary_data.unwrap_or(binary);
        wanted.push(Wanted { output, binary });
    }
    Ok(wanted)
}

/// Reads a request for its texts; without `max` they may be anything, and are skipped.
fn seed(max: Option<usize>) -> OneField<TensorsSeed> {
    OneField {
        name: "inputs",
        seed: TensorsSeed { max },
        expected: "an object",
    }
}

/// The texts of the first tensor.
#[derive(Default)]
struct Tensors {
    texts: Option<Texts>,
    others: Skipped,
}

/// Reads the tensors, of which there should be one.
#[derive(Clone, Copy)]
struct TensorsSeed {
    max: Option<usize>,
}

impl<'de> DeserializeSeed<'de> for TensorsSeed {
    type Value = Tensors;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Tensors, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TensorsSeed {
    type Value = Tensors;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of one tensor")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Tensors, E> {
        Err(found_string(&self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Tensors, A::Error> {
        let tensor = OneField {
            name: "data",
            seed: DataSeed { max: self.max },
            expected: "an object",
        };
        let mut tensors = Tensors::default();
        if let Some((texts, others)) = array.next_element_seed(tensor)? {
            tensors.texts = texts;
            tensors.others.add(others);
        }
        while let Some(others) = array.next_element()? {
            tensors.others.add(others);
        }
        Ok(tensors)
    }
}

/// Reads the texts of a tensor.
#[derive(Clone, Copy)]
struct DataSeed {
    max: Option<usize>,
}

impl<'de> DeserializeSeed<'de> for DataSeed {
    type Value = Texts;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Texts, D::Error> {
        match self.max {
            Some(max) => TextsSeed::<Input>::new(max).deserialize(json),
            None => Skipped::deserialize(json).map(|_| Texts::default()),
        }
    }
}
