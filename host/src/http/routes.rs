//! The API: which path does what, and the order of the checks.
//!
//! This module must not know sockets or connections.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};

use super::connection::Session;
use super::exchange::{Handler, Reply, contained, settle};
use super::health::{self, Readiness};
use super::memory::Memory;
use super::metrics::{Metrics, Route};
use super::options::options;
use super::predict::Predict;
use super::problem::{Kind, Problem};
use super::{HttpConfig, body, bulk, media_type, version};
use crate::service::Service;

/// The API of the main listener.
pub struct Api {
    service: Arc<Service>,
    predict: Predict,
    bulk: bulk::Route,
    readiness: Readiness,
    metrics: Metrics,
    memory: Memory,
    max_body_bytes: usize,
    body_timeout: Duration,
}

impl Api {
    /// The API over a service.
    pub fn new(
        service: Arc<Service>,
        readiness: Readiness,
        metrics: Metrics,
        config: &HttpConfig,
    ) -> Self {
        let memory = Memory::new(config.body_memory);
        Self {
            predict: Predict::new(Arc::clone(&service)),
            bulk: bulk::Route::new(Arc::clone(&service), memory.clone(), config),
            service,
            readiness,
            metrics,
            memory,
            max_body_bytes: config.max_body_bytes,
            body_timeout: config.body_timeout,
        }
    }

    async fn route(
        &self,
        route: Route,
        head: &Parts,
        body: &mut Incoming,
    ) -> Result<Response<Full<Bytes>>, Problem> {
        match (route, &head.method) {
            (Route::Predict, &Method::POST) => {
                media_type::require_json(&head.headers)
                    .map_err(|detail| Problem::new(Kind::UnsupportedMediaType, detail))?;
                let options = options(&head.headers)?;
                let (limit, patience) = (self.max_body_bytes, self.body_timeout);
                let body = body::read(body, limit, patience, &self.memory).await?;
                self.predict.answer(options, body).await
            }
            (Route::Predict, _) => Err(Problem::method_not_allowed("POST")),
            (Route::Health, method) => health::answer(head.uri.path(), method, &self.readiness),
            (Route::Version, method) => version::answer(method, &self.service.version()),
            (Route::Other, _) => Err(Problem::new(
                Kind::NotFound,
                "there is nothing at this path; see `POST /predict`, `GET /health` and \
                 `GET /version`",
            )),
        }
    }
}

impl Handler for Api {
    async fn answer(&self, request: Request<Incoming>, session: Session) -> Response<Reply> {
        let (head, mut body) = request.into_parts();
        let route = match head.uri.path() {
            "/predict" => Route::Predict,
            "/health" | "/health/live" | "/health/ready" => Route::Health,
            "/version" => Route::Version,
            _ => Route::Other,
        };
        let measured = self.metrics.begin(route);
        let is_predict = (route, &head.method) == (Route::Predict, &Method::POST);
        let answer = if is_predict && media_type::is_ndjson(&head.headers) {
            match contained(self.bulk.begin(&head.headers, &mut body, session)).await {
                Ok(begun) => {
                    let response = bulk::respond(begun, head.version, body);
                    measured.end(response.status());
                    return response.map(Either::Right);
                }
                Err(problem) => Err(problem),
            }
        } else {
            let answer = contained(self.route(route, &head, &mut body)).await;
            drop(session);
            answer
        };
        let response = settle(&head, body, self.body_timeout, answer);
        measured.end(response.status());
        response.map(Either::Left)
    }

    fn connections(&self, open: usize) {
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        self.metrics.connections.set(open);
    }
}
