//! The admin listener: health, metrics, and the versions of the guest, for those
//! who run the server and for nobody else.
//!
//! This module must not know how the server works inside: it is given the
//! registry of the metrics, the server's state and, once there are any, the
//! versions.

mod access;
pub mod document;
mod openapi;
mod query;
mod refusal;
mod routes;
mod upload;
mod versions;

pub use access::{Access, Token, TokenError};
pub use routes::Api;
pub use upload::Uploads;
