//! What a test may set of a server.

use std::time::Duration;

use fastsentiment_http::HttpConfig;

/// What a test may set of a server.
pub(super) struct Settings {
    pub(super) max_body_bytes: usize,
    pub(super) body_memory: usize,
    pub(super) header_timeout: Duration,
    pub(super) body_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) half_close: Duration,
    pub(super) drain_delay: Duration,
    pub(super) drain: Duration,
    pub(super) close_grace: Duration,
    pub(super) max_connections: usize,
    pub(super) cors_origins: Vec<fastsentiment_http::Origin>,
    pub(super) log_requests: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let (http, connections) = (HttpConfig::default(), connection::Config::default());
        Self {
            max_body_bytes: http.max_body_bytes,
            body_memory: http.body_memory,
            header_timeout: connections.header_timeout,
            body_timeout: http.body_timeout,
            idle_timeout: connections.idle_timeout,
            half_close: connections.half_close,
            drain_delay: connections.drain_delay,
            drain: connections.drain,
            close_grace: connections.close_grace,
            max_connections: connections.max_connections,
            cors_origins: http.cors_origins,
            log_requests: http.log_requests,
        }
    }
}

impl Settings {
    pub(super) fn http(&self) -> HttpConfig {
        HttpConfig {
            max_body_bytes: self.max_body_bytes,
            body_memory: self.body_memory,
            body_timeout: self.body_timeout,
            cors_origins: self.cors_origins.clone(),
            log_requests: self.log_requests,
        }
    }

    pub(super) fn connections(&self) -> connection::Config {
        connection::Config {
            header_timeout: self.header_timeout,
            body_timeout: self.body_timeout,
            idle_timeout: self.idle_timeout,
            half_close: self.half_close,
            drain_delay: self.drain_delay,
            drain: self.drain,
            close_grace: self.close_grace,
            max_connections: self.max_connections,
        }
    }
}
