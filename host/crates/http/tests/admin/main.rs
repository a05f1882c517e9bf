//! The admin API over real sockets, above versions whose components are words.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]
#![allow(
    clippy::cast_precision_loss,
    reason = "what tests count and measure is small"
)]

mod access;
mod api;
mod configurations;
mod fake;
mod models;
mod refusals;
mod status;
mod uploads;
