//! A model: an ONNX file opened in as many sessions as may run at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, PrepackedWeights};
use ort::value::ValueType;
use wasmtime_wasi_nn::Graph;
use wasmtime_wasi_nn::backend::BackendGraph;

use super::Library;
use super::backend::OnnxGraph;

/// How a model is run.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// How many runs there may be at once; further ones wait for one to end.
    pub concurrency: usize,
    /// How many threads work on one run.
    pub threads: usize,
}

/// Why a model can not be served.
#[derive(Debug, thiserror::Error)]
#[error("{path} can not be loaded as an ONNX model: {reason}")]
pub struct ModelError {
    /// The model's file.
    pub path: PathBuf,
    /// What ONNX Runtime said.
    pub reason: String,
}

/// An input or output of a model.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: String,
    /// `None` if the port is not a tensor.
    pub(super) element: Option<ort::value::TensorElementType>,
    /// The size of each dimension; -1 where any size will do.
    pub(super) shape: Vec<i64>,
}

/// A loaded model.
pub struct Model {
    inner: Arc<Sessions>,
}

/// The sessions of a model. They share the weights that ONNX Runtime repacks
/// for its kernels.
pub(super) struct Sessions {
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    idle: (Sender<Session>, Receiver<Session>),
}

impl Model {
    /// Loads the ONNX file at `path`.
    ///
    /// # Errors
    ///
    /// If ONNX Runtime can not read the file or does not know its operators.
    pub fn load(
        library: &Library,
        path: &Path,
        options: SessionOptions,
    ) -> Result<Self, ModelError> {
        let failed = |reason: String| ModelError {
            path: path.to_owned(),
            reason,
        };
        let weights = PrepackedWeights::new();
        let sessions = (0..options.concurrency.max(1))
            .map(|_| open(library, path, options.threads, &weights))
            .collect::<Result<Vec<Session>, ort::Error>>()
            .map_err(|error| failed(error.message().to_owned()))?;
        let first = &sessions[0];
        let inputs = first.inputs().iter().map(port).collect();
        let outputs = first.outputs().iter().map(port).collect();
        let idle = crossbeam_channel::bounded(sessions.len());
        for session in sessions {
            // The channel has room for every session, and this holds its
            // receiver, so that sending can not fail.
            let _ = idle.0.send(session);
        }
        Ok(Self {
            inner: Arc::new(Sessions {
                inputs,
                outputs,
                idle,
            }),
        })
    }

    /// The model as `wasi:nn` knows it.
    pub fn graph(&self) -> Graph {
        let graph: Box<dyn BackendGraph> = Box::new(OnnxGraph::new(Arc::clone(&self.inner)));
        Graph::from(graph)
    }
}

impl Sessions {
    /// Runs `work` in a session that no other run is using; waits for one if
    /// there is none.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Session) -> T) -> T {
        let mut session = Lent {
            sessions: self,
            session: self.idle.1.recv().ok(),
        };
        match &mut session.session {
            Some(session) => work(session),
            None => unreachable!("the channel's sender lives as long as its receiver"),
        }
    }
}

/// Gives a session back also when the work panics.
struct Lent<'a> {
    sessions: &'a Sessions,
    session: Option<Session>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // There is room: this session came out of this channel.
            let _ = self.sessions.idle.0.send(session);
        }
    }
}

fn open(
    library: &Library,
    path: &Path,
    threads: usize,
    weights: &PrepackedWeights,
) -> Result<Session, ort::Error> {
    Session::builder(library.environment())?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads.max(1))?
        .with_inter_threads(1)?
        // A thread that spins while it waits for work takes the core from the
        // other workers, and from everything else on the machine.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_prepacked_weights(weights)?
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
