//! The guest that serves.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::call::Guest;
use crate::predictor::{Scorer, Versions};

/// The guest that is live, until another one takes its place.
pub struct Live(ArcSwap<Guest>);

impl Live {
    /// Begins with `guest`.
    pub fn new(guest: Guest) -> Self {
        Self(ArcSwap::from_pointee(guest))
    }
}

impl Versions for Live {
    fn live(&self) -> Arc<dyn Scorer> {
        self.0.load_full()
    }
}
