//! Orders that misuse the model, which must take two or three tensors of 64-bit integers
//! with any number of rows and columns.

use crate::bindings::wasi::nn::graph::{ExecutionTarget, Graph, GraphEncoding, load, load_by_name};
use crate::bindings::wasi::nn::inference::GraphExecutionContext;
use crate::bindings::wasi::nn::tensor::{Tensor, TensorType};
use crate::doors::flood;

const NAMES: [&str; 3] = ["input_ids", "attention_mask", "token_type_ids"];

/// Carries out an order, and returns the finding; `None` if there is no such order.
pub(crate) fn obey(order: &str) -> Option<String> {
    Some(match order {
        "compute" => compute(NAMES, &[1, 3], TensorType::I64, 24),
        "compute wrong names" => compute(["a", "b", "c"], &[1, 3], TensorType::I64, 24),
        "compute a huge name" => {
            let name = "x".repeat(1 << 20);
            compute([&*name, "b", "c"], &[1, 3], TensorType::I64, 24)
        }
        "compute wrong types" => compute(NAMES, &[1, 3], TensorType::Fp32, 12),
        "compute wrong shapes" => compute(NAMES, &[3], TensorType::I64, 24),
        "compute too little data" => compute(NAMES, &[1, 3], TensorType::I64, 23),
        "compute zero dimensions" => compute(NAMES, &[0, 3], TensorType::I64, 0),
        "compute dimensions that overflow" => {
            compute(NAMES, &[u32::MAX, u32::MAX], TensorType::I64, 24)
        }
        "compute many dimensions" => compute(NAMES, &vec![1; 100_000], TensorType::I64, 8),
        "compute too many tokens" => compute(NAMES, &[17, 512], TensorType::I64, 17 * 512 * 8),
        "compute too long a row" => compute(NAMES, &[1, 8192], TensorType::I64, 8192 * 8),
        "compute as much as is allowed" => {
            compute(NAMES, &[16, 512], TensorType::I64, 16 * 512 * 8)
        }
        "compute nothing" => outcome(context().compute(Vec::new())),
        "compute often" => often(&[1, 1]),
        "compute often and much" => often(&[16, 512]),
        "keep tensors" => flood(|| Tensor::new(&[1 << 17], TensorType::I64, &vec![1; 1 << 20])),
        "keep graphs" => flood(graph),
        "keep contexts" => {
            let graph = graph();
            flood(|| graph.init_execution_context().map_err(|error| error.data()))
        }
        "keep errors" => {
            let name = "x".repeat(1 << 20);
            flood(|| load_by_name(&name))
        }
        "make many tensors" => {
            let data = vec![1; 1 << 16];
            for _ in 0..2_000 {
                drop(Tensor::new(&[1 << 13], TensorType::I64, &data));
            }
            "made".to_owned()
        }
        "load a graph" => {
            let bytes = vec![vec![8, 7, 18, 0]];
            outcome(load(&bytes, GraphEncoding::Onnx, ExecutionTarget::Cpu))
        }
        "load another graph" => outcome(load_by_name("../other")),
        _ => return None,
    })
}

fn graph() -> Graph {
    match load_by_name("model") {
        Ok(graph) => graph,
        Err(error) => panic!("no model: {}", error.data()),
    }
}

fn context() -> GraphExecutionContext {
    match graph().init_execution_context() {
        Ok(context) => context,
        Err(error) => panic!("no context: {}", error.data()),
    }
}

/// The first `count` tensors, with ones in them.
fn inputs(
    names: [&str; 3],
    count: usize,
    shape: &[u32],
    ty: TensorType,
    bytes: usize,
) -> Vec<(String, Tensor)> {
    let data: Vec<u8> = (0..bytes).map(|at| u8::from(at % 8 == 0)).collect();
    let tensor = |name: &&str| ((*name).to_owned(), Tensor::new(shape, ty, &data));
    names[..count].iter().map(tensor).collect()
}

fn compute(names: [&str; 3], shape: &[u32], ty: TensorType, bytes: usize) -> String {
    let context = context();
    let three = context.compute(inputs(names, 3, shape, ty, bytes));
    match three {
        Err(error) if error.data().contains("no input `token_type_ids`") => {
            outcome(context.compute(inputs(names, 2, shape, ty, bytes)))
        }
        other => outcome(other),
    }
}

fn often(shape: &[u32]) -> String {
    let bytes = shape.iter().product::<u32>() as usize * 8;
    let context = context();
    let mut failed = 0;
    for _ in 0..10_000 {
        let inputs = inputs(NAMES, 2, shape, TensorType::I64, bytes);
        failed += u32::from(context.compute(inputs).is_err());
    }
    format!("{failed} of 10000 failed")
}

fn outcome<T>(result: Result<T, crate::bindings::wasi::nn::errors::Error>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(error) => format!("refused: {}", error.data()),
    }
}
