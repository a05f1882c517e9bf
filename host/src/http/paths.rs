//! The paths of the main listener, and the methods of each: by this table requests
//! find their route, and of it the document of the API is made.
//!
//! This module must not know what a route does.

use super::methods::READ_ONLY;
use super::metrics::Route;

/// A path of the main listener, and what is there.
pub(crate) struct Row {
    /// The path itself.
    pub(crate) path: &'static str,
    /// What answers there.
    pub(crate) route: Route,
    /// The methods that it takes, for the `Allow` header.
    pub(crate) allow: &'static str,
}

/// All paths that there are.
pub(crate) const PATHS: [Row; 12] = [
    row("/predict", Route::Predict, "OPTIONS, POST"),
    // Where Hugging Face's servers predict, too.
    row("/", Route::Predict, "OPTIONS, POST"),
    row("/health", Route::Health, READ_ONLY),
    row("/health/live", Route::Health, READ_ONLY),
    row("/health/ready", Route::Health, READ_ONLY),
    row("/version", Route::Version, READ_ONLY),
    row("/info", Route::Info, READ_ONLY),
    row("/openapi.json", Route::OpenApi, READ_ONLY),
    row("/docs", Route::Docs, READ_ONLY),
    row("/docs/initializer.js", Route::Docs, READ_ONLY),
    row("/docs/swagger-ui-bundle.js", Route::Docs, READ_ONLY),
    row("/docs/swagger-ui.css", Route::Docs, READ_ONLY),
];

const fn row(path: &'static str, route: Route, allow: &'static str) -> Row {
    Row { path, route, allow }
}

/// The path of a request, if there is something at it.
pub(crate) fn find(path: &str) -> Option<&'static Row> {
    PATHS.iter().find(|known| known.path == path)
}
