//! A second session of a model, in which a single run uses several cores.
//!
//! Threads of one session cannot be kept out of a run, and on a busy machine they cost a
//! run 3 to 20 % of its time even if they find no core to run on. So a busy machine uses
//! a session with one thread, and a run that has the machine to itself uses this one.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use ort::environment::ThreadManager;

use super::session::SharedSession;

/// A session, and how many threads work on one of its runs.
pub(super) struct Wide {
    pub(super) session: SharedSession,
    pub(super) threads: usize,
}

/// Threads that will work for a session.
///
/// They are started before it and by another thread, because they inherit the priority of
/// the thread that starts them. A run waits for each of its threads: one of low priority
/// would hold it up.
pub struct Threads(Mutex<Vec<Waiting>>);

/// A thread that waits for its work. It ends if it gets none.
type Waiting = (Sender<Work>, JoinHandle<()>);

type Work = Box<dyn FnOnce() + Send>;

impl Threads {
    /// Starts `count` threads, with the priority of this one.
    ///
    /// # Errors
    ///
    /// If one cannot be started.
    pub fn start(count: usize) -> std::io::Result<Self> {
        let start = |number| {
            let (give, work) = channel::<Work>();
            let thread = std::thread::Builder::new()
                .name(format!("model-{number}"))
                .spawn(move || {
                    if let Ok(work) = work.recv() {
                        work();
                    }
                })?;
            Ok((give, thread))
        };
        let threads: std::io::Result<Vec<Waiting>> = (0..count).map(start).collect();
        threads.map(|threads| Self(Mutex::new(threads)))
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.waiting(|threads| threads.len())
    }

    fn waiting<T>(&self, with: impl FnOnce(&mut Vec<Waiting>) -> T) -> T {
        // Nothing panics while the lock is held.
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ThreadManager for Threads {
    type Thread = JoinHandle<()>;

    fn create(&self, work: impl FnOnce() + Send + 'static) -> ort::Result<Self::Thread> {
        let missing = || ort::Error::new("more threads are needed than were started");
        let (give, thread) = self.waiting(Vec::pop).ok_or_else(missing)?;
        give.send(Box::new(work)).map_err(|_| missing())?;
        Ok(thread)
    }

    fn join(thread: Self::Thread) -> ort::Result<()> {
        thread
            .join()
            .map_err(|_| ort::Error::new("a thread of a session panicked"))
    }
}
