//! A model: an ONNX file, loaded once for everything that runs it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{DynTensor, ValueType};
use wasmtime_wasi_nn::Graph;
use wasmtime_wasi_nn::backend::BackendGraph;

use super::activity::Activity;
use super::backend::OnnxGraph;
use super::runs::{Runs, shrinking};
use super::session::SharedSession;
use super::tensor::{CheckedTensor, TensorError, smallest};
use super::wide::{Threads, Wide};
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

/// The sessions of a model, and its ports.
pub(super) struct Loaded {
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    session: SharedSession,
    wide: OnceLock<Wide>,
    activity: Arc<Activity>,
    pub(super) metrics: Metrics,
}

impl Loaded {
    /// The session for one of these runs.
    pub(super) fn session(&self, runs: &Runs) -> &SharedSession {
        match self.wide.get() {
            Some(wide) if runs.are_alone() => {
                self.metrics.wide.inc();
                &wide.session
            }
            _ => &self.session,
        }
    }

    /// Returns memory that runs have used.
    pub(super) fn return_memory(&self) {
        let wide = self.wide.get().map(|wide| &wide.session);
        for session in [&self.session].into_iter().chain(wide) {
            // A model with inputs that cannot be made keeps its memory.
            if let Err(error) = self.shrink(session) {
                tracing::debug!(%error, "a model does not return its memory");
            }
        }
    }

    /// ONNX Runtime returns memory at the end of a run only, so one is begun, and ended before
    /// its first operator.
    fn shrink(&self, session: &SharedSession) -> Result<(), TensorError> {
        let options = shrinking()?;
        options.terminate()?;
        let zeros = |port| CheckedTensor::new(port, &smallest(port)?)?.to_ort();
        let inputs: Vec<DynTensor> = self.inputs.iter().map(zeros).collect::<Result<_, _>>()?;
        // It is ended, so this is an error.
        let _ = session.run(&options, &inputs);
        Ok(())
    }
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
        let builder = builder(library, options.threads.max(1)).map_err(failed)?;
        let session = commit(builder, path).map_err(failed)?;
        let inputs: Vec<Port> = session.inputs().iter().map(port).collect();
        let outputs: Vec<Port> = session.outputs().iter().map(port).collect();
        let session = SharedSession::new(session, &inputs, &outputs).map_err(failed)?;
        let inner = Arc::new(Loaded {
            inputs,
            outputs,
            session,
            wide: OnceLock::new(),
            activity: Arc::clone(library.activity()),
            metrics,
        });
        library.add(&inner);
        Ok(Self { inner })
    }

    /// Opens a second session, in which `threads` and the thread that asks for a run work
    /// on it, for runs of an instance that has the machine to itself. `unchanged` is asked
    /// once `path` has been read: whether it holds the file that the model was loaded from.
    ///
    /// Outputs are the same, to the bit: ONNX Runtime gives each thread rows and columns of
    /// an operator's output, and parts of no sum.
    ///
    /// # Errors
    ///
    /// If the file has changed, or ONNX Runtime cannot read it any more.
    pub fn widen(
        &self,
        library: &Library,
        path: &Path,
        threads: Threads,
        unchanged: impl FnOnce() -> bool,
    ) -> Result<(), ModelError> {
        let failed = |error: ort::Error| ModelError {
            path: path.to_owned(),
            reason: error.message().to_owned(),
        };
        let Loaded {
            inputs,
            outputs,
            wide,
            ..
        } = &*self.inner;
        let threads_of_a_run = threads.count() + 1;
        let open = || -> ort::Result<SharedSession> {
            let builder = builder(library, threads_of_a_run)?
                .with_thread_manager(threads)?
                // Waking a sleeping thread takes as long as many an operator does. They spin
                // only during a run, on cores that nothing else uses.
                .with_intra_op_spinning(true)?
                .with_config_entry("session.force_spinning_stop", "1")?;
            SharedSession::new(commit(builder, path)?, inputs, outputs)
        };
        let session = open().map_err(failed)?;
        if !unchanged() {
            return Err(failed(ort::Error::new("the file has changed")));
        }
        wide.get_or_init(|| Wide {
            session,
            threads: threads_of_a_run,
        });
        Ok(())
    }

    /// How many threads work on a run that has the machine to itself, if these are more
    /// than on any other.
    pub fn wide_threads(&self) -> Option<usize> {
        self.inner.wide.get().map(|wide| wide.threads)
    }

    /// A `wasi:nn` graph of the model, and a function that ends the runs of this graph
    /// only: the current run at its next operator, and later runs at once. All graphs
    /// share the sessions.
    pub fn graph(&self) -> (Graph, Box<dyn Fn() + Send + Sync>) {
        let runs = Arc::new(Runs::new(Arc::clone(&self.inner.activity)));
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

fn builder(library: &Library, threads: usize) -> ort::Result<SessionBuilder> {
    Ok(Session::builder(library.environment())?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        // A thread that spins while it waits takes the core from other workers.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // ONNX Runtime would keep a memory plan for every shape it has seen, and guests
        // choose the shapes. Runs are not slower without.
        .with_memory_pattern(false)?)
}

fn commit(mut builder: SessionBuilder, path: &Path) -> ort::Result<Session> {
    builder.commit_from_file(path)
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
