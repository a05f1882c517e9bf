//! Gives a model a second session, for a text that has the machine to itself.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use batcher::Calibration;
use inference::Threads;
use predictor::Priority;

use super::loader::{LoadedModel, RevisionLoader};
use super::memory;

/// Texts that take less than this alone are not worth several cores: most of their time is
/// that of short operators, between which the threads would have to meet. The included
/// model's sentences, at 1.2 to 1.7 ms, gain nothing; those of a full-size model in int8, at
/// 4 to 6 ms, take 0.6 times as long with two threads.
const WORTH: Duration = Duration::from_micros(2500);

/// The most threads of a run. Gains from more were not measured, and a sentence has little
/// work to divide.
const MOST: usize = 8;

/// What has to be free, as a multiple of the size of the model's files: what one session more
/// takes, and what the next model takes while it is loaded beside this one.
const FREE: u64 = 8;

/// When to give models a second session, and with how many threads.
#[derive(Clone, Copy)]
pub(super) struct Wide {
    threads: usize,
}

impl Wide {
    /// `workers` is how many cores the server is to use. `threads` is how many threads each run
    /// uses, if that was chosen; all runs have the same then.
    pub(super) fn new(workers: NonZeroUsize, threads: Option<NonZeroUsize>) -> Self {
        Self {
            threads: threads.map_or_else(|| workers.get().min(MOST), |_| 1),
        }
    }

    /// Gives a model that has been measured a second session, if that pays and there is
    /// memory for it. Without one, a text alone takes longer.
    pub(super) fn widen(
        self,
        loader: &RevisionLoader,
        model: &LoadedModel,
        calibration: &Calibration,
        priority: Priority,
    ) {
        // Another guest has shown that it pays.
        if model.model.wide_threads().is_some() {
            return;
        }
        let needed = model.files.size().saturating_mul(FREE);
        if !self.pays(calibration) || !memory::is_free(needed) {
            return;
        }
        if let Err(error) = self.open(loader, model, priority) {
            tracing::warn!("{error}; a text alone does not use all cores");
        }
    }

    fn open(
        self,
        loader: &RevisionLoader,
        model: &LoadedModel,
        priority: Priority,
    ) -> Result<(), String> {
        // Not on the thread of low priority that may do the rest.
        let threads = Threads::start(self.threads - 1).map_err(|error| error.to_string())?;
        let (library, of) = (Arc::clone(&loader.library), Arc::clone(&model.model));
        let (path, files) = (model.path.clone(), model.files.clone());
        let unchanged = move || files.check_unchanged().is_ok();
        let open = move || of.widen(&library, &path, threads, unchanged);
        let opened = loader.aside(priority, open);
        let opened = opened.map_err(|error| error.in_a_line())?;
        opened.map_err(|error| error.to_string())
    }

    fn pays(self, calibration: &Calibration) -> bool {
        self.threads > 1 && calibration.alone >= WORTH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pays(workers: usize, threads: Option<usize>, alone: u64) -> bool {
        let some = |number| NonZeroUsize::new(number).unwrap();
        let alone = Duration::from_micros(alone);
        let calibration = Calibration {
            alone,
            together: alone,
        };
        Wide::new(some(workers), threads.map(some)).pays(&calibration)
    }

    #[test]
    fn long_runs_are_divided_unless_threads_were_chosen() {
        assert!(pays(2, None, 4000));
        assert!(!pays(2, None, 1500), "too short");
        assert!(!pays(1, None, 4000), "one core");
        assert!(!pays(2, Some(1), 4000), "chosen");
        assert!(!pays(2, Some(2), 4000), "every run has two");
    }
}
