//! What a test may set of a server.

use std::sync::Arc;

use api_keys::ApiKeys;
use fastsentiment_http::HttpConfig;

/// The settings of a server: those of its API, and those of its connections.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) http: HttpConfig,
    pub(super) connections: connection::Config,
    pub(super) api_keys: Option<Arc<ApiKeys>>,
}

impl Settings {
    /// Sets how long a body may take, for both.
    pub(super) fn body_timeout(&mut self, timeout: std::time::Duration) {
        self.http.body_timeout = timeout;
        self.connections.body_timeout = timeout;
    }
}
