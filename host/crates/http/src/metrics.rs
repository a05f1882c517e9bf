//! What the HTTP edge tells of itself.
//!
//! This module must not know what a route does. The values of its labels are
//! bounded, whatever clients ask for.

use std::sync::OnceLock;

use hyper::StatusCode;
use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, Registry, exponential_buckets,
    register_histogram_vec_with_registry, register_int_counter_vec_with_registry,
    register_int_gauge_with_registry,
};
use tokio::time::Instant;

/// A path of the API, as the metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Predict,
    Health,
    Version,
    Info,
    OpenApi,
    Docs,
    Page,
    Assets,
    Metrics,
    /// Paths at which there is nothing.
    Other,
}

/// How many routes there are.
const ROUTES: [(Route, &str); 10] = [
    (Route::Predict, "/predict"),
    (Route::Health, "/health"),
    (Route::Version, "/version"),
    (Route::Info, "/info"),
    (Route::OpenApi, "/openapi.json"),
    (Route::Docs, "/docs"),
    (Route::Page, "/"),
    (Route::Assets, "/assets"),
    (Route::Metrics, "/metrics"),
    (Route::Other, "other"),
];

/// The instruments of the main listener.
pub struct Metrics {
    requests: IntCounterVec,
    routes: [RouteMetrics; ROUTES.len()],
    in_flight: IntGauge,
    pub(crate) connections: IntGauge,
}

/// What is found beforehand, so that a request costs no look-up.
struct RouteMetrics {
    name: &'static str,
    duration: Histogram,
    /// Found at the first answer, so that no route tells of answers that it
    /// never gives.
    ok: OnceLock<IntCounter>,
    overloaded: OnceLock<IntCounter>,
}

impl Metrics {
    /// Registers the instruments.
    ///
    /// # Errors
    ///
    /// If one of their names is taken.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let requests = register_int_counter_vec_with_registry!(
            "fastsentiment_http_requests_total",
            "Requests that were answered, by route and status.",
            &["route", "status"],
            registry
        )?;
        let durations = register_histogram_vec_with_registry!(
            "fastsentiment_http_request_duration_seconds",
            "How long requests took, from their head to their answer.",
            &["route"],
            // 100 microseconds to 52 seconds.
            exponential_buckets(0.0001, 2.0, 20)?,
            registry
        )?;
        Ok(Self {
            requests,
            routes: ROUTES.map(|(_, name)| RouteMetrics {
                name,
                duration: durations.with_label_values(&[name]),
                ok: OnceLock::new(),
                overloaded: OnceLock::new(),
            }),
            in_flight: register_int_gauge_with_registry!(
                "fastsentiment_http_requests_in_flight",
                "Requests whose head has come and whose answer has not been made.",
                registry
            )?,
            connections: register_int_gauge_with_registry!(
                "fastsentiment_http_connections",
                "Connections that are open.",
                registry
            )?,
        })
    }

    /// Measures a request until what is returned is dropped.
    pub(crate) fn begin(&self, route: Route) -> Measured<'_> {
        self.in_flight.inc();
        Measured {
            metrics: self,
            route: &self.routes[route as usize],
            begun: Instant::now(),
        }
    }
}

/// A request in flight. One whose client leaves is not counted as answered.
pub(crate) struct Measured<'a> {
    metrics: &'a Metrics,
    route: &'a RouteMetrics,
    begun: Instant,
}

impl Measured<'_> {
    /// The request was answered.
    pub(crate) fn end(self, status: StatusCode) {
        let find = || {
            let labels = [self.route.name, status.as_str()];
            self.metrics.requests.with_label_values(&labels)
        };
        match status {
            StatusCode::OK => self.route.ok.get_or_init(find).inc(),
            StatusCode::SERVICE_UNAVAILABLE => self.route.overloaded.get_or_init(find).inc(),
            _ => find().inc(),
        }
        let elapsed = self.begun.elapsed();
        self.route.duration.observe(elapsed.as_secs_f64());
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_finds_its_own_instruments() {
        for (at, (route, _)) in ROUTES.into_iter().enumerate() {
            assert_eq!(route as usize, at);
        }
    }
}
