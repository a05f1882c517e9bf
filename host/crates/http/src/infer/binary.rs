//! Tensors in binary, as Triton's extension of the protocol has them: elements of `BYTES`
//! are each their length, in 4 bytes, and then themselves; all numbers are little-endian.

use predictor::Scores;

use crate::problem::{FieldError, Problem};
use crate::request::Texts;

/// How many bytes the length of an element takes.
const PREFIX: usize = size_of::<u32>();

/// The texts that follow the JSON, in `size` bytes by its own account. Of them, `max` are
/// kept.
pub(super) fn texts(binary: &[u8], size: usize, max: usize) -> Result<Texts, Problem> {
    if binary.len() != size {
        let reason = format!(
            "is {size}, and {} bytes follow the JSON; `inference-header-content-length` must \
             be the length of the JSON alone",
            binary.len()
        );
        return Err(FieldError::at("/inputs/0/parameters/binary_data_size", &reason).into());
    }
    let mut texts = Texts::default();
    let mut rest = binary;
    while !rest.is_empty() {
        let index = texts.given;
        let wrong = |what: String| {
            let pointer = "/inputs/0/data".to_owned();
            let detail = format!("text {index} of the binary tensor {what}");
            Problem::from(FieldError { pointer, detail })
        };
        let Some((prefix, after)) = rest.split_first_chunk::<PREFIX>() else {
            let left = rest.len();
            return Err(wrong(format!(
                "has {left} of the {PREFIX} bytes of its length"
            )));
        };
        let length = u32::from_le_bytes(*prefix) as usize;
        let Some((text, after)) = after.split_at_checked(length) else {
            let left = after.len();
            return Err(wrong(format!(
                "is {length} bytes long by its length, and {left} bytes are left"
            )));
        };
        let text = std::str::from_utf8(text)
            .map_err(|error| wrong(format!("is not UTF-8 at its byte {}", error.valid_up_to())))?;
        texts.push(text, max);
        rest = after;
    }
    Ok(texts)
}

/// The labels of all texts.
pub(super) fn labels(scores: &[Scores]) -> Vec<u8> {
    let labels = || scores.iter().flat_map(|scores| scores.iter());
    let size = labels().map(|score| PREFIX + score.label.len()).sum();
    let mut binary = Vec::with_capacity(size);
    for score in labels() {
        // No label is longer than a kilobyte (`predictor::contract`).
        let length = u32::try_from(score.label.len()).unwrap_or(u32::MAX);
        binary.extend_from_slice(&length.to_le_bytes());
        binary.extend_from_slice(score.label.as_bytes());
    }
    binary
}

/// The scores of all texts, as `FP32`.
pub(super) fn scores(scores: &[Scores]) -> Vec<u8> {
    let scores = scores.iter().flat_map(|scores| scores.iter());
    scores.flat_map(|score| score.score.to_le_bytes()).collect()
}
