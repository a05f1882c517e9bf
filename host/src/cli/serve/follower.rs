//! Files that are read again when they change.

use std::time::Duration;

use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::sleep;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Follows files until it is dropped.
pub(in crate::cli) struct Follower(AbortHandle);

impl Follower {
    /// Calls `change` with what `read` returns, whenever that is not what was `used` last, and
    /// has then stayed the same for a moment: files are not always replaced at once.
    pub(super) fn start<T: Clone + PartialEq + Send + Sync + 'static>(
        mut used: T,
        read: impl Fn() -> T + Clone + Send + 'static,
        mut change: impl FnMut(&T) + Send + 'static,
    ) -> Self {
        let task = tokio::spawn(async move {
            let mut seen = used.clone();
            // Nothing can be read when the runtime is about to end.
            while let Ok(found) = {
                sleep(INTERVAL).await;
                spawn_blocking(read.clone()).await
            } {
                let has_settled = found == seen;
                seen = found;
                if has_settled && seen != used {
                    used.clone_from(&seen);
                    change(&seen);
                }
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}
