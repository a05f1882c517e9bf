//! Metrics of the public API. The values of labels are bounded, whatever clients ask for.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::http::{Method, StatusCode};
use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, Registry, exponential_buckets,
    register_histogram_vec_with_registry, register_int_counter_vec_with_registry,
    register_int_gauge_with_registry,
};

/// The values of the label `route`; the last one is for paths that do not exist.
const ROUTES: [&str; 12] = [
    "/predict",
    "/health",
    "/version",
    "/info",
    "/v2",
    "/v1",
    "/openapi.json",
    "/docs",
    "/",
    "/assets",
    "/metrics",
    "other",
];

/// The place in [`ROUTES`] of a request with this method and matched path.
fn route(method: &Method, matched: Option<&str>) -> usize {
    let name = match matched {
        // Clients of Hugging Face's servers predict there.
        Some("/") if method == Method::POST => "/predict",
        Some("/tei/predict" | "/classify" | "/v1/classify") => "/predict",
        // Neither the name of a model nor its version can be a label's value.
        Some(path) if path.starts_with("/v2") && path.ends_with("/infer") => "/predict",
        Some(path) if path.starts_with("/v2") => "/v2",
        Some(path) if path.starts_with("/v1/") => "/v1",
        Some(path) if path.starts_with("/health") => "/health",
        Some(path) if path.starts_with("/assets/") => "/assets",
        Some(path) => path,
        None => "other",
    };
    let found = ROUTES.iter().position(|route| *route == name);
    found.unwrap_or(ROUTES.len() - 1)
}

/// The metrics of the public API.
pub struct Metrics {
    requests: IntCounterVec,
    routes: [RouteMetrics; ROUTES.len()],
    in_flight: IntGauge,
    connections: IntGauge,
}

/// The metrics of a route, found beforehand so that a request costs no lookup.
struct RouteMetrics {
    name: &'static str,
    duration: Histogram,
    /// Found at the first answer, so that no route shows statuses that it never has.
    ok: OnceLock<IntCounter>,
    overloaded: OnceLock<IntCounter>,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    ///
    /// If one of their names is taken.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let requests = register_int_counter_vec_with_registry!(
            "fastsentiment_http_requests_total",
            "Answered requests, by route and status.",
            &["route", "status"],
            registry
        )?;
        let durations = register_histogram_vec_with_registry!(
            "fastsentiment_http_request_duration_seconds",
            "Time from the head of a request to its answer.",
            &["route"],
            // 100 microseconds to 52 seconds.
            exponential_buckets(0.0001, 2.0, 20)?,
            registry
        )?;
        Ok(Self {
            requests,
            routes: ROUTES.map(|name| RouteMetrics {
                name,
                duration: durations.with_label_values(&[name]),
                ok: OnceLock::new(),
                overloaded: OnceLock::new(),
            }),
            in_flight: register_int_gauge_with_registry!(
                "fastsentiment_http_requests_in_flight",
                "Requests whose head has arrived and that have no answer yet.",
                registry
            )?,
            connections: register_int_gauge_with_registry!(
                "fastsentiment_http_connections",
                "Open connections.",
                registry
            )?,
        })
    }

    /// Sets the number of open connections.
    pub fn set_connections(&self, open: usize) {
        self.connections
            .set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// Measures a request until the result is dropped.
    pub(crate) fn begin(self: &Arc<Self>, method: &Method, matched: Option<&str>) -> Measured {
        self.in_flight.inc();
        Measured {
            metrics: Arc::clone(self),
            route: route(method, matched),
            started: Instant::now(),
        }
    }
}

/// A request in flight. One whose client leaves does not count as answered.
pub(crate) struct Measured {
    metrics: Arc<Metrics>,
    route: usize,
    started: Instant,
}

impl Measured {
    /// The request was answered.
    pub(crate) fn end(self, status: StatusCode) {
        let route = &self.metrics.routes[self.route];
        let find = || {
            let labels = [route.name, status.as_str()];
            self.metrics.requests.with_label_values(&labels)
        };
        match status {
            StatusCode::OK => route.ok.get_or_init(find).inc(),
            StatusCode::SERVICE_UNAVAILABLE => route.overloaded.get_or_init(find).inc(),
            _ => find().inc(),
        }
        let elapsed = self.started.elapsed();
        route.duration.observe(elapsed.as_secs_f64());
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route() {
        for (method, matched, expected) in [
            (Method::POST, Some("/predict"), "/predict"),
            (Method::POST, Some("/"), "/predict"),
            (Method::POST, Some("/tei/predict"), "/predict"),
            (Method::POST, Some("/v1/classify"), "/predict"),
            (Method::POST, Some("/v2/models/{name}/infer"), "/predict"),
            (Method::GET, Some("/v2/models/{name}"), "/v2"),
            (Method::GET, Some("/v2"), "/v2"),
            (Method::GET, Some("/v1/models"), "/v1"),
            (Method::GET, Some("/"), "/"),
            (Method::GET, Some("/health/ready"), "/health"),
            (Method::GET, Some("/assets/{build}/{file}"), "/assets"),
            (Method::GET, Some("/something/new"), "other"),
            (Method::GET, None, "other"),
        ] {
            assert_eq!(ROUTES[route(&method, matched)], expected);
        }
    }
}
