//! The state, which survives a restart: which revision is live, which were before it, which
//! are known, which are quarantined, their components, and models that were uploaded.
//!
//! Serving does not depend on it. Damage costs what is damaged and never the start; a full
//! disk costs what it cannot take and never a swap.
//!
//! This module must not know what is done with the state, and runs no future.

mod document;
mod keeper;
mod models;
mod record;
mod store;

pub(super) use document::KnownModels;
#[cfg(any(test, fuzzing))]
pub use document::fuzz;
pub(super) use keeper::Keeper;
pub(super) use record::{Configured, KeptRevision, KeptTrial, Record};
pub(super) use store::Store;
pub use store::{StateError, check_state_dir};
