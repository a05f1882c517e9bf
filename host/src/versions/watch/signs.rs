//! Events of the file system, boiled down to what is asked of them: that
//! something has happened, and whether somebody is writing.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Config, Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::path::entries;

/// Whether it is told when a writer closes a file.
const CLOSING_IS_TOLD: bool = cfg!(target_os = "linux");

/// What has happened to the entries that are watched.
pub(super) struct Signs {
    /// `None` where there are no events.
    watcher: Option<RecommendedWatcher>,
    /// The directories that are watched, and which they were.
    watched: HashMap<PathBuf, (u64, u64)>,
    state: Arc<Mutex<State>>,
    happened: Receiver<()>,
    /// Kept, so that the channel is open also where there is no watcher.
    happen: Sender<()>,
}

#[derive(Default)]
struct State {
    /// The paths of the entries.
    entries: Vec<PathBuf>,
    touched: bool,
    written: bool,
}

impl Signs {
    /// Signs from the file system, if it gives any.
    pub(super) fn start() -> Self {
        let mut signs = Self::none();
        let (state, happen) = (Arc::clone(&signs.state), signs.happen.clone());
        let handler = move |event: notify::Result<Event>| {
            let Ok(event) = event else {
                return;
            };
            if lock(&state).note(&event) {
                // One that is waiting already will do.
                let _ = happen.try_send(());
            }
        };
        let config = Config::default().with_follow_symlinks(false);
        match RecommendedWatcher::new(handler, config) {
            Ok(watcher) => signs.watcher = Some(watcher),
            Err(error) => tracing::warn!(
                %error,
                "the file system gives no events; the guest's file is looked at every few seconds"
            ),
        }
        signs
    }

    /// No signs.
    pub(super) fn none() -> Self {
        let (happen, happened) = bounded(1);
        Self {
            watcher: None,
            watched: HashMap::new(),
            state: Arc::default(),
            happened,
            happen,
        }
    }

    /// Watches what decides where a path leads now.
    pub(super) fn aim(&mut self, path: &Path) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let entries = entries(path);
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let directories: HashMap<PathBuf, (u64, u64)> = entries
            .iter()
            .filter_map(|(dir, _)| Some((dir.clone(), identity(std::fs::metadata(dir).ok()?))))
            .collect();
        let entries = entries.iter().map(|(dir, name)| dir.join(name)).collect();
        lock(&self.state).entries = entries;
        // One of the same path can be another directory.
        self.watched.retain(|dir, identity| {
            let same = directories.get(dir) == Some(identity);
            if !same {
                // It is not watched any more if it was deleted.
                let _ = watcher.unwatch(dir);
            }
            same
        });
        for (dir, identity) in directories {
            if self.watched.contains_key(&dir) {
                continue;
            }
            match watcher.watch(&dir, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(dir, identity)),
                Err(error) => tracing::debug!(dir = %dir.display(), %error, "not watched"),
            }
        }
    }

    /// Waits until something happens, or for some time.
    pub(super) fn wait(&self, timeout: Duration) {
        // Either way, it is looked at then.
        let _ = self.happened.recv_timeout(timeout);
    }

    /// Whether something has happened since this was asked last.
    pub(super) fn take_touched(&self) -> bool {
        std::mem::take(&mut lock(&self.state).touched)
    }

    /// Whether somebody has begun to write, and has not closed the file.
    pub(super) fn is_written(&self) -> bool {
        lock(&self.state).written
    }
}

impl State {
    /// Takes note of an event; tells whether it is of any interest.
    fn note(&mut self, event: &Event) -> bool {
        // Events were lost.
        if event.need_rescan() {
            (self.touched, self.written) = (true, false);
            return true;
        }
        let mut paths = event.paths.iter();
        if !paths.any(|path| self.entries.contains(path)) {
            return false;
        }
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => self.written = false,
            // Also of the one who looks.
            EventKind::Access(_) => return false,
            EventKind::Modify(ModifyKind::Data(_)) => self.written = CLOSING_IS_TOLD,
            // Times and permissions, and what the look itself compares.
            EventKind::Modify(ModifyKind::Metadata(_)) => return true,
            // One that is empty is going to be written, unless it is a link.
            EventKind::Create(_) => {
                let mut paths = event.paths.iter();
                let is_empty = |path: &PathBuf| {
                    let metadata = std::fs::symlink_metadata(path);
                    metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
                };
                self.written = CLOSING_IS_TOLD && paths.any(is_empty);
            }
            // Another file, or none.
            _ => self.written = false,
        }
        self.touched = true;
        true
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
