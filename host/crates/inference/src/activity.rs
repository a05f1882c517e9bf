//! What uses models at the moment, in the whole process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus::IntGauge;

/// Counts what uses models. Others may begin at any time: this only decides how many
/// threads a run begins with.
#[derive(Default)]
pub(super) struct Activity {
    /// Graphs that are open, which is as long as an instance of a guest lives.
    graphs: AtomicUsize,
    /// Threads that have work, if somebody counts them.
    busy: OnceLock<IntGauge>,
}

/// Counts a graph for as long as it lives.
pub(super) struct Counted(Arc<Activity>);

impl Activity {
    pub(super) fn open_graph(activity: &Arc<Self>) -> Counted {
        activity.graphs.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(activity))
    }

    pub(super) fn watch(&self, busy: IntGauge) {
        self.busy.get_or_init(|| busy);
    }

    /// Whether no more than one graph is open, and no more than one thread has work.
    pub(super) fn is_one(&self) -> bool {
        let busy = self.busy.get().map_or(0, IntGauge::get);
        busy <= 1 && self.graphs.load(Ordering::Relaxed) <= 1
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.graphs.fetch_sub(1, Ordering::Relaxed);
    }
}
