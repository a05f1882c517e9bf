//! The versions that there are: over a loader that only pretends, and in a real
//! server.

#![allow(clippy::float_cmp, reason = "metrics that count are whole numbers")]

mod changes;
mod configured_values;
mod declared;
mod deployed;
mod fake;
mod fake_loader;
mod fallback;
mod file;
mod models;
mod process;
mod quarantine;
mod restart;
mod restoring;
mod starved;
