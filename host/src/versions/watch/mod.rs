//! Follows the configured guest's file: waits until a change of it is complete,
//! and has its content made live.
//!
//! Events say when to look, and when a writer is done; what is true is what the
//! file system says then. Where there are no events, looking every few seconds
//! has to do.

mod path;
mod signs;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::control::Versions;
use super::file::{self, Stamp, Unfit};
use signs::Signs;

/// How long what is waited for.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Between two looks without any event.
    poll: Duration,
    /// For a file that has changed to stay as it is.
    settle: Duration,
    /// For a writer that has not closed the file, and does not write either.
    patience: Duration,
}

impl Pace {
    const USUAL: Self = Self {
        poll: Duration::from_secs(2),
        settle: Duration::from_millis(300),
        patience: Duration::from_secs(60),
    };
}

/// What a file has become.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// It has, or may have, another content.
    Content(Vec<u8>),
    /// It is there, and its content can not be had.
    Unfit(Unfit),
    /// It is not there any more.
    Gone,
}

/// Follows the configured guest's file until nobody holds `versions` any more.
pub(super) fn start(versions: &Arc<Versions>, runtime: &Handle) {
    let path = versions.options.guest.clone();
    let most = versions.options.max_bytes;
    let (versions, runtime) = (Arc::downgrade(versions), runtime.clone());
    let builder = std::thread::Builder::new().name("watch".to_owned());
    let thread = builder.spawn(move || {
        let tell = |news| tell(&versions, &runtime, news);
        let signs = Signs::start();
        Watch::new(path, most, Pace::USUAL, signs).run(|| versions.strong_count() > 0, tell);
    });
    if let Err(error) = thread {
        tracing::warn!(%error, "the guest's file is not watched: the thread can not be started");
    }
}

fn tell(versions: &Weak<Versions>, runtime: &Handle, news: News) {
    let Some(versions) = versions.upgrade() else {
        return;
    };
    let path = versions.options.guest.display();
    let error = match news {
        News::Gone => {
            tracing::warn!("{path} is gone; what is live stays live");
            return;
        }
        News::Unfit(unfit) => {
            let error = versions.unfit(unfit);
            versions.metrics.candidate(Err(&error));
            error
        }
        News::Content(component) => match runtime.block_on(versions.follow_file(component)) {
            Ok(_) => return,
            Err(error) => error,
        },
    };
    tracing::warn!("{path} has changed, and what is live stays live: {error}");
}

struct Watch {
    path: PathBuf,
    most: usize,
    pace: Pace,
    signs: Signs,
    /// The file as it was told of last; `None` if it was not there.
    told: Option<Stamp>,
    /// The file as it is since some time, if that is to be told.
    changed: Option<(Stamp, Instant)>,
}

impl Watch {
    fn new(path: PathBuf, most: usize, pace: Pace, signs: Signs) -> Self {
        Self {
            path: std::path::absolute(&path).unwrap_or(path),
            most,
            pace,
            signs,
            told: None,
            changed: None,
        }
    }

    /// Looks at the file and tells of it, `while_wanted`.
    fn run(mut self, while_wanted: impl Fn() -> bool, mut tell: impl FnMut(News)) {
        while while_wanted() {
            // Before the look, so that what happens after it is an event.
            self.signs.aim(&self.path);
            if let Some(news) = self.look() {
                tell(news);
                continue;
            }
            match self.changed {
                // However many events there are.
                Some(_) => std::thread::sleep(self.pace.settle / 4),
                None => self.signs.wait(self.pace.poll),
            }
        }
    }

    /// What is to be told, if there is anything.
    fn look(&mut self) -> Option<News> {
        let Ok(stamp) = Stamp::of(&self.path) else {
            self.changed = None;
            return self.told.take().map(|_| News::Gone);
        };
        // Two contents can have one stamp where times are coarse.
        let touched = self.signs.take_touched();
        if self.told == Some(stamp) && !touched && self.changed.is_none() {
            return None;
        }
        let since = match self.changed {
            Some((before, since)) if before == stamp && !touched => since,
            _ => Instant::now(),
        };
        self.changed = Some((stamp, since));
        let settled = since.elapsed() >= self.pace.settle;
        let closed = !self.signs.is_written() || since.elapsed() >= self.pace.patience;
        if !(settled && closed) {
            return None;
        }
        match self.read(stamp) {
            Some(news) => {
                self.changed = None;
                self.told = Some(stamp);
                Some(news)
            }
            // It has changed once more.
            None => {
                self.changed = Some((stamp, Instant::now()));
                None
            }
        }
    }

    fn read(&self, stamp: Stamp) -> Option<News> {
        let news = match file::read(&self.path, self.most) {
            Ok((content, read)) if read == stamp => News::Content(content),
            Ok(_) => return None,
            Err(unfit) => News::Unfit(unfit),
        };
        // Whatever it was, it is something else by now.
        (Stamp::of(&self.path).ok() == Some(stamp)).then_some(news)
    }
}
