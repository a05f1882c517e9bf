//! Whether it pays to score texts together.
//!
//! For a float model it does, for short texts: a matrix of one text's tokens is
//! too small to keep a core busy. For a quantised one it hardly does, and where
//! a model can not be run on several texts at once without changing the answers
//! it does not at all. So it is measured, with the model in use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use predictor::{Abandoned, PredictError, Scorer};

/// What texts cost, alone and together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// The time of one text that is scored alone.
    pub alone: Duration,
    /// The time of one text of several that are scored together.
    pub together: Duration,
}

/// A sentence of an ordinary length, and what it counts for.
const TEXT: &str = "The plot is thin, but the actors make the most of every scene.";

/// How many texts are scored together.
const TEXTS: u32 = 8;

/// How often each way is tried at least, and how long at least: the quickest
/// counts, since everything that disturbs a measurement makes it longer.
const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_millis(200);

/// Batches are worth their longer wait from this part of the time on.
const WORTH: f64 = 0.95;

impl Calibration {
    /// Measures `scorer`, on this thread.
    ///
    /// # Errors
    ///
    /// If it can not score.
    pub fn measure(scorer: &dyn Scorer) -> Result<Self, PredictError> {
        let abandoned: Abandoned = Arc::new(|| false);
        let time = |texts: &[String]| {
            let begun = Instant::now();
            scorer.score(texts, &abandoned).map(|_| begun.elapsed())
        };
        let together = vec![TEXT.to_owned(); TEXTS as usize];
        let mut best = Self {
            alone: Duration::MAX,
            together: Duration::MAX,
        };
        // What the first calls set up is not to be measured.
        time(&together[..1])?;
        let begun = Instant::now();
        let mut rounds = 0;
        while rounds < ROUNDS || begun.elapsed() < TIME {
            rounds += 1;
            best.alone = best.alone.min(time(&together[..1])?);
            best.together = best.together.min(time(&together)? / TEXTS);
        }
        Ok(best)
    }

    /// What a text costs together with others, as a part of what it costs alone.
    pub fn ratio(&self) -> f64 {
        self.together.as_secs_f64() / self.alone.as_secs_f64()
    }

    /// Whether batches are worth it.
    pub fn batches_pay(&self) -> bool {
        self.ratio() <= WORTH
    }

    /// How many tokens are scored in a second, as the batcher counts them.
    pub fn tokens_per_second(&self) -> f64 {
        let best = self.together.min(self.alone);
        f64::from(super::estimate::tokens(TEXT)) / best.as_secs_f64()
    }
}
