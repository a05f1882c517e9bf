//! A graph that writes down what the guest sends to the model, and passes it
//! on to the real one.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sandbox::{Graphs, Guest};
use wasmtime_wasi_nn::backend::{
    BackendError, BackendExecutionContext, BackendGraph, Id, NamedTensor,
};
use wasmtime_wasi_nn::wit::TensorType;
use wasmtime_wasi_nn::{ExecutionContext, Graph, Tensor};

use crate::harness::{load_default, model, wait};

/// A row of a run: one text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    /// The ids where the attention mask is 1.
    pub(super) ids: Vec<i64>,
    /// The ids where it is 0.
    pub(super) padding: Vec<i64>,
    /// The segments of `ids`, if the graph takes them.
    pub(super) types: Option<Vec<i64>>,
}

/// The default guest over a real model, with a record between them.
pub(super) struct Recorder {
    guest: Guest,
    rows: Rows,
    runs: Arc<AtomicUsize>,
    attempts: Arc<AtomicUsize>,
}

type Rows = Arc<Mutex<Vec<Row>>>;

impl Recorder {
    pub(super) fn new(dir: &Path) -> Self {
        let rows = Rows::default();
        let runs = Arc::new(AtomicUsize::new(0));
        let attempts = Arc::new(AtomicUsize::new(0));
        let (model, record) = (model(dir), Arc::clone(&rows));
        let (count, tried) = (Arc::clone(&runs), Arc::clone(&attempts));
        let graphs = Graphs::of(move || {
            let (inner, terminate) = model.graph();
            let graph: Box<dyn BackendGraph> = Box::new(RecordingGraph {
                inner,
                rows: Arc::clone(&record),
                runs: Arc::clone(&count),
                attempts: Arc::clone(&tried),
            });
            (Graph::from(graph), terminate)
        });
        let guest = load_default(dir, graphs).unwrap();
        Self {
            guest,
            rows,
            runs,
            attempts,
        }
    }

    /// The rows that the guest makes of texts, in the order of its runs.
    pub(super) fn rows(&self, texts: &[String]) -> Vec<Row> {
        self.rows.lock().unwrap().clear();
        wait(self.guest.predict(texts)).unwrap();
        let rows = std::mem::take(&mut *self.rows.lock().unwrap());
        assert_eq!(rows.len(), texts.len());
        rows
    }

    /// In how many runs the guest has texts scored.
    pub(super) fn runs(&self, texts: &[String]) -> usize {
        self.runs.store(0, Ordering::Relaxed);
        wait(self.guest.predict(texts)).unwrap();
        self.runs.load(Ordering::Relaxed)
    }

    /// How often the guest asks for a run to have a text scored.
    pub(super) fn attempts(&self, text: &str) -> usize {
        self.attempts.store(0, Ordering::Relaxed);
        wait(self.guest.predict(&[text.to_owned()])).unwrap();
        self.attempts.load(Ordering::Relaxed)
    }

    /// The only row that the guest makes of a text.
    pub(super) fn row(&self, text: &str) -> Row {
        self.rows(&[text.to_owned()]).remove(0)
    }
}

struct RecordingGraph {
    inner: Graph,
    rows: Rows,
    runs: Arc<AtomicUsize>,
    attempts: Arc<AtomicUsize>,
}

impl BackendGraph for RecordingGraph {
    fn init_execution_context(&self) -> Result<ExecutionContext, BackendError> {
        let context: Box<dyn BackendExecutionContext> = Box::new(RecordingContext {
            inner: self.inner.init_execution_context()?,
            rows: Arc::clone(&self.rows),
            runs: Arc::clone(&self.runs),
            attempts: Arc::clone(&self.attempts),
        });
        Ok(ExecutionContext::from(context))
    }
}

struct RecordingContext {
    inner: ExecutionContext,
    rows: Rows,
    runs: Arc<AtomicUsize>,
    attempts: Arc<AtomicUsize>,
}

impl BackendExecutionContext for RecordingContext {
    fn set_input(&mut self, id: Id, tensor: &Tensor) -> Result<(), BackendError> {
        self.inner.set_input(id, tensor)
    }

    fn get_output(&mut self, id: Id) -> Result<Tensor, BackendError> {
        self.inner.get_output(id)
    }

    fn compute(
        &mut self,
        inputs: Option<Vec<NamedTensor>>,
    ) -> Result<Option<Vec<NamedTensor>>, BackendError> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let rows = rows_of(inputs.as_deref().unwrap_or_default());
        // The guest may try inputs that the graph does not take.
        let outputs = (*self.inner).compute(inputs)?;
        self.rows.lock().unwrap().extend(rows);
        self.runs.fetch_add(1, Ordering::Relaxed);
        Ok(outputs)
    }
}

fn rows_of(inputs: &[NamedTensor]) -> Vec<Row> {
    let input = |name: &str| inputs.iter().find(|input| input.name == name);
    let (ids, mask) = (
        input("input_ids").unwrap(),
        input("attention_mask").unwrap(),
    );
    let (ids, mask) = (matrix(&ids.tensor), matrix(&mask.tensor));
    let types = input("token_type_ids").map(|types| matrix(&types.tensor));
    assert_eq!(ids.len(), mask.len());
    let mut rows = Vec::new();
    for (at, (ids, mask)) in ids.iter().zip(&mask).enumerate() {
        assert_eq!(ids.len(), mask.len());
        let length = mask.iter().take_while(|mask| **mask == 1).count();
        assert!(mask[length..].iter().all(|mask| *mask == 0), "{mask:?}");
        rows.push(Row {
            ids: ids[..length].to_vec(),
            padding: ids[length..].to_vec(),
            types: types.as_ref().map(|types| types[at][..length].to_vec()),
        });
    }
    rows
}

/// The rows of a tensor of two dimensions.
fn matrix(tensor: &Tensor) -> Vec<Vec<i64>> {
    let [rows, columns] = tensor.dimensions[..] else {
        panic!("{tensor:?} is no matrix");
    };
    let data = &tensor.data;
    let values: Vec<i64> = match tensor.ty {
        TensorType::I64 => data
            .as_chunks()
            .0
            .iter()
            .map(|b| i64::from_le_bytes(*b))
            .collect(),
        TensorType::I32 => data
            .as_chunks()
            .0
            .iter()
            .map(|b| i64::from(i32::from_le_bytes(*b)))
            .collect(),
        TensorType::Fp32 => data
            .as_chunks()
            .0
            .iter()
            .map(|b| whole(f32::from_le_bytes(*b)))
            .collect(),
        other => panic!("ids of type {other:?}"),
    };
    assert_eq!(values.len(), rows as usize * columns as usize);
    values
        .chunks(columns as usize)
        .map(<[i64]>::to_vec)
        .collect()
}

/// An id that a graph takes as a float.
fn whole(id: f32) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "compared below")]
    let whole = id as i64;
    assert_eq!((whole as f32).to_bits(), id.to_bits(), "{id} is no id");
    whole
}
