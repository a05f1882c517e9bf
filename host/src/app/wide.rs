//! Gives a model a second session, for a text that has the machine to itself.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
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
pub(super) struct Wide {
    threads: usize,
    /// Asks for the threads of a session.
    starter: Sender<Reply>,
}

type Reply = Sender<io::Result<Threads>>;

impl Wide {
    /// `workers` is how many cores the server is to use. `threads` is how many threads each run
    /// uses, if that was chosen; all runs have the same then.
    ///
    /// Starts a thread that starts those of later sessions, because a thread has the priority of
    /// the one that starts it, and the one that loads a model may have a lower one than this.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub(super) fn new(workers: NonZeroUsize, threads: Option<NonZeroUsize>) -> io::Result<Self> {
        let threads = threads.map_or_else(|| workers.get().min(MOST), |_| 1);
        let (starter, wanted) = channel::<Reply>();
        if threads > 1 {
            let start = move || {
                for reply in wanted {
                    // Fails if nobody waits any more.
                    let _ = reply.send(Threads::start(threads - 1));
                }
            };
            let name = "model-starter".to_owned();
            thread::Builder::new().name(name).spawn(start)?;
        }
        Ok(Self { threads, starter })
    }

    /// Gives a model that has been measured a second session, if that pays and there is
    /// memory for it. Without one, a text alone takes longer.
    pub(super) fn widen(
        &self,
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
        &self,
        loader: &RevisionLoader,
        model: &LoadedModel,
        priority: Priority,
    ) -> Result<(), String> {
        let threads = self.start().map_err(|error| error.to_string())?;
        let (library, of) = (Arc::clone(&loader.library), Arc::clone(&model.model));
        let (path, files) = (model.path.clone(), model.files.clone());
        let unchanged = move || files.check_unchanged().is_ok();
        let open = move || of.widen(&library, &path, threads, unchanged);
        let opened = loader.aside(priority, open);
        let opened = opened.map_err(|error| error.in_a_line())?;
        opened.map_err(|error| error.to_string())
    }

    /// Starts the threads of a session.
    fn start(&self) -> io::Result<Threads> {
        let gone = || io::Error::other("the thread that starts them has ended");
        let (reply, threads) = channel();
        self.starter.send(reply).map_err(|_| gone())?;
        threads.recv().map_err(|_| gone())?
    }

    fn pays(&self, calibration: &Calibration) -> bool {
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
        let wide = Wide::new(some(workers), threads.map(some)).unwrap();
        wide.pays(&calibration)
    }

    /// The niceness of this process's threads with a name.
    #[cfg(target_os = "linux")]
    fn niceness(name: &str) -> Vec<i32> {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let stats = tasks.filter_map(|task| {
            // It may have ended.
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).ok()?;
            let (head, fields) = stat.rsplit_once(") ")?;
            let (_, found) = head.split_once('(')?;
            // The 19th field of all.
            let nice = fields.split(' ').nth(16)?;
            (found == name).then(|| nice.parse().unwrap())
        });
        stats.collect()
    }

    /// A model may be loaded by a thread whose priority is low.
    #[cfg(target_os = "linux")]
    #[test]
    fn threads_of_a_session_have_the_priority_of_the_start() {
        let wide = Wide::new(NonZeroUsize::new(2).unwrap(), None).unwrap();
        let load = thread::Builder::new().name("low-load".to_owned());
        let load = load.spawn(move || {
            rustix::process::nice(3).unwrap();
            let threads = wide.start().unwrap();
            (threads, niceness("low-load"), niceness("model-0"))
        });
        let (_threads, low, found) = load.unwrap().join().unwrap();
        let [low] = low[..] else { panic!("{low:?}") };
        let [nice] = found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(nice, low - 3);
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
