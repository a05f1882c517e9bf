//! The public traits of `wasmtime-wasi-nn` over ONNX Runtime.
//!
//! Its own ONNX backend takes 32-bit floats only and lets one run in at a time;
//! this one takes every type that models use, and checks what it is given.

use std::sync::Arc;

use ort::session::SessionInputValue;
use wasmtime_wasi_nn::backend::{
    BackendError, BackendExecutionContext, BackendGraph, Id, NamedTensor,
};
use wasmtime_wasi_nn::{ExecutionContext, Tensor};

use super::model::Sessions;
use super::tensor::{TensorError, check, from_ort, to_ort};

/// A model that guests can ask for.
pub(super) struct OnnxGraph(Arc<Sessions>);

impl OnnxGraph {
    pub(super) fn new(sessions: Arc<Sessions>) -> Self {
        Self(sessions)
    }
}

impl BackendGraph for OnnxGraph {
    fn init_execution_context(&self) -> Result<ExecutionContext, BackendError> {
        let context: Box<dyn BackendExecutionContext> = Box::new(OnnxContext(Arc::clone(&self.0)));
        Ok(ExecutionContext::from(context))
    }
}

/// A guest's handle to a model. It holds no session: one is taken for each
/// run, so that a guest that keeps a context keeps no other from running.
struct OnnxContext(Arc<Sessions>);

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
        run(&self.0, inputs.unwrap_or_default())
            .map(Some)
            .map_err(|error| BackendError::BackendAccess(wasmtime::Error::new(error)))
    }
}

/// The component interface passes all tensors in one call; the two others
/// belong to an older interface, which is not offered to guests.
fn only_compute() -> BackendError {
    BackendError::UnsupportedTensorType("inputs and outputs go through `compute`".to_owned())
}

fn run(sessions: &Sessions, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, TensorError> {
    let values = in_order(sessions, inputs)?;
    sessions.with(|session| {
        let outputs = session.run(values.as_slice())?;
        sessions
            .outputs
            .iter()
            .map(|port| {
                let value = outputs
                    .get(&port.name)
                    .ok_or_else(|| TensorError::UnsupportedType(port.name.clone()))?;
                Ok(NamedTensor {
                    name: port.name.clone(),
                    tensor: from_ort(&port.name, value)?,
                })
            })
            .collect()
    })
}

/// Checks the inputs and brings them into the order of the model's.
fn in_order(
    sessions: &Sessions,
    inputs: Vec<NamedTensor>,
) -> Result<Vec<SessionInputValue<'static>>, TensorError> {
    let mut given: Vec<Option<Tensor>> = sessions.inputs.iter().map(|_| None).collect();
    for input in inputs {
        let known = sessions
            .inputs
            .iter()
            .position(|port| port.name == input.name);
        let Some(at) = known else {
            let names: Vec<String> = sessions
                .inputs
                .iter()
                .map(|port| format!("`{}`", port.name))
                .collect();
            return Err(TensorError::UnknownName(input.name, names.join(", ")));
        };
        check(&sessions.inputs[at], &input.tensor)?;
        if given[at].replace(input.tensor).is_some() {
            return Err(TensorError::RepeatedName(input.name));
        }
    }
    given
        .into_iter()
        .zip(&sessions.inputs)
        .map(|(tensor, port)| {
            let tensor = tensor.ok_or_else(|| TensorError::MissingName(port.name.clone()))?;
            Ok(SessionInputValue::from(to_ort(&tensor)?))
        })
        .collect()
}
