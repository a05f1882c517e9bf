//! A loaded model: tokenizer, runner and labels.

use std::path::Path;

use fastsentiment_config::Activation;

use crate::bindings::{self, Description, Error, Score};
use crate::classify::{rank, scores};
use crate::config::read_config;
use crate::encode::{Encoder, Row};
use crate::infer::Runner;
use crate::long_texts::{LongTexts, Pooling};
use crate::{describe, setting};

/// A model that is ready to score texts.
#[derive(Clone)]
pub struct Predictor {
    encoder: Encoder,
    runner: Runner,
    labels: Vec<String>,
    activation: Activation,
    batch_invariant: bool,
    long_texts: LongTexts,
}

/// The most tokens, padding included, in one run of a batch-invariant model. A larger
/// batch is not faster per text, and takes memory that the runtime keeps.
const MAX_BATCH_TOKENS: usize = 512;

/// The limit on the tokens of a text for a model whose files state none, unless it takes
/// fewer: that of BERT. A stated limit is tried up to this length, since a longer run takes
/// memory that the runtime keeps.
const DEFAULT_LIMIT: usize = 512;

/// Texts of different lengths, languages and characters.
const PROBES: [&str; 6] = [
    "good",
    "It is not the worst film of the year, but nearly, and nobody will miss it.",
    "!!! ??? ...",
    "Les com\u{e9}diens sont formidables \u{2014} \u{7d20}\u{6674}\u{3089}\u{3057}\u{3044}",
    "I waited for two hours in the rain, and when the doors were opened at last the band had \
     already gone home, the bar was closed, and all that was left to do was to laugh about it.",
    "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a",
];

/// How much the logits of a text may differ between a batch and alone, relative to the
/// largest logit. Rounding makes a float model differ by about 1e-6; a quantised model
/// that computes its scales over the whole batch differs by 1e-2 and more.
const TOLERANCE: f32 = 1e-4;

impl Predictor {
    /// Loads a model directory, and runs the model once, so that a model that does not
    /// fit its files fails here and not in the first call.
    ///
    /// # Errors
    ///
    /// If a file is missing or malformed, or if the model does not run; or if the setting
    /// `long-texts` has a value that is not allowed.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let long_texts = setting(LongTexts::KEY, LongTexts::ALLOWED)?.unwrap_or_default();
        let config = read_config(dir)?;
        let encoder = Encoder::read(dir, &config, long_texts)?;
        let mut predictor = Self {
            encoder,
            runner: Runner::new(config.pad_id, config.labels.len(), config.has_token_types),
            labels: config.labels,
            activation: config.activation,
            batch_invariant: false,
            long_texts,
        };
        predictor.score(&["warm-up".to_owned()], LongTexts::Truncate)?;
        predictor.check_limit()?;
        predictor.batch_invariant = match config.batch_invariant {
            _ if !predictor.runner.can_pad() => false,
            Some(known) => known,
            None => predictor.is_batch_invariant()?,
        };
        Ok(predictor)
    }

    /// Checks that the model takes rows as long as its files say. If they state no limit,
    /// finds one.
    fn check_limit(&mut self) -> Result<(), Error> {
        let stated = self.encoder.max_tokens();
        let context = Runner::open()?;
        let text = self.encoder.encode_truncated(0, PROBES[0])?;
        let run = |length: usize| {
            let first = |of: &[u32]| vec![of.first().copied().unwrap_or(0); length];
            let row = Row {
                ids: first(&text.ids),
                type_ids: first(&text.type_ids),
                mask: vec![1; length],
            };
            self.runner.run(&context, &[&row]).map(drop)
        };
        let wanted = stated.unwrap_or(DEFAULT_LIMIT).min(DEFAULT_LIMIT);
        let longest = match (run(wanted), stated) {
            (Ok(()), Some(_)) => return Ok(()),
            (Ok(()), None) => wanted,
            (Err(error), Some(_)) => {
                return Err(Error::ModelUnsuitable(format!(
                    "the model does not take the {wanted} tokens that config.json and \
                     tokenizer_config.json allow: {}",
                    describe(&error)
                )));
            }
            (Err(_), None) => {
                let lengths: Vec<usize> = (1..wanted).collect();
                lengths.partition_point(|length| run(*length).is_ok())
            }
        };
        self.encoder.truncate_to(longest)
    }

    /// Measures whether texts have the same logits in a batch as alone.
    fn is_batch_invariant(&self) -> Result<bool, Error> {
        let rows = PROBES
            .iter()
            .enumerate()
            .map(|(index, text)| self.encoder.encode_truncated(index, text))
            .collect::<Result<Vec<Row>, Error>>()?;
        let rows: Vec<&Row> = rows.iter().collect();
        let context = Runner::open()?;
        let Ok(together) = self.runner.run(&context, &rows) else {
            // For example, the graph was exported for one text at a time.
            return Ok(false);
        };
        let mut largest = 0.0_f32;
        let mut difference = 0.0_f32;
        for (row, together) in rows.iter().zip(together.rows()) {
            let alone = self.runner.run(&context, &[row])?;
            for (a, b) in alone.rows().flatten().zip(together) {
                // `max` ignores NaN, which must not count as equal.
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

    /// What is true of all answers.
    pub fn description(&self) -> Description {
        Description {
            labels: self.labels.clone(),
            activation: Some(match self.activation {
                Activation::Softmax => bindings::Activation::Softmax,
                Activation::Sigmoid => bindings::Activation::Sigmoid,
            }),
            limit: self.encoder.limit(),
            batches: self.batch_invariant,
        }
    }

    /// How logits become scores.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Scores every text, in order: every label once, highest score first. What becomes of a
    /// text that is too long for the model is a setting of the guest, `long-texts`.
    ///
    /// # Errors
    ///
    /// If a text cannot be tokenised, or is refused for its length; or if the model fails.
    pub fn predict(&self, texts: &[String]) -> Result<Vec<Vec<Score>>, Error> {
        self.score(texts, self.long_texts)
    }

    /// The same, but a text that would be truncated is refused.
    ///
    /// # Errors
    ///
    /// As for [`Self::predict`].
    pub fn predict_whole(&self, texts: &[String]) -> Result<Vec<Vec<Score>>, Error> {
        self.score(texts, self.long_texts.whole())
    }

    fn score(&self, texts: &[String], long_texts: LongTexts) -> Result<Vec<Vec<Score>>, Error> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let (mut rows, mut texts_of_rows) = (Vec::new(), Vec::new());
        for (index, text) in texts.iter().enumerate() {
            let windows = self.encoder.encode(index, text, long_texts)?;
            texts_of_rows.extend(windows.iter().map(|_| index));
            rows.extend(windows);
        }
        let context = Runner::open()?;
        let mut answers = vec![Vec::new(); texts.len()];
        for batch in self.batches(&rows) {
            let members: Vec<&Row> = batch.iter().map(|at| &rows[*at]).collect();
            let logits = self.runner.run(&context, &members)?;
            for (at, logits) in batch.iter().zip(logits.rows()) {
                answers[texts_of_rows[*at]].push(scores(logits, self.activation)?);
            }
        }
        let pooling = match long_texts {
            LongTexts::Window(pooling) => pooling,
            // There is one window.
            LongTexts::Truncate | LongTexts::Refuse => Pooling::Mean,
        };
        let pooled = answers.into_iter().map(|windows| {
            let scores = pooling.pool(windows, self.activation);
            rank(&self.labels, scores)
        });
        Ok(pooled.collect())
    }

    /// The rows of each run: one, unless the model is batch-invariant; then rows of
    /// similar length, so that there is little padding.
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
