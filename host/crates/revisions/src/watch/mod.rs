//! Watches what is configured, a guest's file, its configuration and a model's directory:
//! waits until a change is complete, and has the new content made live.
//!
//! All are looked at once a second, by their paths. So links on the way, as in Kubernetes
//! volumes, need no care, and file systems without events are no exception. What fails for
//! a passing reason, such as a lack of threads, is tried again.

#[cfg(test)]
mod tests;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::control::Revisions;
use super::desired::file::MOST_BYTES;
use super::file::{self, Unfit};
use super::{DesiredError, DesiredState};
use predictor::Digest;

/// The time between two looks, and the waits before a retry. What is the same at two looks
/// is complete.
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

    /// It is one small file, which is written at once.
    const SMALL_FILE: Self = Self {
        poll: Duration::from_millis(250),
        ..Self::USUAL
    };
}

/// A change of the guest's file, its configuration or the model's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    /// The file has this content. It, or what is beside it, is or may be new.
    Content(Vec<u8>),
    /// The file exists, but cannot be used.
    Unfit(Unfit),
    /// The file no longer exists.
    Gone,
}

/// Tells whether one of them has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: file::Stamp,
    beside: Beside,
}

/// The stamps of what is used with a file. What cannot be read has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Beside {
    model: Option<Digest>,
    configuration: Option<file::Stamp>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Settled,
    /// The same content may succeed later.
    TryAgain,
}

/// Watches what is configured until `revisions` is dropped.
///
/// # Errors
///
/// If no thread can be started.
pub(super) fn start(revisions: &Arc<Revisions>, runtime: &Handle) -> io::Result<()> {
    let path = revisions.options.guest.clone();
    let most = revisions.options.max_bytes;
    let (loader, model) = (
        Arc::clone(&revisions.loader),
        revisions.options.model.clone(),
    );
    let model = std::path::absolute(&model).unwrap_or(model);
    let configuration = revisions.options.configuration.clone();
    let beside = move || Beside {
        model: loader.stamp(&model),
        configuration: configuration.stamp(),
    };
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
        Watch::new(path, most, beside, Pace::USUAL).run(|| revisions.strong_count() > 0, handle);
    })?;
    Ok(())
}

/// Watches a rollout file until `desired` is dropped.
///
/// # Errors
///
/// If no thread can be started.
pub(super) fn follow(desired: &Arc<DesiredState>, path: &Path) -> io::Result<()> {
    let (path, desired) = (path.to_owned(), Arc::downgrade(desired));
    let file = path.clone();
    let builder = std::thread::Builder::new().name("watch".to_owned());
    builder.spawn(move || {
        let handle = |news, _| {
            if let Some(desired) = desired.upgrade() {
                match news {
                    News::Content(content) => desired.take(&content, &file),
                    News::Unfit(unfit) => {
                        desired.cannot_be_used(DesiredError::from(unfit).to_string());
                    }
                    News::Gone => desired.cannot_be_used("it is gone".to_owned()),
                }
            }
            Outcome::Settled
        };
        let watch = Watch::new(path, MOST_BYTES, Beside::default, Pace::SMALL_FILE);
        watch.run(|| desired.strong_count() > 0, handle);
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
            let content = revisions.content(component).inspect_err(|error| {
                revisions.metrics.candidate(Err(error));
                revisions.record_obstacle(error);
            });
            let followed =
                content.and_then(|content| runtime.block_on(revisions.follow(content, choices)));
            match followed {
                Ok(_) => return Outcome::Settled,
                Err(error) => error,
            }
        }
    };
    tracing::warn!("what is configured has changed, and what is live stays live: {error}");
    if error.may_pass() {
        Outcome::TryAgain
    } else {
        Outcome::Settled
    }
}

struct Watch<B> {
    path: PathBuf,
    most: usize,
    /// The stamps of what is used with it.
    beside: B,
    pace: Pace,
    /// At the last change; `None` if the file did not exist.
    known: Option<Stamp>,
    /// A change, as of the last look: files may still be being written.
    growing: Option<Stamp>,
    /// When to try again, and the length of that wait.
    retry: Option<(Instant, Duration)>,
}

impl<B: Fn() -> Beside> Watch<B> {
    fn new(path: PathBuf, most: usize, beside: B, pace: Pace) -> Self {
        Self {
            path: std::path::absolute(&path).unwrap_or(path),
            most,
            beside,
            pace,
            known: None,
            growing: None,
            retry: None,
        }
    }

    /// Looks, and calls `handle` for changes, `while_wanted`. Its second argument
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
        let Some(stamp) = self.stamp() else {
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

    /// `None` if the file does not exist.
    fn stamp(&self) -> Option<Stamp> {
        Some(Stamp {
            file: file::Stamp::of(&self.path).ok()?,
            beside: (self.beside)(),
        })
    }

    /// The file, unless something changes meanwhile.
    fn read(&self, stamp: Stamp) -> Option<News> {
        let news = match file::read(&self.path, self.most) {
            Ok((content, read)) if read == stamp.file => News::Content(content),
            Ok(_) => return None,
            Err(unfit) => News::Unfit(unfit),
        };
        (self.stamp() == Some(stamp)).then_some(news)
    }
}
