//! Measures whether batching pays.
//!
//! It does for short texts with a float model, because the matrices of a single text are too
//! small to keep a core busy. It hardly does with a quantised model, and not at all where a
//! guest scores one text at a time to keep answers independent of each other. So it is
//! measured, with the guest and the model in use.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use predictor::{CancellationToken, PredictError, Scorer};

/// What time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The time of day, on a machine that does nothing else.
    Wall,
    /// The processor time of the measuring thread, beside other work.
    Thread,
}

impl Clock {
    fn now(self) -> Duration {
        let id = match self {
            Self::Wall => ClockId::Monotonic,
            Self::Thread => ClockId::ThreadCPUTime,
        };
        let time = clock_gettime(id);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or_default(),
            u32::try_from(time.tv_nsec).unwrap_or_default(),
        )
    }
}

/// The cost of a text, alone and in a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// The time for a text that is scored alone.
    pub alone: Duration,
    /// The time for a text in a batch: that of the batch, divided by its texts.
    pub together: Duration,
}

/// A sentence of ordinary length.
const TEXT: &str = "The plot is thin, but the actors make the most of every scene.";

/// The texts in a batch.
const TEXTS: u32 = 8;

/// The fewest rounds, and the shortest time, to measure for. The fastest round counts,
/// because every disturbance makes a round slower.
const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_millis(200);

/// Batching pays if a text in a batch takes at most this fraction of its time alone;
/// otherwise it is not worth the longer wait.
const WORTH: f64 = 0.95;

impl Calibration {
    /// Measures `scorer`, on this thread.
    ///
    /// # Errors
    ///
    /// If it cannot score.
    pub fn measure(scorer: &dyn Scorer, clock: Clock) -> Result<Self, PredictError> {
        let cancellation = CancellationToken::never();
        let time = |texts: &[String]| {
            let begun = clock.now();
            let result = scorer.score(texts, &cancellation);
            result.map(|_| clock.now().saturating_sub(begun))
        };
        let together = vec![TEXT.to_owned(); TEXTS as usize];
        let mut best = Self {
            alone: Duration::MAX,
            together: Duration::MAX,
        };
        // The first call also sets things up.
        time(&together[..1])?;
        let begun = clock.now();
        let mut rounds = 0;
        while rounds < ROUNDS || clock.now().saturating_sub(begun) < TIME {
            rounds += 1;
            best.alone = best.alone.min(time(&together[..1])?);
            best.together = best.together.min(time(&together)? / TEXTS);
        }
        Ok(best)
    }

    /// The cost of a text in a batch, as a fraction of its cost alone.
    pub fn ratio(&self) -> f64 {
        self.together.as_secs_f64() / self.alone.as_secs_f64()
    }

    /// Whether batching pays.
    pub fn batches_pay(&self) -> bool {
        self.ratio() <= WORTH
    }

    /// Throughput in tokens per second, as the batcher estimates tokens.
    pub fn tokens_per_second(&self) -> f64 {
        let best = self.together.min(self.alone);
        f64::from(predictor::estimated_tokens(TEXT)) / best.as_secs_f64()
    }
}
