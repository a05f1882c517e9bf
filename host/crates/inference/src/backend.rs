//! Implements the traits of `wasmtime-wasi-nn` with ONNX Runtime.
//!
//! The ONNX backend of that crate takes 32-bit floats only, and runs one inference
//! at a time. This one takes every type that `wasi:nn` has, runs any number at
//! once, and checks its inputs.

use std::sync::Arc;

use ort::value::DynTensor;
use wasmtime_wasi_nn::backend::{
    BackendError, BackendExecutionContext, BackendGraph, Id, NamedTensor,
};
use wasmtime_wasi_nn::{ExecutionContext, Tensor};

use super::model::Loaded;
use super::runs::Runs;
use super::tensor::{CheckedTensor, MAX_OUTPUT_BYTES, TensorError, cut, from_ort};

/// A model as the graph of one guest instance.
pub(super) struct OnnxGraph {
    model: Arc<Loaded>,
    runs: Arc<ort::Result<Runs>>,
}

impl OnnxGraph {
    pub(super) fn new(model: Arc<Loaded>, runs: Arc<ort::Result<Runs>>) -> Self {
        Self { model, runs }
    }
}

impl BackendGraph for OnnxGraph {
    fn init_execution_context(&self) -> Result<ExecutionContext, BackendError> {
        let context: Box<dyn BackendExecutionContext> = Box::new(OnnxContext {
            model: Arc::clone(&self.model),
            runs: Arc::clone(&self.runs),
        });
        Ok(ExecutionContext::from(context))
    }
}

/// A guest's execution context. It holds nothing that a run needs exclusively, so
/// a guest that keeps a context blocks nobody.
struct OnnxContext {
    model: Arc<Loaded>,
    runs: Arc<ort::Result<Runs>>,
}

impl BackendExecutionContext for OnnxContext {
    fn set_input(&mut self, _id: Id, _tensor: &Tensor) -> Result<(), BackendError> {
        Err(only_compute())
    }

    fn get_output(&mut self, _id: Id) -> Result<Tensor, BackendError> {
        Err(only_compute())
    }

    fn compute(
        &mut self,
        inputs: Option<Vec<NamedTensor>>,
    ) -> Result<Option<Vec<NamedTensor>>, BackendError> {
        let runs = self.runs.as_ref().as_ref();
        runs.map_err(|error| TensorError::Runtime(error.to_string()))
            .and_then(|runs| run(&self.model, runs, &inputs.unwrap_or_default()))
            .map(Some)
            .map_err(|error| BackendError::BackendAccess(wasmtime::Error::new(error)))
    }
}

/// Guests pass all tensors in one call; the two other methods belong to an older
/// interface, which guests cannot import.
fn only_compute() -> BackendError {
    BackendError::UnsupportedTensorType("pass inputs and outputs through `compute`".to_owned())
}

fn run(
    model: &Loaded,
    runs: &Runs,
    inputs: &[NamedTensor],
) -> Result<Vec<NamedTensor>, TensorError> {
    let values = in_order(model, inputs)?;
    model.metrics.record(inputs);
    let timer = model.metrics.seconds.start_timer();
    let outputs = model.session(runs).run(runs.options(inputs), &values);
    timer.observe_duration();
    let outputs = outputs.inspect_err(|_| model.metrics.failures.inc())?;
    let mut room = MAX_OUTPUT_BYTES;
    model
        .outputs
        .iter()
        .zip(&outputs)
        .map(|(port, value)| {
            Ok(NamedTensor {
                name: port.name.clone(),
                tensor: from_ort(&port.name, value, &mut room)?,
            })
        })
        .collect()
}

/// Checks the inputs, and gives them in the order of the model's.
fn in_order(model: &Loaded, inputs: &[NamedTensor]) -> Result<Vec<DynTensor>, TensorError> {
    let mut given: Vec<Option<CheckedTensor<'_>>> = model.inputs.iter().map(|_| None).collect();
    for input in inputs {
        let known = model.inputs.iter().position(|port| port.name == input.name);
        let Some(at) = known else {
            let names: Vec<String> = model
                .inputs
                .iter()
                .map(|port| format!("`{}`", port.name))
                .collect();
            return Err(TensorError::UnknownName(cut(&input.name), names.join(", ")));
        };
        let checked = CheckedTensor::new(&model.inputs[at], &input.tensor)?;
        if given[at].replace(checked).is_some() {
            return Err(TensorError::RepeatedName(input.name.clone()));
        }
    }
    given
        .into_iter()
        .zip(&model.inputs)
        .map(|(tensor, port)| {
            let tensor = tensor.ok_or_else(|| TensorError::MissingName(port.name.clone()))?;
            tensor.to_ort()
        })
        .collect()
}
