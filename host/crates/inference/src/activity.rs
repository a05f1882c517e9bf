//! What uses models at the moment, in the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what uses models. Others may begin at any time: this only decides how many
/// threads a run begins with.
#[derive(Default)]
pub(super) struct Activity {
    /// Graphs that are open, which is as long as an instance of a guest lives.
    graphs: AtomicUsize,
    calls: AtomicUsize,
}

/// Counts for as long as it lives.
pub(super) struct Counted {
    activity: Arc<Activity>,
    of: fn(&Activity) -> &AtomicUsize,
}

/// A call of a guest, from before its instance is made until after that is gone.
pub struct Call(#[expect(dead_code, reason = "it counts")] Counted);

impl Activity {
    pub(super) fn open_graph(activity: &Arc<Self>) -> Counted {
        Counted::new(activity, |activity| &activity.graphs)
    }

    pub(super) fn begin_call(activity: &Arc<Self>) -> Call {
        Call(Counted::new(activity, |activity| &activity.calls))
    }

    /// Whether there is no more than one graph and one call.
    pub(super) fn is_one(&self) -> bool {
        let one = |count: &AtomicUsize| count.load(Ordering::Relaxed) <= 1;
        one(&self.graphs) && one(&self.calls)
    }
}

impl Counted {
    fn new(activity: &Arc<Activity>, of: fn(&Activity) -> &AtomicUsize) -> Self {
        of(activity).fetch_add(1, Ordering::Relaxed);
        Self {
            activity: Arc::clone(activity),
            of,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.of)(&self.activity).fetch_sub(1, Ordering::Relaxed);
    }
}
