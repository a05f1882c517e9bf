//! What the sandbox costs: CPU time for a text, native against guest.
//!
//! `make bench` runs this. Three ways to the same scores are measured in turn
//! in one thread, in many short rounds, so that what else the machine does
//! meets all three alike:
//!
//! - native: the `tokenizers` crate and ONNX Runtime, called directly;
//! - reused: the guest, in one instance that serves every call;
//! - fresh: the guest as it is served, in a new instance for each call.
//!
//! The figures are medians over the rounds of the CPU time of the calling
//! thread, in microseconds for each text, and the median over the rounds of
//! the ratio to native in the same round.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "a benchmark that can not run stops")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cpu_time::ThreadTime;
use inference::{Library, Model, SessionOptions};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::Tensor;
use predictor::Configuration;
use sandbox::{CompileLimits, Compiler, Graphs, Guest, Limits, ModelFiles, Runtime, load};
use tokenizers::Tokenizer;

/// Sentences of about 16 tokens with the special tokens counted.
const SENTENCES: [&str; 8] = [
    "The hotel room was clean, bright and quiet, and breakfast was good.",
    "I waited for two hours and nobody came to take my order.",
    "A charming little film that knows exactly what it wants to be.",
    "The battery died after a week and the shop would not help.",
    "Our guide was patient with the children and full of good stories.",
    "It is not the worst phone I have owned, but nearly.",
    "The soup was cold, the bread was stale and the bill was high.",
    "Every page of this book made me want to read the next.",
];

const ROUNDS: usize = 40;
/// How many texts each way scores in a round.
const TEXTS_PER_ROUND: usize = 64;

fn main() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let model_dir =
        std::env::var_os("MODEL").map_or_else(|| repository.join("model/default"), PathBuf::from);
    let release = repository.join("target/release");
    let library = std::env::var_os("ORT_DYLIB_PATH")
        .map_or_else(|| release.join("libonnxruntime.so"), PathBuf::from);
    let component = std::fs::read(release.join("fastsentiment_guest.wasm")).unwrap();

    let library = Library::open(Some(&library)).unwrap();
    let registry = prometheus::Registry::new();
    let options = SessionOptions { threads: 1 };
    let model = Model::load(
        &library,
        &model_dir.join("model.onnx"),
        options,
        inference::Metrics::new(&registry).unwrap(),
    )
    .unwrap();
    let limits = Limits {
        memory: 512 << 20,
        call: Duration::from_secs(60),
        prepare: Duration::from_secs(60),
        instances: 2,
    };
    let graphs = Graphs::of(move || model.graph());
    let metrics = sandbox::Metrics::new(&registry).unwrap();
    let runtime = Runtime::new(
        limits,
        Compiler::in_process(CompileLimits::default()),
        graphs,
        metrics,
    )
    .unwrap();
    let files = ModelFiles::read(&model_dir, []).unwrap();
    let guest = Arc::new(load(&runtime, None, &component, &files, &Configuration::NONE).unwrap());
    let mut native = Native::load(&library, &model_dir);

    wear_in(&guest, &native.tokenizer);

    println!("model {}", model_dir.display());
    let tokens: usize = SENTENCES
        .iter()
        .map(|text| native.tokenizer.encode(*text, true).unwrap().len())
        .sum();
    #[allow(clippy::cast_precision_loss, reason = "small counts")]
    let mean = tokens as f64 / SENTENCES.len() as f64;
    println!("{ROUNDS} rounds of {TEXTS_PER_ROUND} texts of {mean:.1} tokens\n");
    for batch in [1, 8] {
        measure(&mut native, &guest, batch);
    }
}

/// Scores texts of every word in the vocabulary, so that the guest's memory is
/// in the state of a server that has met all kinds of texts: most of its pages
/// are mapped, and each of them costs when an instance is put back.
fn wear_in(guest: &Guest, tokenizer: &Tokenizer) {
    let clock = clock();
    let mut words: Vec<String> = tokenizer.get_vocab(false).into_keys().collect();
    words.retain(|word| word.chars().all(char::is_alphanumeric));
    words.sort();
    for words in words.chunks(64) {
        drop(clock.block_on(guest.predict(&[words.join(" ")])).unwrap());
    }
}

fn clock() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

fn measure(native: &mut Native, guest: &Guest, batch: usize) {
    let clock = clock();
    let calls: Vec<Vec<String>> = (0..TEXTS_PER_ROUND / batch)
        .map(|call| {
            (0..batch)
                .map(|text| SENTENCES[(call * batch + text) % SENTENCES.len()].to_owned())
                .collect()
        })
        .collect();
    let mut reused = clock.block_on(guest.instantiate()).unwrap();
    let mut round = || {
        let native = time(&calls, |texts| drop(native.predict(texts)));
        let reused = time(&calls, |texts| {
            drop(clock.block_on(reused.predict(texts)).unwrap());
        });
        let fresh = time(&calls, |texts| {
            drop(clock.block_on(guest.predict(texts)).unwrap());
        });
        [native, reused, fresh]
    };
    // The first round pays for what is set up once.
    round();
    let rounds: Vec<[f64; 3]> = (0..ROUNDS).map(|_| round()).collect();

    for (at, name) in ["native", "reused", "fresh"].into_iter().enumerate() {
        let micros = median(rounds.iter().map(|round| round[at]).collect());
        let ratios: Vec<f64> = rounds.iter().map(|round| round[at] / round[0]).collect();
        println!("figure {name}_batch{batch}_cpu_us_per_text {micros:.1}");
        if at > 0 {
            println!(
                "figure {name}_batch{batch}_over_native {:.3}",
                median(ratios)
            );
        }
    }
    let extra: Vec<f64> = rounds
        .iter()
        .map(|round| {
            #[allow(clippy::cast_precision_loss, reason = "small counts")]
            let batch = batch as f64;
            (round[2] - round[1]) * batch
        })
        .collect();
    println!(
        "figure fresh_instance_batch{batch}_cpu_us {:.1}",
        median(extra)
    );
}

/// The CPU time of this thread, in microseconds for each text.
fn time(calls: &[Vec<String>], mut predict: impl FnMut(&[String])) -> f64 {
    let start = ThreadTime::now();
    for texts in calls {
        predict(texts);
    }
    #[allow(clippy::cast_precision_loss, reason = "small counts")]
    let texts = calls.iter().map(Vec::len).sum::<usize>() as f64;
    start.elapsed().as_secs_f64() * 1e6 / texts
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What the guest does, without a guest.
struct Native {
    tokenizer: Tokenizer,
    session: Session,
    labels: Vec<String>,
    batch_invariant: bool,
}

impl Native {
    fn load(library: &Library, dir: &Path) -> Self {
        let session = Session::builder(library.environment())
            .unwrap()
            .with_optimization_level(GraphOptimizationLevel::All)
            .unwrap()
            .with_intra_threads(1)
            .unwrap()
            .with_inter_threads(1)
            .unwrap()
            .with_intra_op_spinning(false)
            .unwrap()
            .commit_from_file(dir.join("model.onnx"))
            .unwrap();
        let mut tokenizer = Tokenizer::from_file(dir.join("tokenizer.json")).unwrap();
        tokenizer.with_padding(None).with_truncation(None).unwrap();
        let config = std::fs::read(dir.join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        let labels = config["id2label"].as_object().unwrap();
        Self {
            tokenizer,
            session,
            labels: (0..labels.len())
                .map(|id| labels[&id.to_string()].as_str().unwrap().to_owned())
                .collect(),
            batch_invariant: config["fastsentiment"]["batch_invariant"] == true,
        }
    }

    /// Runs texts together exactly where the guest does.
    fn predict(&mut self, texts: &[String]) -> Vec<Vec<(String, f32)>> {
        let rows: Vec<Vec<u32>> = texts
            .iter()
            .map(|text| {
                let encoding = self.tokenizer.encode_fast(text.as_str(), true).unwrap();
                encoding.get_ids().to_vec()
            })
            .collect();
        let together = if self.batch_invariant { rows.len() } else { 1 };
        rows.chunks(together)
            .flat_map(|rows| self.run(rows))
            .collect()
    }

    fn run(&mut self, rows: &[Vec<u32>]) -> Vec<Vec<(String, f32)>> {
        let width = rows.iter().map(Vec::len).max().unwrap();
        let mut ids = Vec::with_capacity(rows.len() * width);
        let mut mask = Vec::with_capacity(rows.len() * width);
        for row in rows {
            ids.extend(row.iter().map(|id| i64::from(*id)));
            mask.extend(row.iter().map(|_| 1_i64));
            ids.resize(ids.len() + width - row.len(), 0);
            mask.resize(mask.len() + width - row.len(), 0);
        }
        let shape = [rows.len(), width];
        let outputs = self
            .session
            .run(ort::inputs! {
                "input_ids" => Tensor::from_array((shape, ids)).unwrap(),
                "attention_mask" => Tensor::from_array((shape, mask)).unwrap(),
            })
            .unwrap();
        let (_, logits) = outputs["logits"].try_extract_tensor::<f32>().unwrap();
        logits
            .chunks(self.labels.len())
            .map(|logits| {
                let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
                let mut scores: Vec<(String, f32)> = self
                    .labels
                    .iter()
                    .zip(logits)
                    .map(|(label, logit)| (label.clone(), (logit - largest).exp() / sum))
                    .collect();
                scores.sort_by(|a, b| b.1.total_cmp(&a.1));
                scores
            })
            .collect()
    }
}
