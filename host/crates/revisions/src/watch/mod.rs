//! Follows the configured guest's file: waits until a change of it is complete, and has
//! its content made live.
//!
//! The file is looked at once a second, by its path. So links on the way, as in volumes
//! of Kubernetes, need no care, and file systems without events are no exception. What
//! fails for a reason that passes, such as a lack of threads, is tried again.

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

/// The times between two attempts, and between two looks: a file that is the same at two
/// of these is complete.
#[derive(Clone, Copy, Debug)]
struct Pace {
    poll: Duration,
    /// Until the second attempt; each further one waits twice as long.
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

/// What a file has become.
#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    /// It has, or may have, another content.
    Content(Vec<u8>),
    /// It is there, and its content cannot be had.
    Unfit(Unfit),
    /// It is not there any more.
    Gone,
}

/// What comes of news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Settled,
    /// The same may come to something else later.
    TryAgain,
}

/// Follows the configured guest's file until nobody holds `versions` any more.
///
/// # Errors
///
/// If the system gives no thread.
pub(super) fn start(revisions: &Arc<Revisions>, runtime: &Handle) -> io::Result<()> {
    let path = revisions.options.guest.clone();
    let most = revisions.options.max_bytes;
    let (revisions, runtime) = (Arc::downgrade(revisions), runtime.clone());
    let builder = std::thread::Builder::new().name("watch".to_owned());
    builder.spawn(move || {
        // How often somebody had chosen a version when the news was new.
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
            revisions.note_obstacle(&error);
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
    /// The file that was dealt with last; `None` if it was not there.
    known: Option<Stamp>,
    /// Another one, as it was at the last look: it may still be written.
    growing: Option<Stamp>,
    /// When the file is to be tried again, and how long that was waited for.
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

    /// Looks at the file, and has news of it handled, `while_wanted`. News of a file that
    /// is tried again are marked as such.
    fn run(
        mut self,
        while_wanted: impl Fn() -> bool,
        mut handle: impl FnMut(News, bool) -> Outcome,
    ) {
        while while_wanted() {
            if let Some(news) = self.look() {
                let again = self.retry.is_some();
                // A panic is logged where panics are. The watch must not end with it.
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

    /// What is new, if anything is.
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

    /// The file, unless it is changing.
    fn read(&self, stamp: Stamp) -> Option<News> {
        let news = match file::read(&self.path, self.most) {
            Ok((content, read)) if read == stamp => News::Content(content),
            Ok(_) => return None,
            Err(unfit) => News::Unfit(unfit),
        };
        (Stamp::of(&self.path).ok() == Some(stamp)).then_some(news)
    }
}
