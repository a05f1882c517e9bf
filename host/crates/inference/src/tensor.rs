//! Converts tensors between `wasi:nn` and ONNX Runtime.
//!
//! Guests are not trusted: ONNX Runtime gets a tensor only as a [`CheckedTensor`],
//! which only the check can make.

use ort::memory::Allocator;
use ort::value::{DynTensor, DynTensorValueType, DynValue, TensorElementType};
use wasmtime_wasi_nn::Tensor;
use wasmtime_wasi_nn::wit::TensorType;

use super::model::Port;

/// The largest input, in bytes: 8,192 ids of 64 bits, which is one text for the
/// models with the longest sequences, or 16 texts of 512 tokens. Memory and time of
/// a run grow with its inputs; at this limit, a model with 512 positions takes about
/// 400 MB while it runs. The contract states this limit.
pub(super) const MAX_INPUT_BYTES: usize = 64 << 10;

/// The most data in all outputs of a run, in bytes; they are copied for the guest.
pub(super) const MAX_OUTPUT_BYTES: usize = 2 << 20;

/// Why a run was refused or failed, in words for the author of the guest.
#[derive(Debug, thiserror::Error)]
pub(super) enum TensorError {
    #[error("the model has no input `{0}`; its inputs are {1}")]
    UnknownName(String, String),
    #[error("the input `{0}` is given more than once")]
    RepeatedName(String),
    #[error("the input `{0}` is missing")]
    MissingName(String),
    #[error("`{0}` is not a tensor of a type that wasi:nn supports")]
    UnsupportedType(String),
    #[error("the input `{name}` takes elements of type {wanted}, not {given}")]
    WrongType {
        name: String,
        wanted: TensorElementType,
        given: TensorElementType,
    },
    #[error("the input `{name}` takes the shape {wanted}, not {given}")]
    WrongShape {
        name: String,
        wanted: String,
        given: String,
    },
    #[error("the input `{0}` has a dimension of size 0")]
    Empty(String),
    #[error(
        "the input `{name}` has the shape {shape}, which does not fit its {bytes} bytes of data"
    )]
    WrongSize {
        name: String,
        shape: String,
        bytes: usize,
    },
    #[error("the input `{name}` has {bytes} bytes of data; at most {MAX_INPUT_BYTES} are allowed")]
    TooLarge { name: String, bytes: usize },
    #[error(
        "the outputs have more than {MAX_OUTPUT_BYTES} bytes of data, which is the most allowed"
    )]
    OutputTooLarge,
    #[error("the output `{0}` is not in the memory of the CPU")]
    NotOnCpu(String),
    #[error("{0}")]
    Runtime(String),
}

impl From<ort::Error> for TensorError {
    fn from(error: ort::Error) -> Self {
        Self::Runtime(error.message().to_owned())
    }
}

/// ONNX Runtime's name of an element type.
pub(super) fn element(ty: TensorType) -> TensorElementType {
    match ty {
        TensorType::Fp16 => TensorElementType::Float16,
        TensorType::Fp32 => TensorElementType::Float32,
        TensorType::Fp64 => TensorElementType::Float64,
        TensorType::Bf16 => TensorElementType::Bfloat16,
        TensorType::U8 => TensorElementType::Uint8,
        TensorType::I32 => TensorElementType::Int32,
        TensorType::I64 => TensorElementType::Int64,
    }
}

/// The name of an element type in `wasi:nn`, if it has one.
fn tensor_type(element: TensorElementType) -> Option<TensorType> {
    [
        TensorType::Fp16,
        TensorType::Fp32,
        TensorType::Fp64,
        TensorType::Bf16,
        TensorType::U8,
        TensorType::I32,
        TensorType::I64,
    ]
    .into_iter()
    .find(|ty| self::element(*ty) == element)
}

/// The smallest input of a port: zeros.
///
/// # Errors
///
/// If the port is not a tensor of a type that `wasi:nn` has.
pub(super) fn smallest(port: &Port) -> Result<Tensor, TensorError> {
    let unsupported = || TensorError::UnsupportedType(port.name.clone());
    let ty = port.element.and_then(tensor_type).ok_or_else(unsupported)?;
    // Of any size, one will do.
    let sizes = port
        .shape
        .iter()
        .map(|size| u32::try_from(*size).unwrap_or(1));
    let dimensions: Vec<u32> = sizes.collect();
    let elements = dimensions
        .iter()
        .try_fold(1_usize, |product, size| product.checked_mul(*size as usize));
    let bytes = elements.and_then(|elements| element(ty).byte_size(elements));
    // It could not be an input of a run either.
    let bytes = bytes
        .filter(|bytes| *bytes <= MAX_INPUT_BYTES)
        .ok_or_else(unsupported)?;
    Ok(Tensor {
        dimensions,
        ty,
        data: vec![0; bytes],
    })
}

/// An input that fits a port of the model: its type, its shape and the size of its
/// data agree with each other and with the port.
pub(super) struct CheckedTensor<'a> {
    tensor: &'a Tensor,
    element: TensorElementType,
}

impl<'a> CheckedTensor<'a> {
    /// Checks all that can be checked before the model runs.
    pub(super) fn new(port: &Port, tensor: &'a Tensor) -> Result<Self, TensorError> {
        let name = || port.name.clone();
        let Some(wanted) = port.element else {
            return Err(TensorError::UnsupportedType(name()));
        };
        let given = element(tensor.ty);
        if given != wanted {
            return Err(TensorError::WrongType {
                name: name(),
                wanted,
                given,
            });
        }
        let fits = port.shape.len() == tensor.dimensions.len()
            && port
                .shape
                .iter()
                .zip(&tensor.dimensions)
                .all(|(wanted, given)| *wanted < 0 || *wanted == i64::from(*given));
        if !fits {
            return Err(TensorError::WrongShape {
                name: name(),
                wanted: describe(&port.shape),
                given: sizes(&tensor.dimensions),
            });
        }
        // ONNX Runtime has crashed on empty tensors, and no model needs one.
        if tensor.dimensions.contains(&0) {
            return Err(TensorError::Empty(name()));
        }
        let bytes = tensor
            .dimensions
            .iter()
            .try_fold(1_usize, |product, size| product.checked_mul(*size as usize))
            .and_then(|elements| given.byte_size(elements));
        if bytes != Some(tensor.data.len()) {
            return Err(TensorError::WrongSize {
                name: name(),
                shape: sizes(&tensor.dimensions),
                bytes: tensor.data.len(),
            });
        }
        if tensor.data.len() > MAX_INPUT_BYTES {
            return Err(TensorError::TooLarge {
                name: name(),
                bytes: tensor.data.len(),
            });
        }
        Ok(Self {
            tensor,
            element: given,
        })
    }

    /// Copies the tensor into memory of ONNX Runtime.
    pub(super) fn to_ort(&self) -> Result<DynTensor, TensorError> {
        let Self { tensor, element } = self;
        let shape: Vec<i64> = tensor.dimensions.iter().copied().map(i64::from).collect();
        let mut value = DynTensor::new(&Allocator::default(), *element, shape)?;
        let target = value.data_ptr_mut().cast::<u8>();
        if target.is_null() {
            return Err(TensorError::Runtime("a tensor has no memory".to_owned()));
        }
        // SAFETY: the default allocator is the one of the CPU, and the tensor was
        // allocated for this type and shape, whose size in bytes is that of `data`,
        // as `new` has checked. Nothing else refers to it yet.
        #[expect(
            unsafe_code,
            reason = "ort offers typed views only, and not of every type"
        )]
        unsafe {
            std::ptr::copy_nonoverlapping(tensor.data.as_ptr(), target, tensor.data.len());
        }
        Ok(value)
    }
}

/// Copies an output for the guest, and takes its size from `room`, in bytes.
pub(super) fn from_ort(
    name: &str,
    value: &DynValue,
    room: &mut usize,
) -> Result<Tensor, TensorError> {
    let unsupported = || TensorError::UnsupportedType(name.to_owned());
    let value = value.view().downcast::<DynTensorValueType>()?;
    if !value.memory_info().is_cpu_accessible() {
        return Err(TensorError::NotOnCpu(name.to_owned()));
    }
    let ty = tensor_type(*value.data_type()).ok_or_else(unsupported)?;
    let dimensions = value
        .shape()
        .iter()
        .map(|size| u32::try_from(*size).map_err(|_| unsupported()))
        .collect::<Result<Vec<u32>, TensorError>>()?;
    let bytes = value
        .data_type()
        .byte_size(value.shape().num_elements())
        .ok_or_else(unsupported)?;
    *room = room.checked_sub(bytes).ok_or(TensorError::OutputTooLarge)?;
    let source = value.data_ptr().cast::<u8>();
    let data = if bytes == 0 || source.is_null() {
        Vec::new()
    } else {
        // SAFETY: the tensor is in memory of the CPU, has this many bytes by its type
        // and shape, and is borrowed for as long as this slice.
        #[expect(
            unsafe_code,
            reason = "ort offers typed views only, and not of every type"
        )]
        let data = unsafe { std::slice::from_raw_parts(source, bytes) };
        data.to_vec()
    };
    Ok(Tensor {
        dimensions,
        ty,
        data,
    })
}

/// The beginning of a name that a guest chose.
pub(super) fn cut(name: &str) -> String {
    const SHOWN: usize = 64;
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}

/// The dimensions of a guest's tensor; only the first, as it may have thousands.
fn sizes(dimensions: &[u32]) -> String {
    const SHOWN: usize = 8;
    let shown = &dimensions[..dimensions.len().min(SHOWN)];
    if shown.len() < dimensions.len() {
        return format!("{shown:?}... of {} dimensions", dimensions.len());
    }
    format!("{shown:?}")
}

fn describe(shape: &[i64]) -> String {
    let sizes: Vec<String> = shape
        .iter()
        .map(|size| {
            if *size < 0 {
                "any".to_owned()
            } else {
                size.to_string()
            }
        })
        .collect();
    format!("[{}]", sizes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Port {
        Port {
            name: "input_ids".to_owned(),
            element: Some(TensorElementType::Int64),
            shape: vec![-1, 4],
        }
    }

    fn tensor(dimensions: &[u32], ty: TensorType, bytes: usize) -> Tensor {
        Tensor {
            dimensions: dimensions.to_vec(),
            ty,
            data: vec![0; bytes],
        }
    }

    #[test]
    fn a_fitting_tensor_passes() {
        assert!(CheckedTensor::new(&ids(), &tensor(&[2, 4], TensorType::I64, 64)).is_ok());
    }

    #[test]
    fn errors_name_what_does_not_fit() {
        let message = |tensor: &Tensor| match CheckedTensor::new(&ids(), tensor) {
            Ok(_) => "passed".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(message(&tensor(&[2, 4], TensorType::Fp32, 32)).contains("elements of type"));
        assert!(message(&tensor(&[2, 5], TensorType::I64, 80)).contains("[any, 4]"));
        assert!(message(&tensor(&[8], TensorType::I64, 64)).contains("[any, 4]"));
        assert!(message(&tensor(&[0, 4], TensorType::I64, 0)).contains("size 0"));
        assert!(message(&tensor(&[2, 4], TensorType::I64, 63)).contains("63 bytes"));
        let many = message(&tensor(&[7; 1000], TensorType::I64, 64));
        assert!(many.contains("7]... of 1000 dimensions"), "{many}");
        assert!(many.len() < 200, "{many}");
    }

    #[test]
    fn an_input_beyond_the_limit_is_refused() {
        let largest = u32::try_from(MAX_INPUT_BYTES / 32).expect("a small number");
        let rows = |rows: u32| tensor(&[rows, 4], TensorType::I64, rows as usize * 32);
        assert!(CheckedTensor::new(&ids(), &rows(largest)).is_ok());
        assert!(matches!(
            CheckedTensor::new(&ids(), &rows(largest + 1)),
            Err(TensorError::TooLarge { bytes, .. }) if bytes == MAX_INPUT_BYTES + 32
        ));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(cut("input_ids"), "input_ids");
        assert_eq!(cut(&"ä".repeat(1000)), format!("{}...", "ä".repeat(64)));
    }

    #[test]
    fn a_size_that_overflows_is_an_error() {
        let port = Port {
            shape: vec![-1; 5],
            ..ids()
        };
        let huge = tensor(&[u32::MAX; 5], TensorType::I64, 0);
        assert!(matches!(
            CheckedTensor::new(&port, &huge),
            Err(TensorError::WrongSize { .. })
        ));
    }
}
