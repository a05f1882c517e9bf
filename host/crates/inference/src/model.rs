//! A model: an ONNX file, loaded once for everything that runs it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::ValueType;
use wasmtime_wasi_nn::Graph;
use wasmtime_wasi_nn::backend::BackendGraph;

use super::backend::OnnxGraph;
use super::runs::Runs;
use super::session::SharedSession;
use super::{Library, Metrics};

/// Options of a model's session.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// How many threads work on one run. The first is the thread that asks for the run;
    /// all runs share the others.
    pub threads: usize,
}

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be loaded as an ONNX model: {reason}")]
pub struct ModelError {
    /// The model's file.
    pub path: PathBuf,
    /// The error of ONNX Runtime.
    pub reason: String,
}

/// An input or output of a model.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: String,
    /// `None` if the port is not a tensor.
    pub(super) element: Option<ort::value::TensorElementType>,
    /// The size of each dimension; negative if any size is allowed.
    pub(super) shape: Vec<i64>,
}

/// A loaded model.
pub struct Model {
    inner: Arc<Loaded>,
}

/// A session and its ports.
pub(super) struct Loaded {
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) session: SharedSession,
    pub(super) metrics: Metrics,
}

impl Model {
    /// Loads the ONNX file at `path`.
    ///
    /// # Errors
    ///
    /// If ONNX Runtime cannot read the file or does not support its operators.
    pub fn load(
        library: &Library,
        path: &Path,
        options: SessionOptions,
        metrics: Metrics,
    ) -> Result<Self, ModelError> {
        let failed = |error: ort::Error| ModelError {
            path: path.to_owned(),
            reason: error.message().to_owned(),
        };
        let session = open(library, path, options.threads).map_err(failed)?;
        let inputs: Vec<Port> = session.inputs().iter().map(port).collect();
        let outputs: Vec<Port> = session.outputs().iter().map(port).collect();
        let session = SharedSession::new(session, &inputs, &outputs).map_err(failed)?;
        Ok(Self {
            inner: Arc::new(Loaded {
                inputs,
                outputs,
                session,
                metrics,
            }),
        })
    }

    /// A `wasi:nn` graph of the model, and a function that ends the runs of this graph
    /// only: the current run at its next operator, and later runs at once. All graphs
    /// share the weights.
    pub fn graph(&self) -> (Graph, Box<dyn Fn() + Send + Sync>) {
        let runs = Arc::new(Runs::new());
        let graph: Box<dyn BackendGraph> =
            Box::new(OnnxGraph::new(Arc::clone(&self.inner), Arc::clone(&runs)));
        let terminate = move || {
            if let Ok(runs) = &*runs {
                runs.terminate();
            }
        };
        (Graph::from(graph), Box::new(terminate))
    }
}

fn open(library: &Library, path: &Path, threads: usize) -> Result<Session, ort::Error> {
    Session::builder(library.environment())?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads.max(1))?
        .with_inter_threads(1)?
        // A thread that spins while it waits takes the core from other workers.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // ONNX Runtime would keep a memory plan for every shape it has seen, and guests
        // choose the shapes. Runs are not slower without.
        .with_memory_pattern(false)?
        .commit_from_file(path)
}

fn port(outlet: &ort::value::Outlet) -> Port {
    let (element, shape) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => (Some(*ty), shape.to_vec()),
        ValueType::Sequence(_) | ValueType::Map { .. } | ValueType::Optional(_) => {
            (None, Vec::new())
        }
    };
    Port {
        name: outlet.name().to_owned(),
        element,
        shape,
    }
}
