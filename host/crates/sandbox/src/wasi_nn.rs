//! Implements `wasi:nn` for guests: models by name, and tensors.
//!
//! `wasmtime-wasi-nn` has an implementation on the same traits. This one also limits
//! the memory of tensors, passes the cause of an error to the guest, and does not
//! write to the log. This module must not know what runs the models.

use std::collections::HashMap;
use std::error::Error as _;

use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi_nn::backend::{BackendError, NamedTensor};
use wasmtime_wasi_nn::wit::TensorType as HostTensorType;
use wasmtime_wasi_nn::{ExecutionContext, Graph, Tensor};

use super::output::one_line;
use super::state::State;
use wasi::nn::errors::ErrorCode;
use wasi::nn::graph::{ExecutionTarget, GraphBuilder, GraphEncoding};
use wasi::nn::tensor::{TensorData, TensorDimensions, TensorType};

wasmtime::component::bindgen!({
    path: "../../../wit",
    inline: "
        package fastsentiment:host;

        world computing {
            import wasi:nn/errors@0.2.0-rc-2024-10-28;
            import wasi:nn/tensor@0.2.0-rc-2024-10-28;
            import wasi:nn/inference@0.2.0-rc-2024-10-28;
            import wasi:nn/graph@0.2.0-rc-2024-10-28;
        }
    ",
    with: {
        "wasi:nn/errors.error": Failure,
        "wasi:nn/tensor.tensor": wasmtime_wasi_nn::Tensor,
        "wasi:nn/inference.graph-execution-context": wasmtime_wasi_nn::ExecutionContext,
        "wasi:nn/graph.graph": wasmtime_wasi_nn::Graph,
    },
    imports: { default: trappable },
});

/// The most memory of all tensors of an instance, in bytes.
const MAX_KEPT: usize = 4 << 20;

/// The longest message of an error, in bytes.
const MAX_FAILURE: usize = 1024;

/// The models that an instance can use, and the memory of its tensors.
pub(super) struct Models {
    graphs: HashMap<&'static str, Graph>,
    /// The memory of its tensors, in bytes.
    kept: usize,
}

/// The `error` resource of `wasi:nn`.
#[expect(unreachable_pub, reason = "the bindings name it in public")]
pub struct Failure {
    code: ErrorCode,
    message: String,
}

/// A result, or an `error` that the guest has to drop.
type Answer<T> = wasmtime::Result<Result<T, Resource<Failure>>>;

impl Models {
    pub(super) fn new(graphs: HashMap<&'static str, Graph>) -> Self {
        Self { graphs, kept: 0 }
    }

    /// Counts a tensor that the instance keeps.
    fn keep(&mut self, tensor: &Tensor) -> wasmtime::Result<()> {
        let kept = self.kept.saturating_add(weight(tensor));
        if kept > MAX_KEPT {
            wasmtime::bail!("the guest keeps {kept} bytes of tensors; the limit is {MAX_KEPT}");
        }
        self.kept = kept;
        Ok(())
    }

    /// Counts a tensor that the instance has dropped.
    fn release(&mut self, tensor: &Tensor) {
        self.kept = self.kept.saturating_sub(weight(tensor));
    }
}

fn weight(tensor: &Tensor) -> usize {
    let dimensions = size_of_val(tensor.dimensions.as_slice());
    tensor.data.len().saturating_add(dimensions)
}

/// Makes the interfaces available to guests.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    Computing::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

/// Passes an error to the guest.
fn fail<T>(table: &mut ResourceTable, code: ErrorCode, message: &str) -> Answer<T> {
    let message = one_line(message, MAX_FAILURE);
    Ok(Err(table.push(Failure { code, message })?))
}

/// The message of the innermost error.
fn cause(error: &BackendError) -> String {
    let mut cause = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        cause = error.to_string();
        source = error.source();
    }
    cause
}

impl wasi::nn::graph::Host for State {
    fn load(
        &mut self,
        _: Vec<GraphBuilder>,
        _: GraphEncoding,
        _: ExecutionTarget,
    ) -> Answer<Resource<Graph>> {
        let why = "the host loads the graphs; use `load-by-name`";
        fail(&mut self.table, ErrorCode::UnsupportedOperation, why)
    }

    fn load_by_name(&mut self, name: String) -> Answer<Resource<Graph>> {
        match self.models.graphs.get(name.as_str()) {
            Some(graph) => Ok(Ok(self.table.push(graph.clone())?)),
            None => {
                let why = format!("there is no graph with the name `{}`", one_line(name, 64));
                fail(&mut self.table, ErrorCode::NotFound, &why)
            }
        }
    }
}

impl wasi::nn::graph::HostGraph for State {
    fn init_execution_context(
        &mut self,
        graph: Resource<Graph>,
    ) -> Answer<Resource<ExecutionContext>> {
        match self.table.get(&graph)?.init_execution_context() {
            Ok(context) => Ok(Ok(self.table.push(context)?)),
            Err(error) => fail(&mut self.table, ErrorCode::RuntimeError, &cause(&error)),
        }
    }

    fn drop(&mut self, graph: Resource<Graph>) -> wasmtime::Result<()> {
        self.table.delete(graph)?;
        Ok(())
    }
}

impl wasi::nn::inference::HostGraphExecutionContext for State {
    fn compute(
        &mut self,
        context: Resource<ExecutionContext>,
        inputs: Vec<(String, Resource<Tensor>)>,
    ) -> Answer<Vec<(String, Resource<Tensor>)>> {
        let mut given = Vec::with_capacity(inputs.len());
        for (name, tensor) in inputs {
            let tensor = self.table.delete(tensor)?;
            self.models.release(&tensor);
            given.push(NamedTensor { name, tensor });
        }
        let outputs = match self.table.get_mut(&context)?.compute_with_io(given) {
            Ok(outputs) => outputs,
            Err(error) => return fail(&mut self.table, ErrorCode::RuntimeError, &cause(&error)),
        };
        let kept = outputs.into_iter().map(|NamedTensor { name, tensor }| {
            self.models.keep(&tensor)?;
            Ok((name, self.table.push(tensor)?))
        });
        kept.collect::<wasmtime::Result<_>>().map(Ok)
    }

    fn drop(&mut self, context: Resource<ExecutionContext>) -> wasmtime::Result<()> {
        self.table.delete(context)?;
        Ok(())
    }
}

impl wasi::nn::tensor::HostTensor for State {
    fn new(
        &mut self,
        dimensions: TensorDimensions,
        ty: TensorType,
        data: TensorData,
    ) -> wasmtime::Result<Resource<Tensor>> {
        let tensor = Tensor::new(dimensions, to_host(ty), data);
        self.models.keep(&tensor)?;
        Ok(self.table.push(tensor)?)
    }

    fn dimensions(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<TensorDimensions> {
        Ok(self.table.get(&tensor)?.dimensions.clone())
    }

    fn ty(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<TensorType> {
        Ok(to_guest(self.table.get(&tensor)?.ty))
    }

    fn data(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<TensorData> {
        Ok(self.table.get(&tensor)?.data.clone())
    }

    fn drop(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<()> {
        let tensor = self.table.delete(tensor)?;
        self.models.release(&tensor);
        Ok(())
    }
}

impl wasi::nn::errors::HostError for State {
    fn code(&mut self, failure: Resource<Failure>) -> wasmtime::Result<ErrorCode> {
        Ok(self.table.get(&failure)?.code)
    }

    fn data(&mut self, failure: Resource<Failure>) -> wasmtime::Result<String> {
        Ok(self.table.get(&failure)?.message.clone())
    }

    fn drop(&mut self, failure: Resource<Failure>) -> wasmtime::Result<()> {
        self.table.delete(failure)?;
        Ok(())
    }
}

impl wasi::nn::errors::Host for State {}
impl wasi::nn::tensor::Host for State {}
impl wasi::nn::inference::Host for State {}

fn to_host(ty: TensorType) -> HostTensorType {
    match ty {
        TensorType::Fp16 => HostTensorType::Fp16,
        TensorType::Fp32 => HostTensorType::Fp32,
        TensorType::Fp64 => HostTensorType::Fp64,
        TensorType::Bf16 => HostTensorType::Bf16,
        TensorType::U8 => HostTensorType::U8,
        TensorType::I32 => HostTensorType::I32,
        TensorType::I64 => HostTensorType::I64,
    }
}

fn to_guest(ty: HostTensorType) -> TensorType {
    match ty {
        HostTensorType::Fp16 => TensorType::Fp16,
        HostTensorType::Fp32 => TensorType::Fp32,
        HostTensorType::Fp64 => TensorType::Fp64,
        HostTensorType::Bf16 => TensorType::Bf16,
        HostTensorType::U8 => TensorType::U8,
        HostTensorType::I32 => TensorType::I32,
        HostTensorType::I64 => TensorType::I64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_tensors_make_room_for_others() {
        let mut models = Models::new(HashMap::new());
        let tensor = |bytes| Tensor::new(vec![1; 2], HostTensorType::U8, vec![0; bytes]);
        let half = tensor(MAX_KEPT / 2 - 8);
        models.keep(&half).expect("there is room");
        models.keep(&half).expect("it just fits");
        assert!(models.keep(&tensor(0)).is_err());
        models.release(&half);
        models.keep(&tensor(0)).expect("there is room again");
    }

    #[test]
    fn a_guest_gets_the_cause_of_an_error() {
        let error = wasmtime::format_err!("the input `a` is missing");
        let error = BackendError::BackendAccess(error);
        assert_eq!(cause(&error), "the input `a` is missing");
    }
}
