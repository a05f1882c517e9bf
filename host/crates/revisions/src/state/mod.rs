//! What survives a restart: which version is live, which were before it, which are
//! known, which are quarantined, and the components themselves.
//!
//! Nothing here is needed to serve. Damage costs what is damaged, never the start;
//! a disk that is full costs what it can not take, never the swap.
//!
//! This module must not know what is done with the state, and runs no future.

mod document;
mod keeper;
mod record;
mod store;

pub(super) use keeper::Keeper;
pub(super) use record::{Configured, KeptRevision, KeptTrial, Record};
pub use store::StateError;
pub(super) use store::Store;
