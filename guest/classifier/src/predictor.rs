//! A model ready to score texts: encoder, runner and labels together.

use std::path::Path;

use crate::bindings::{Error, Score};
use crate::classify::rank;
use crate::config::{Activation, ModelConfig};
use crate::encode::{Encoder, Row};
use crate::infer::Runner;

/// Everything that outlives a call.
#[derive(Clone)]
pub struct Predictor {
    encoder: Encoder,
    runner: Runner,
    labels: Vec<String>,
    activation: Activation,
    batch_invariant: bool,
}

/// The most tokens, padding included, in one run of a batch-invariant model:
/// beyond this a larger batch saves nothing more and only takes memory, which
/// the runtime keeps for the largest run that it has seen.
const MAX_BATCH_TOKENS: usize = 512;

/// Texts that have little in common but that they are texts.
const PROBES: [&str; 6] = [
    "good",
    "It is not the worst film of the year, but nearly, and nobody will miss it.",
    "!!! ??? ...",
    "Les com\u{e9}diens sont formidables \u{2014} \u{7d20}\u{6674}\u{3089}\u{3057}\u{3044}",
    "I waited for two hours in the rain, and when the doors were opened at last the band had \
     already gone home, the bar was closed, and all that was left to do was to laugh about it.",
    "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a",
];

/// How much the logits of a text may change with its neighbours, as a part of
/// the largest logit. A float model's sums come out otherwise by some 1e-6; a
/// model that takes the scale of its integers from a whole batch is off by
/// 1e-2 and more.
const TOLERANCE: f32 = 1e-4;

impl Predictor {
    /// Loads a model directory and runs the model once, so that a model that
    /// does not fit its own files is refused here and not by the first caller.
    ///
    /// # Errors
    ///
    /// If a file is missing or unknown, or if the model does not run.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let config = ModelConfig::read(dir)?;
        let encoder = Encoder::read(dir, &config)?;
        let mut predictor = Self {
            encoder,
            runner: Runner::new(config.pad_id, config.labels.len(), config.has_token_types),
            labels: config.labels,
            activation: config.activation,
            batch_invariant: false,
        };
        predictor.predict(&["warm-up".to_owned()])?;
        predictor.batch_invariant = match config.batch_invariant {
            Some(known) => known,
            None => predictor.is_batch_invariant()?,
        };
        Ok(predictor)
    }

    /// Tries whether the model gives texts the same logits together as alone.
    fn is_batch_invariant(&self) -> Result<bool, Error> {
        let rows = PROBES
            .iter()
            .enumerate()
            .map(|(index, text)| self.encoder.encode(index, text))
            .collect::<Result<Vec<Row>, Error>>()?;
        let rows: Vec<&Row> = rows.iter().collect();
        let context = Runner::open()?;
        let Ok(together) = self.runner.run(&context, &rows) else {
            // Such as a graph that was exported for one text at a time.
            return Ok(false);
        };
        let mut largest = 0.0_f32;
        let mut difference = 0.0_f32;
        for (row, together) in rows.iter().zip(together.rows()) {
            let alone = self.runner.run(&context, &[row])?;
            for (a, b) in alone.rows().flatten().zip(together) {
                // A comparison with NaN must not pass for equality.
                if !(a.is_finite() && b.is_finite()) {
                    return Ok(false);
                }
                largest = largest.max(a.abs());
                difference = difference.max((a - b).abs());
            }
        }
        Ok(difference <= TOLERANCE * largest)
    }

    /// The labels, in the order of the logits.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// How the model's numbers become scores.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Scores every text, in order: every label once, highest score first.
    ///
    /// # Errors
    ///
    /// If a text can not be cut into tokens, or if the model fails.
    pub fn predict(&self, texts: &[String]) -> Result<Vec<Vec<Score>>, Error> {
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
