//! The signals that a process handles.

use std::io;
use std::sync::{Arc, Weak};

use revisions::Revisions;
use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::task::JoinHandle;

use super::log;

/// The signals that ask a process to end.
pub(super) struct Termination {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Termination {
    /// Handles SIGTERM and SIGINT from now on: they no longer end the process.
    pub(super) fn handle() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of the signals.
    pub(super) async fn received(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
        }
    }
}

/// Resolves at the first SIGTERM or SIGINT. A second one exits with code 1 at once.
pub(super) fn shutdown() -> io::Result<impl Future<Output = ()>> {
    let mut termination = Termination::handle()?;
    Ok(async move {
        termination.received().await;
        tracing::info!("stopping: waiting for requests in flight");
        tokio::spawn(async move {
            termination.received().await;
            tracing::warn!("stopping at once: received a second signal");
            log::flush();
            std::process::exit(1);
        });
    })
}

/// Handles SIGHUP from now on: it no longer ends the process.
pub(super) fn hangups() -> io::Result<unix::Signal> {
    signal(SignalKind::hangup())
}

/// Reloads the configured guest at each SIGHUP.
pub(super) fn reload_at(mut hangups: unix::Signal, versions: &Arc<Revisions>) -> JoinHandle<()> {
    let versions: Weak<Revisions> = Arc::downgrade(versions);
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            let Some(versions) = versions.upgrade() else {
                return;
            };
            match versions.reload().await {
                Ok((added, change)) if change.live == change.before => tracing::info!(
                    guest = added.revision.guest().short(),
                    "SIGHUP: the configured guest is already live"
                ),
                // The change itself is logged where it is made.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!("SIGHUP: the live version has not changed: {error}");
                }
            }
        }
    })
}

/// Lets SIGPIPE end this process, as it ends most programs: Rust's runtime ignores the signal,
/// and a guest that runs as a command would report an error of its own instead. A process
/// that writes to pipes of children must not call this.
pub(super) fn end_on_closed_pipe() {
    // SAFETY: the default action involves no handler.
    #[expect(unsafe_code, reason = "no safe interface restores a default action")]
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Ignores SIGXFSZ, which ends a process that writes beyond its file size limit
/// (`ulimit -f`). The write then fails, as it does on a full disk.
pub(super) fn ignore_file_size_limit() -> io::Result<()> {
    // Dropping the stream does not restore the default.
    drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
    Ok(())
}
