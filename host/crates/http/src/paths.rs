//! The paths of the main listener, and the methods of each: by this table requests
//! find their route, and of it the document of the API is made.
//!
//! This module must not know what a route does.

use super::assets;
use super::methods::READ_ONLY;
use super::metrics::Route;

/// A path of the main listener, and what is there.
pub(crate) struct Row {
    /// The path itself.
    pub(crate) path: &'static str,
    /// What answers there, to most methods.
    pub(crate) route: Route,
    /// The methods that it takes, for the `Allow` header.
    pub(crate) allow: &'static str,
}

impl Row {
    /// What answers to a method there: the page is also where Hugging Face's servers
    /// predict.
    pub(crate) fn route_of(&self, method: &str) -> Route {
        match (self.route, method) {
            (Route::Page, "POST") => Route::Predict,
            (route, _) => route,
        }
    }
}

/// All paths that there are.
pub(crate) const PATHS: [Row; 11] = [
    row("/", Route::Page, "GET, HEAD, OPTIONS, POST"),
    row("/predict", Route::Predict, "OPTIONS, POST"),
    row("/health", Route::Health, READ_ONLY),
    row("/health/live", Route::Health, READ_ONLY),
    row("/health/ready", Route::Health, READ_ONLY),
    row("/version", Route::Version, READ_ONLY),
    row("/info", Route::Info, READ_ONLY),
    // There only if somebody has asked for it.
    row("/metrics", Route::Metrics, READ_ONLY),
    row("/openapi.json", Route::OpenApi, READ_ONLY),
    row("/docs", Route::Docs, READ_ONLY),
    row(assets::PATH, Route::Assets, READ_ONLY),
];

const fn row(path: &'static str, route: Route, allow: &'static str) -> Row {
    Row { path, route, allow }
}

/// The path of a request, if there is something at it.
pub(crate) fn find(path: &str) -> Option<&'static Row> {
    PATHS.iter().find(|known| match known.route {
        Route::Assets => assets::find(path).is_some(),
        _ => known.path == path,
    })
}
