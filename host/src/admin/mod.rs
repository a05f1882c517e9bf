//! The admin listener: health and metrics, for those who run the server and
//! for nobody else.
//!
//! This module must not know how the server works inside: it is given the
//! registry of the metrics and the server's state.

mod routes;

pub use routes::Api;
