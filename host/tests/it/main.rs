//! The integration tests: one binary, so that everything is linked once and
//! what they share is built once.
//!
//! They build the guest themselves. ONNX Runtime has to be there already:
//! `make onnxruntime` puts it beside the binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can not go on fails"
)]
#![allow(
    clippy::cast_precision_loss,
    reason = "what tests count and measure is small"
)]

mod admin;
mod architecture;
mod batching;
mod bulk;
mod cache;
mod command;
mod configuration;
#[cfg(target_os = "linux")]
mod confinement;
mod demo;
mod dev;
mod draining;
mod examples;
mod fleet;
mod guests;
mod harness;
mod health;
mod help;
mod hostile;
mod keys;
mod limits;
mod logs;
mod long_texts;
mod metrics;
mod model_dir;
mod nn;
mod pipeline;
mod push;
mod quiet;
mod redis_server;
mod rollout;
mod server;
mod server_process;
mod sockets;
mod swapping;
mod tags;
mod tls;
mod truth;
mod versions;
mod weights;
