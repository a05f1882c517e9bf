//! Health endpoints: whether the process lives, and whether it accepts requests.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::State as AxumState;
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::openapi::problems;
use crate::problem::{Kind, Missing, Problem};

/// What a server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is loading.
    Starting,
    /// It answers requests.
    Ready,
    /// It finishes the requests in flight.
    Draining,
}

/// The server's state; clones share it.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Shared>);

struct Shared {
    state: watch::Sender<State>,
    has_model: AtomicBool,
    /// Checks the health of a server that is ready.
    checkup: OnceLock<Checkup>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readiness").field(&self.state).finish()
    }
}

type Checkup = Box<dyn Fn() -> Health + Send + Sync>;

/// The health of a server that has loaded everything.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Whether every request fails. Such a server is not ready.
    pub is_failing: bool,
    /// What is wrong although requests are answered.
    pub conditions: Vec<Condition>,
}

/// Something wrong with a server that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The configured guest cannot be served, and another version answers. The log and
    /// `GET /versions` of the admin listener say why.
    ConfiguredGuestNotServed,
}

impl Default for Readiness {
    /// The state of a server that is starting.
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

    /// Everything is loaded. A draining server keeps draining.
    pub fn set_ready(&self) {
        self.0.state.send_if_modified(|state| {
            let starting = *state == State::Starting;
            if starting {
                *state = State::Ready;
            }
            starting
        });
    }

    /// Sets what checks the health of the server whenever a client asks whether it is
    /// ready. Later calls change nothing.
    pub fn check_by(&self, checkup: impl Fn() -> Health + Send + Sync + 'static) {
        let _ = self.0.checkup.set(Box::new(checkup));
    }

    fn health(&self) -> Health {
        let checkup = self.0.checkup.get();
        checkup.map_or_else(Health::default, |checkup| checkup())
    }

    /// The server is about to stop.
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

    /// What is wrong although requests are answered; or why they are not.
    pub(crate) fn check(&self) -> Result<Vec<Condition>, Problem> {
        match self.state() {
            State::Ready => match self.health() {
                Health {
                    is_failing: true, ..
                } => Err(failing()),
                Health { conditions, .. } => Ok(conditions),
            },
            State::Starting => Err(starting(self.has_model())),
            State::Draining => Err(draining()),
        }
    }
}

/// Serves the health endpoints of `readiness`.
pub(crate) fn router(readiness: Readiness) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(live))
        .routes(routes!(ready))
        .with_state(readiness)
}

/// A process that lives.
#[derive(Serialize, ToSchema)]
pub(crate) struct Alive {
    /// `ok`.
    #[schema(pattern = "^ok$")]
    status: &'static str,
}

/// A server that accepts requests.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    /// `ready`.
    #[schema(pattern = "^ready$")]
    status: &'static str,
    /// What is wrong although requests are answered; absent if nothing is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    conditions: Vec<Condition>,
}

/// Whether the process lives
#[utoipa::path(
    get,
    path = "/health",
    tag = "Operation",
    responses((status = 200, description = "It lives", body = Alive))
)]
async fn health() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Whether the process lives
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "Operation",
    responses((status = 200, description = "It lives", body = Alive))
)]
async fn live() -> Json<Alive> {
    health().await
}

problems!(
    ReadyProblems,
    [starting(false), starting(true), failing(), draining()]
);

/// Whether the server accepts requests
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "Operation",
    responses((status = 200, description = "It does", body = Ready), ReadyProblems)
)]
async fn ready(AxumState(readiness): AxumState<Readiness>) -> Result<Json<Ready>, Problem> {
    let conditions = readiness.check()?;
    Ok(Json(Ready {
        status: "ready",
        conditions,
    }))
}

fn starting(has_model: bool) -> Problem {
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

fn draining() -> Problem {
    Problem::new(
        Kind::Draining,
        "the server is about to stop and finishes the requests in flight",
    )
}

fn failing() -> Problem {
    Problem::new(
        Kind::Failing,
        "all recent predictions failed; the server's log says why",
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
