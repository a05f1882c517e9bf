//! A model ready to score texts: encoder, runner and labels together.

use std::path::Path;

use crate::bindings::exports::fastsentiment::predict::predictor::{Error, Score};
use crate::classify::rank;
use crate::config::{Activation, ModelConfig};
use crate::encode::{Encoder, Row};
use crate::infer::Runner;

/// Everything that outlives a call.
#[derive(Clone)]
pub(crate) struct Predictor {
    encoder: Encoder,
    runner: Runner,
    labels: Vec<String>,
    activation: Activation,
    batch_invariant: bool,
}

/// The most tokens, padding included, in one run of a batch-invariant model:
/// beyond this a larger batch saves nothing more and only takes memory.
const MAX_BATCH_TOKENS: usize = 512;

impl Predictor {
    /// Loads a model directory and runs the model once, so that a model that
    /// does not fit its own files is refused here and not by the first caller.
    pub(crate) fn load(dir: &Path) -> Result<Self, Error> {
        let config = ModelConfig::read(dir)?;
        let encoder = Encoder::read(dir, &config)?;
        let predictor = Self {
            encoder,
            runner: Runner::new(config.pad_id, config.labels.len(), config.has_token_types),
            labels: config.labels,
            activation: config.activation,
            batch_invariant: config.batch_invariant,
        };
        predictor.predict(&["warm-up".to_owned()])?;
        Ok(predictor)
    }

    /// Scores every text, in order.
    pub(crate) fn predict(&self, texts: &[String]) -> Result<Vec<Vec<Score>>, Error> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let rows = texts
            .iter()
            .enumerate()
            .map(|(index, text)| self.encoder.encode(index, text))
            .collect::<Result<Vec<Row>, Error>>()?;
        let context = Runner::open()?;
        let mut answers = vec![Vec::new(); rows.len()];
        for batch in self.batches(&rows) {
            let members: Vec<&Row> = batch.iter().map(|at| &rows[*at]).collect();
            let logits = self.runner.run(&context, &members)?;
            for (at, logits) in batch.iter().zip(logits.rows()) {
                answers[*at] = rank(&self.labels, logits, self.activation)?;
            }
        }
        Ok(answers)
    }

    /// Which rows run together: each alone, unless the model gives the same
    /// scores either way; then rows of like length, so that little is padding.
    fn batches(&self, rows: &[Row]) -> Vec<Vec<usize>> {
        if !self.batch_invariant {
            return (0..rows.len()).map(|at| vec![at]).collect();
        }
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|at| rows[*at].ids.len());
        let mut batches: Vec<Vec<usize>> = Vec::new();
        for at in order {
            // The order makes the newest row the longest of its batch.
            match batches.last_mut() {
                Some(batch) if (batch.len() + 1) * rows[at].ids.len() <= MAX_BATCH_TOKENS => {
                    batch.push(at);
                }
                _ => batches.push(vec![at]),
            }
        }
        batches
    }
}
