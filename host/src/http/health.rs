//! Whether this process lives, and whether it wants requests.
//!
//! This module must not know why it does not: the state is set from outside.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

use super::exchange::json;
use super::problem::{Kind, Missing, Problem};

/// What a server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It loads what it needs.
    Starting,
    /// It answers requests.
    Ready,
    /// It finishes the requests that it has.
    Draining,
}

/// One state, shared by all who tell it and the one who sets it.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    has_model: AtomicBool,
}

impl Default for Readiness {
    /// Of a server that is starting.
    fn default() -> Self {
        Self(Arc::new(Shared {
            state: watch::Sender::new(State::Starting),
            has_model: AtomicBool::new(false),
        }))
    }
}

impl Readiness {
    /// What the server is doing.
    pub fn state(&self) -> State {
        *self.0.state.borrow()
    }

    /// Everything is loaded. A server that drains stays as it is.
    pub fn set_ready(&self) {
        self.0.state.send_if_modified(|state| {
            let starting = *state == State::Starting;
            if starting {
                *state = State::Ready;
            }
            starting
        });
    }

    /// No more requests are wanted.
    pub fn set_draining(&self) {
        self.0.state.send_replace(State::Draining);
    }

    /// The model is loaded; of a server that is starting, the guest is missing still.
    pub fn set_model_loaded(&self) {
        self.0.has_model.store(true, Ordering::Relaxed);
    }

    fn has_model(&self) -> bool {
        self.0.has_model.load(Ordering::Relaxed)
    }
}

/// The document of a process that lives.
pub(crate) const LIVE: &str = r#"{"status":"ok"}"#;

/// The document of a server that wants requests.
pub(crate) const READY: &str = r#"{"status":"ready"}"#;

/// Answers `/health`, `/health/live` and `/health/ready`.
pub(crate) fn answer(path: &str, readiness: &Readiness) -> Result<Response<Full<Bytes>>, Problem> {
    if path != "/health/ready" {
        return Ok(json(Bytes::from_static(LIVE.as_bytes())));
    }
    match readiness.state() {
        State::Ready => Ok(json(Bytes::from_static(READY.as_bytes()))),
        State::Starting => Err(starting(readiness.has_model())),
        State::Draining => Err(draining()),
    }
}

/// The problem of a server that is not ready yet.
pub(crate) fn starting(has_model: bool) -> Problem {
    if has_model {
        Problem::missing(
            "the model is loaded; the guest is still being loaded, prepared and tested",
            Missing::Guest,
        )
    } else {
        Problem::missing(
            "the model is still being loaded, and the guest comes after it",
            Missing::ModelAndGuest,
        )
    }
}

/// The problem of a server that is about to stop.
pub(crate) fn draining() -> Problem {
    Problem::new(
        Kind::Draining,
        "the server is about to stop and finishes the requests that it has",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_back_from_draining() {
        let readiness = Readiness::default();
        assert_eq!(readiness.state(), State::Starting);
        readiness.set_model_loaded();
        assert_eq!(readiness.state(), State::Starting);
        readiness.set_ready();
        assert_eq!(readiness.state(), State::Ready);
        readiness.set_draining();
        readiness.set_ready();
        assert_eq!(readiness.state(), State::Draining);
    }
}
