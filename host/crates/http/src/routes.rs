//! The API: which path does what, and the order of the checks.
//!
//! This module must not know sockets or connections.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response};
use prometheus::Registry;

use super::connection::Session;
use super::content::Content;
use super::exchange::{Handler, Reply, contained, json, settle};
use super::health::{self, Readiness};
use super::info::Served;
use super::inputs::Allowed;
use super::memory::Memory;
use super::metrics::{Metrics, Route};
use super::openapi::main::{Bounds, document};
use super::options::options;
use super::pack::pack;
use super::paths::{self, Row};
use super::predict::Predict;
use super::problem::{Kind, Problem};
use super::{
    HttpConfig, assets, body, bulk, coding, cors, docs, exchange, exposition, info, media_type,
    methods, page, version,
};
use service::Service;

/// The API of the main listener.
pub struct Api {
    service: Arc<Service>,
    predict: Predict,
    bulk: bulk::Route,
    readiness: Readiness,
    metrics: Metrics,
    memory: Memory,
    served: Served,
    config: HttpConfig,
    /// What `/metrics` tells, if it is to be here as well.
    published: Option<Registry>,
    /// The document of this API.
    openapi: Bytes,
}

impl Api {
    /// The API over a service.
    pub fn new(
        service: Arc<Service>,
        served: &Served,
        readiness: Readiness,
        metrics: Metrics,
        config: &HttpConfig,
    ) -> Self {
        let openapi = document(&Bounds::new(&service, served, config), false);
        let memory = Memory::new(config.body_memory);
        Self {
            predict: Predict::new(Arc::clone(&service), Allowed::from(&served.model)),
            bulk: bulk::Route::new(Arc::clone(&service), memory.clone(), config),
            service,
            readiness,
            metrics,
            memory,
            served: served.clone(),
            config: config.clone(),
            published: None,
            openapi,
        }
    }

    /// Tells a browser what a page may do with the answer.
    fn allow(&self, head: &Parts, headers: &mut HeaderMap) {
        cors::allow(&self.config.cors_origins, head, headers);
    }

    /// Tells what is in a registry to everybody who asks for `/metrics`.
    #[must_use]
    pub fn publish(self, registry: Registry) -> Self {
        Self {
            openapi: document(
                &Bounds::new(&self.service, &self.served, &self.config),
                true,
            ),
            published: Some(registry),
            ..self
        }
    }

    /// What is at a path.
    fn find(&self, path: &str) -> Option<&'static Row> {
        let is_there = |row: &&Row| row.route != Route::Metrics || self.published.is_some();
        paths::find(path).filter(is_there)
    }

    async fn route(
        &self,
        row: Option<&Row>,
        head: &Parts,
        body: &mut Content,
    ) -> Result<Response<Full<Bytes>>, Problem> {
        let row = row.ok_or_else(not_found)?;
        if let Some(answer) = methods::settled(&head.method, row.allow)? {
            return Ok(answer);
        }
        match row.route_of(head.method.as_str()) {
            Route::Predict => {
                media_type::require_json(&head.headers)
                    .map_err(|detail| Problem::new(Kind::UnsupportedMediaType, detail))?;
                let coding = coding::of_request(&head.headers)?;
                let options = options(&head.headers)?;
                let (limit, patience) = (self.config.max_body_bytes, self.config.body_timeout);
                body.unpack(coding, limit, &self.memory);
                let whole = body::read(body, limit, patience, &self.memory).await;
                // What unpacking took is free again.
                body.unpack(None, limit, &self.memory);
                self.predict.answer(options, whole?).await
            }
            Route::Health => health::answer(row.path, &self.readiness),
            Route::Version => version::answer(&self.service.revision()),
            Route::Info => {
                let (live, limits) = (self.service.revision(), self.service.limits());
                exchange::document(&info::Document::new(
                    &self.served,
                    &live,
                    limits,
                    &self.config,
                ))
            }
            Route::OpenApi => Ok(json(self.openapi.clone())),
            Route::Docs => Ok(docs::PAGE.answer(&head.headers)),
            Route::Page => Ok(page::PAGE.answer(&head.headers)),
            Route::Assets => {
                let file = assets::find(head.uri.path()).ok_or_else(not_found)?;
                file.answer(&head.headers)
            }
            Route::Metrics => match &self.published {
                Some(registry) => exposition::answer(registry),
                None => Err(not_found()),
            },
            Route::Other => Err(not_found()),
        }
    }
}

/// The problem of a path at which there is nothing.
pub(crate) fn not_found() -> Problem {
    Problem::new(
        Kind::NotFound,
        "there is nothing at this path; see `POST /predict`, `GET /health` and \
         `GET /version`, or all paths at `GET /docs` and `GET /openapi.json`",
    )
}

impl Handler for Api {
    async fn answer(&self, request: Request<Incoming>, session: Session) -> Response<Reply> {
        let (head, body) = request.into_parts();
        let mut body = Content::new(body);
        let id = session.id();
        let row = self.find(head.uri.path());
        let route = row.map_or(Route::Other, |row| row.route_of(head.method.as_str()));
        let measured = self.metrics.begin(route);
        let is_predict = (route, &head.method) == (Route::Predict, &Method::POST);
        let answer = if is_predict && media_type::is_ndjson(&head.headers) {
            match contained(self.bulk.begin(&head.headers, &mut body, session)).await {
                Ok(begun) => {
                    let mut response = bulk::respond(begun, head.version, body);
                    measured.end(response.status());
                    self.allow(&head, response.headers_mut());
                    return response.map(Either::Right);
                }
                Err(problem) => Err(problem),
            }
        } else {
            let answer = contained(self.route(row, &head, &mut body)).await;
            drop(session);
            answer
        };
        let answer = answer.unwrap_or_else(|problem| problem.into_response_to(&id));
        let mut answer = pack(&head.headers, answer).await;
        self.allow(&head, answer.headers_mut());
        let patience = self.config.body_timeout;
        let response = settle(&id, &head, body.into_inner(), patience, Ok(answer));
        measured.end(response.status());
        response.map(Either::Left)
    }

    fn connections(&self, open: usize) {
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        self.metrics.connections.set(open);
    }
}
