//! Whether this process lives, and whether it wants requests.
//!
//! This module must not know why it does not: the state is set from outside.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use super::exchange::{document, json};
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

struct Shared {
    state: watch::Sender<State>,
    has_model: AtomicBool,
    /// Looks at how a server does that is ready.
    checkup: OnceLock<Checkup>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readiness").field(&self.state).finish()
    }
}

type Checkup = Box<dyn Fn() -> Health + Send + Sync>;

/// How a server does that has loaded everything.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Whether nothing is answered, since every request fails. Such a server is not ready.
    pub is_failing: bool,
    /// What is not as it should be, although requests are answered.
    pub conditions: Vec<Condition>,
}

/// Something that is not as it should be with a server that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The guest that is configured cannot be served, and another version answers. The
    /// log says why, and so does `GET /versions` of the admin listener.
    ConfiguredGuestNotServed,
}

impl Default for Readiness {
    /// Of a server that is starting.
    fn default() -> Self {
        Self(Arc::new(Shared {
            state: watch::Sender::new(State::Starting),
            has_model: AtomicBool::new(false),
            checkup: OnceLock::new(),
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

    /// Asks this how the server does, whenever somebody asks whether it is ready. Later
    /// calls change nothing.
    pub fn check_by(&self, checkup: impl Fn() -> Health + Send + Sync + 'static) {
        let _ = self.0.checkup.set(Box::new(checkup));
    }

    fn health(&self) -> Health {
        let checkup = self.0.checkup.get();
        checkup.map_or_else(Health::default, |checkup| checkup())
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

/// A server that wants requests.
#[derive(Serialize, ToSchema)]
#[schema(as = Ready)]
pub(crate) struct Document {
    /// `ready`.
    #[schema(pattern = "^ready$")]
    status: &'static str,
    /// What is not as it should be; absent if that is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    conditions: Vec<Condition>,
}

/// The document of a server that wants requests.
pub(crate) fn ready(conditions: Vec<Condition>) -> Document {
    Document {
        status: "ready",
        conditions,
    }
}

/// Answers `/health`, `/health/live` and `/health/ready`.
pub(crate) fn answer(path: &str, readiness: &Readiness) -> Result<Response<Full<Bytes>>, Problem> {
    if path != "/health/ready" {
        return Ok(json(Bytes::from_static(LIVE.as_bytes())));
    }
    match readiness.state() {
        State::Ready => match readiness.health() {
            Health {
                is_failing: true, ..
            } => Err(failing()),
            Health { conditions, .. } => document(&ready(conditions)),
        },
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

/// The problem of a server of which all requests fail.
pub(crate) fn failing() -> Problem {
    Problem::new(
        Kind::Failing,
        "all requests fail of late, for reasons that are in the server's log",
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
