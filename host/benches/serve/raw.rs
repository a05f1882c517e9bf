//! ONNX Runtime alone, in this process, on texts that are tokens already.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use cpu_time::{ProcessTime, ThreadTime};
use inference::Library;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, PrepackedWeights};
use ort::value::TensorRef;

use crate::corpus::{Corpus, Lengths};
use crate::figures::{figure, median};
use crate::process::machine_cpu;
use crate::settings::NamedModel;

const BATCH_SIZES: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// How many texts a pass runs: a multiple of every batch size.
const TEXTS: usize = 64;

/// Texts that are run together, padded to the longest of them.
struct Batch {
    shape: [usize; 2],
    ids: Vec<i64>,
    mask: Vec<i64>,
}

/// A model in one single-threaded session for each core.
pub(crate) struct Raw {
    sessions: Vec<Session>,
    batch_invariant: bool,
}

/// The texts of one corpus, in batches of the size that is best for them.
pub(crate) struct Work(Vec<Batch>);

/// What all cores do together.
pub(crate) struct AllCores {
    pub(crate) seconds_per_text: f64,
    /// For each core-second that other processes left.
    pub(crate) texts_per_available: f64,
    /// As it was, whatever else the machine did.
    pub(crate) texts_per_second: f64,
}

impl Raw {
    pub(crate) fn open(library: &Library, model: &NamedModel, cores: usize) -> Self {
        // The options are the server's, which are those for throughput.
        let weights = PrepackedWeights::new();
        let open = || {
            Session::builder(library.environment())
                .unwrap()
                .with_optimization_level(GraphOptimizationLevel::All)
                .unwrap()
                .with_intra_threads(1)
                .unwrap()
                .with_inter_threads(1)
                .unwrap()
                .with_intra_op_spinning(false)
                .unwrap()
                .with_prepacked_weights(&weights)
                .unwrap()
                .commit_from_file(model.dir.join("model.onnx"))
                .unwrap()
        };
        Self {
            sessions: (0..cores).map(|_| open()).collect(),
            batch_invariant: model.batch_invariant(),
        }
    }

    /// Prints what a text costs in each batch size, and gives the work in the
    /// size that is best among those that leave answers unchanged.
    pub(crate) fn table(
        &mut self,
        model: &NamedModel,
        corpus: &Corpus,
        lengths: Lengths,
        budget: Duration,
    ) -> Work {
        let mut rows = corpus.rows(&corpus.texts(lengths, TEXTS));
        rows.sort_by_key(Vec::len);
        let sizes = BATCH_SIZES.map(|size| batches(&rows, size));
        let session = &mut self.sessions[0];
        let mut rounds: Vec<[f64; BATCH_SIZES.len()]> = Vec::new();
        let start = Instant::now();
        // The first round pays for what is set up once.
        while rounds.len() < 3 || (start.elapsed() < budget && rounds.len() < 20) {
            rounds.push(std::array::from_fn(|size| pass(session, &sizes[size])));
        }
        let costs: [f64; BATCH_SIZES.len()] = std::array::from_fn(|size| {
            median(
                &rounds[1..]
                    .iter()
                    .map(|round| round[size])
                    .collect::<Vec<_>>(),
            )
        });
        let name = match lengths {
            Lengths::Short => "raw",
            Lengths::Mixed => "raw_mixed",
            Lengths::All => "raw_all",
        };
        for (size, cost) in BATCH_SIZES.into_iter().zip(costs) {
            figure(
                &model.figure(&format!("{name}_batch{size}_cpu_us_per_text")),
                cost * 1e6,
            );
        }
        let best = if self.batch_invariant {
            (0..costs.len())
                .min_by(|&a, &b| costs[a].total_cmp(&costs[b]))
                .unwrap()
        } else {
            0
        };
        figure(
            &model.figure(&format!("{name}_best_batch")),
            BATCH_SIZES[best] as f64,
        );
        let [work] = sizes
            .into_iter()
            .skip(best)
            .take(1)
            .collect::<Vec<_>>()
            .try_into()
            .ok()
            .unwrap();
        Work(work)
    }

    /// The CPU time of a text, with one core at work.
    pub(crate) fn alone(&mut self, work: &Work, slice: Duration) -> f64 {
        passes(&mut self.sessions[0], work, slice).1
    }

    /// All cores at once, each with texts of its own.
    pub(crate) fn all_cores(&mut self, work: &Work, slice: Duration) -> AllCores {
        let barrier = Barrier::new(self.sessions.len());
        let (machine, process, start) = (machine_cpu(), ProcessTime::now(), Instant::now());
        let threads: Vec<(f64, f64, f64)> = std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .sessions
                .iter_mut()
                .map(|session| {
                    scope.spawn(|| {
                        barrier.wait();
                        let start = Instant::now();
                        let (texts, cost) = passes(session, work, slice);
                        (texts, cost, start.elapsed().as_secs_f64())
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let texts: f64 = threads.iter().map(|(texts, _, _)| texts).sum();
        let cpu: f64 = threads.iter().map(|(texts, cost, _)| texts * cost).sum();
        // A thread that ends before the others leaves its core unused, which is
        // no fault of its.
        let walls: f64 = threads.iter().map(|(_, _, wall)| wall).sum();
        let whole = start.elapsed().as_secs_f64() * threads.len() as f64;
        let others =
            machine_cpu().saturating_sub(machine).as_secs_f64() - process.elapsed().as_secs_f64();
        let others = others.max(0.0) * walls / whole;
        AllCores {
            seconds_per_text: cpu / texts,
            texts_per_available: texts / (walls - others),
            texts_per_second: texts / (walls / threads.len() as f64),
        }
    }
}

/// Whole passes for at least this long; how many texts, and the CPU seconds of
/// each.
fn passes(session: &mut Session, work: &Work, slice: Duration) -> (f64, f64) {
    let start = Instant::now();
    let mut costs = Vec::new();
    while costs.is_empty() || start.elapsed() < slice {
        costs.push(pass(session, &work.0));
    }
    let passes = costs.len() as f64;
    (passes * TEXTS as f64, costs.iter().sum::<f64>() / passes)
}

/// The CPU seconds of a text in one pass over all.
fn pass(session: &mut Session, batches: &[Batch]) -> f64 {
    let start = ThreadTime::now();
    for batch in batches {
        let outputs = session
            .run(ort::inputs! {
                "input_ids" => TensorRef::from_array_view((batch.shape, &batch.ids[..])).unwrap(),
                "attention_mask" => TensorRef::from_array_view((batch.shape, &batch.mask[..])).unwrap(),
            })
            .unwrap();
        let (_, logits) = outputs["logits"].try_extract_tensor::<f32>().unwrap();
        assert!(logits.iter().all(|logit| logit.is_finite()));
    }
    let texts: usize = batches.iter().map(|batch| batch.shape[0]).sum();
    start.elapsed().as_secs_f64() / texts as f64
}

fn batches(rows: &[Vec<i64>], size: usize) -> Vec<Batch> {
    rows.chunks(size)
        .map(|rows| {
            let width = rows.iter().map(Vec::len).max().unwrap();
            let padded = |fill: &dyn Fn(&[i64]) -> Vec<i64>| {
                rows.iter()
                    .flat_map(|row| {
                        let mut values = fill(row);
                        values.resize(width, 0);
                        values
                    })
                    .collect()
            };
            Batch {
                shape: [rows.len(), width],
                ids: padded(&<[i64]>::to_vec),
                mask: padded(&|row| vec![1; row.len()]),
            }
        })
        .collect()
}
