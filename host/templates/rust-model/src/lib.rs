//! Classifies texts with the server's model. The contract is wit/predict.wit.

wit_bindgen::generate!({
    path: "wit",
    inline: "
        package mine:guest;

        world guest {
            include fastsentiment:predict/prepared-guest@0.1.0;
            include fastsentiment:predict/described-guest@0.1.0;
        }
    ",
    world: "mine:guest/guest",
    generate_all,
});

use std::path::Path;
use std::sync::OnceLock;

use exports::fastsentiment::predict::descriptor::{
    Activation, Description, Guest as Describe, Limit, Side,
};
use exports::fastsentiment::predict::predictor::{Error, Guest as Predict, Score};
use serde_json::Value;
use tokenizers::{Tokenizer, TruncationParams};
use wasi::nn::graph::load_by_name;
use wasi::nn::inference::GraphExecutionContext;
use wasi::nn::tensor::{Tensor, TensorType};

/// What is read from the model's directory. It stays in the guest's memory, of which the host
/// takes a snapshot after `prepare`.
struct Files {
    tokenizer: Tokenizer,
    labels: Vec<String>,
}

static FILES: OnceLock<Files> = OnceLock::new();

struct Classifier;
export!(Classifier);

impl Guest for Classifier {
    fn prepare() {
        match Files::read(Path::new("/model")) {
            Ok(files) => {
                let _ = FILES.set(files);
            }
            // The host reports what a guest prints before it exits.
            Err(error) => {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
    }
}

impl Predict for Classifier {
    fn predict(texts: Vec<String>) -> Result<Vec<Vec<Score>>, Error> {
        let files = FILES.get();
        let files = files.ok_or_else(|| Error::Internal("not prepared".to_owned()))?;
        let failed = |error: wasi::nn::errors::Error| Error::ModelMissing(error.data());
        let graph = load_by_name("model").map_err(failed)?;
        let context = graph.init_execution_context().map_err(failed)?;
        // One by one, so that no answer depends on other texts.
        texts
            .iter()
            .map(|text| files.scores(&context, text))
            .collect()
    }
}

impl Describe for Classifier {
    fn describe() -> Result<Description, String> {
        let files = FILES.get().ok_or("not prepared")?;
        let longest = files.tokenizer.get_truncation();
        Ok(Description {
            labels: files.labels.clone(),
            activation: Some(Activation::Softmax),
            limit: longest.map(|longest| Limit {
                tokens: longest.max_length as u32,
                cut: Side::Right,
            }),
            batches: false,
        })
    }
}

impl Files {
    fn read(dir: &Path) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let config = std::fs::read(dir.join("config.json"));
        let config = config.map_err(|error| format!("config.json cannot be read: {error}"))?;
        let config: Value = serde_json::from_slice(&config)?;
        let labels = (0..).map_while(|id| config["id2label"][id.to_string()].as_str());
        let labels: Vec<String> = labels.map(str::to_owned).collect();
        if labels.is_empty() {
            return Err("config.json has no `id2label`".into());
        }
        let mut tokenizer = Tokenizer::from_file(dir.join("tokenizer.json"))?;
        let longest = config["max_position_embeddings"].as_u64().unwrap_or(512);
        tokenizer.with_truncation(Some(TruncationParams {
            max_length: usize::try_from(longest)?,
            ..TruncationParams::default()
        }))?;
        tokenizer.with_padding(None);
        Ok(Self { tokenizer, labels })
    }

    /// Every label of a text, highest score first.
    fn scores(&self, context: &GraphExecutionContext, text: &str) -> Result<Vec<Score>, Error> {
        let encoded = self.tokenizer.encode(text, true);
        let encoded = encoded.map_err(|error| Error::Internal(error.to_string()))?;
        // Some models take `token_type_ids` as well: `encoded.get_type_ids()`.
        let inputs = vec![
            ("input_ids".to_owned(), tensor(encoded.get_ids())),
            (
                "attention_mask".to_owned(),
                tensor(encoded.get_attention_mask()),
            ),
        ];
        let outputs = context.compute(inputs);
        let outputs = outputs.map_err(|error| Error::InferenceFailed(error.data()))?;
        let logits = outputs
            .first()
            .map(|(_, tensor)| tensor.data())
            .unwrap_or_default();
        let logits = logits
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes));
        let logits: Vec<f32> = logits.collect();
        if logits.len() != self.labels.len() {
            return Err(Error::ModelUnsuitable(format!(
                "it gives {} numbers, and config.json has {} labels",
                logits.len(),
                self.labels.len()
            )));
        }
        let scores = self.labels.iter().cloned().zip(softmax(&logits));
        let mut scores: Vec<Score> = scores
            .map(|(label, score)| Score { label, score })
            .collect();
        scores.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(scores)
    }
}

/// Ids as one row of 64-bit integers.
fn tensor(ids: &[u32]) -> Tensor {
    let bytes: Vec<u8> = ids
        .iter()
        .flat_map(|id| i64::from(*id).to_le_bytes())
        .collect();
    Tensor::new(&[1, ids.len() as u32], TensorType::I64, &bytes)
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::MIN, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}
