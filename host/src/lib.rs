//! FastSentiment's host: everything of the server but the process itself.
//!
//! `ARCHITECTURE.md` beside the sources says what each layer is for and what
//! it must not know.

pub mod admin;
pub mod app;
pub mod batcher;
pub mod cache;
pub mod guest;
pub mod http;
pub mod nn;
pub mod predictor;
mod private_dir;
pub mod rollout;
pub mod service;
pub mod versions;
