//! Watches the configured guest's file: waits until a change is complete, and has the new
//! content made live.
//!
//! The file is looked at once a second, by its path. So links on the way, as in Kubernetes
//! volumes, need no care, and file systems without events are no exception. What fails for
//! a passing reason, such as a lack of threads, is tried again.

#[cfg(test)]
mod tests;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::RevisionError;
use super::control::Revisions;
use super::file::{self, Stamp, Unfit};

/// The time between two looks at the file, and the waits before a retry. A file that is the
/// same at two looks is complete.
#[derive(Clone, Copy, Debug)]
struct Pace {
    poll: Duration,
    /// Before the first retry; each further one waits twice as long.
    first_retry: Duration,
    longest_retry: Duration,
}

impl Pace {
    const USUAL: Self = Self {
        poll: Duration::from_secs(1),
        first_retry: Duration::from_secs(1),
        longest_retry: Duration::from_secs(120),
    };
}

/// A change of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    /// It has, or may have, new content.
    Content(Vec<u8>),
    /// It exists, but cannot be used.
    Unfit(Unfit),
    /// It no longer exists.
    Gone,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Settled,
    /// The same content may succeed later.
    TryAgain,
}

/// Watches the configured guest's file until `revisions` is dropped.
///
/// # Errors
///
/// If no thread can be started.
pub(super) fn start(revisions: &Arc<Revisions>, runtime: &Handle) -> io::Result<()> {
    let path = revisions.options.guest.clone();
    let most = revisions.options.max_bytes;
    let (revisions, runtime) = (Arc::downgrade(revisions), runtime.clone());
    let builder = std::thread::Builder::new().name("watch".to_owned());
    builder.spawn(move || {
        // The number of choices when the change was first seen.
        let mut choices = 0;
        let handle = |news, again: bool| {
            let Some(revisions) = revisions.upgrade() else {
                return Outcome::Settled;
            };
            if !again {
                choices = revisions.registry().choices;
            }
            handle(&revisions, &runtime, news, choices)
        };
        Watch::new(path, most, Pace::USUAL).run(|| revisions.strong_count() > 0, handle);
    })?;
    Ok(())
}

fn handle(revisions: &Arc<Revisions>, runtime: &Handle, news: News, choices: u64) -> Outcome {
    let path = revisions.options.guest.display();
    let error = match news {
        News::Gone => {
            tracing::warn!("{path} is gone; what is live stays live");
            return Outcome::Settled;
        }
        News::Unfit(unfit) => {
            let error = revisions.unfit(unfit);
            revisions.metrics.candidate(Err(&error));
            revisions.record_obstacle(&error);
            error
        }
        News::Content(component) => {
            let revision = revisions.revision(&component);
            match runtime.block_on(revisions.follow_file(component, revision, choices)) {
                Ok(_) => return Outcome::Settled,
                Err(error) => error,
            }
        }
    };
    tracing::warn!("{path} has changed, and what is live stays live: {error}");
    match error {
        RevisionError::Unavailable(_) | RevisionError::Unreadable { .. } | RevisionError::Ended => {
            Outcome::TryAgain
        }
        _ => Outcome::Settled,
    }
}

struct Watch {
    path: PathBuf,
    most: usize,
    pace: Pace,
    /// The file at the last change; `None` if it did not exist.
    known: Option<Stamp>,
    /// A changed file, as of the last look: it may still be being written.
    growing: Option<Stamp>,
    /// When to try again, and the length of that wait.
    retry: Option<(Instant, Duration)>,
}

impl Watch {
    fn new(path: PathBuf, most: usize, pace: Pace) -> Self {
        Self {
            path: std::path::absolute(&path).unwrap_or(path),
            most,
            pace,
            known: None,
            growing: None,
            retry: None,
        }
    }

    /// Looks at the file and calls `handle` for changes, `while_wanted`. Its second argument
    /// says whether this is a retry.
    fn run(
        mut self,
        while_wanted: impl Fn() -> bool,
        mut handle: impl FnMut(News, bool) -> Outcome,
    ) {
        while while_wanted() {
            if let Some(news) = self.look() {
                let again = self.retry.is_some();
                // The panic hook logs a panic. The watch must not end with it.
                let handled = catch_unwind(AssertUnwindSafe(|| handle(news, again)));
                self.retry = match handled.unwrap_or(Outcome::TryAgain) {
                    Outcome::Settled => None,
                    Outcome::TryAgain => Some(self.next_retry()),
                };
            }
            std::thread::sleep(self.pace.poll);
        }
    }

    fn next_retry(&self) -> (Instant, Duration) {
        let wait = match self.retry {
            None => self.pace.first_retry,
            Some((_, waited)) => (2 * waited).min(self.pace.longest_retry),
        };
        (Instant::now() + wait, wait)
    }

    /// The change since the last look, if there is one.
    fn look(&mut self) -> Option<News> {
        let Ok(stamp) = Stamp::of(&self.path) else {
            (self.growing, self.retry) = (None, None);
            return self.known.take().map(|_| News::Gone);
        };
        if self.known == Some(stamp) {
            self.growing = None;
            let is_due = self.retry.is_some_and(|(at, _)| at <= Instant::now());
            return if is_due { self.read(stamp) } else { None };
        }
        self.retry = None;
        if self.growing.replace(stamp) != Some(stamp) {
            return None;
        }
        let news = self.read(stamp)?;
        (self.known, self.growing) = (Some(stamp), None);
        Some(news)
    }

    /// The file, unless it changes meanwhile.
    fn read(&self, stamp: Stamp) -> Option<News> {
        let news = match file::read(&self.path, self.most) {
            Ok((content, read)) if read == stamp => News::Content(content),
            Ok(_) => return None,
            Err(unfit) => News::Unfit(unfit),
        };
        (Stamp::of(&self.path).ok() == Some(stamp)).then_some(news)
    }
}
