//! The priority of the threads that serve sockets: below that of the workers.

use std::cell::Cell;
use std::io;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Added to the niceness of the threads that serve sockets.
///
/// Under overload, most of what they do is to refuse requests. With 2, a thread that always
/// has work gets 0.64 times the time of a worker on the same core: enough to refuse at once
/// several times what the workers can do (`make bench-overload`). With 5 they get half of
/// that, and refusals are late.
const NICE: i32 = 2;

/// Starts a thread with the priority of this one, as tokio's for blocking work need not have.
/// The result is an error if the work panics.
pub(super) fn start_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (done, result) = oneshot::channel();
    let runtime = Handle::current();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _entered = runtime.enter();
            // Fails if nobody waits any more.
            let _ = done.send(work());
        })?;
    Ok(result)
}

/// Lowers the priority of this thread, which serves sockets, when it is idle for the first
/// time.
pub(super) fn lower_once() {
    thread_local! {
        static IS_LOWERED: Cell<bool> = const { Cell::new(false) };
    }
    if !IS_LOWERED.replace(true) {
        lower();
    }
}

/// Only on Linux do threads have priorities of their own. Without a privilege they cannot be
/// raised again.
fn lower() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICE) {
        // Everything works without.
        tracing::debug!(%error, "the priority of a thread cannot be lowered");
    }
}
