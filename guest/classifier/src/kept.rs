//! What a guest loads once and finds again in every call.

use std::path::Path;
use std::sync::OnceLock;

use crate::bindings::Error;
use crate::describe;

/// Where the contract puts the model directory.
const MODEL_DIR: &str = "/model";

/// Something that `prepare` loads and that is part of every snapshot. A host
/// without snapshots has it loaded by the first call.
pub struct Kept<T> {
    load: fn(&Path) -> Result<T, Error>,
    loaded: OnceLock<T>,
}

impl<T: Clone> Kept<T> {
    /// Nothing yet; `load` is given the model directory.
    pub const fn new(load: fn(&Path) -> Result<T, Error>) -> Self {
        Self {
            load,
            loaded: OnceLock::new(),
        }
    }

    /// What was loaded; loads it if `prepare` was not called.
    ///
    /// # Errors
    ///
    /// If it can not be loaded. The next call tries again.
    pub fn get(&self) -> Result<&T, Error> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let loaded = (self.load)(MODEL_DIR.as_ref())?;
        Ok(self.loaded.get_or_init(|| loaded))
    }

    /// Loads, and makes what was loaded part of the snapshot, in as few pages
    /// as can be. Right for a guest's `prepare`, and for nothing else.
    ///
    /// # Panics
    ///
    /// If it can not be loaded: the contract has a guest refused by a trap.
    #[expect(clippy::panic, reason = "the contract refuses a guest by a trap")]
    pub fn prepare(&self) {
        match (self.load)(MODEL_DIR.as_ref()) {
            Ok(loaded) => self.keep(&loaded),
            // The host shows what it said.
            Err(error) => panic!("{}", describe(&error)),
        }
    }

    fn keep(&self, loaded: &T) {
        #[cfg(target_arch = "wasm32")]
        crate::arena::end_loading();
        self.loaded.get_or_init(|| loaded.clone());
        #[cfg(target_arch = "wasm32")]
        crate::arena::reserve_call_memory();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn what_was_loaded_is_not_loaded_again() {
        static LOADS: AtomicU32 = AtomicU32::new(0);
        let kept = Kept::new(|dir| {
            assert_eq!(dir, Path::new("/model"));
            Ok(LOADS.fetch_add(1, Ordering::Relaxed))
        });
        kept.prepare();
        assert!(matches!(kept.get(), Ok(0)));
        assert!(matches!(kept.get(), Ok(0)));
    }

    #[test]
    fn a_failure_is_not_kept() {
        static LOADS: AtomicU32 = AtomicU32::new(0);
        let kept = Kept::new(|_| match LOADS.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Error::ModelMissing("not yet".to_owned())),
            loads => Ok(loads),
        });
        assert!(kept.get().is_err());
        assert!(matches!(kept.get(), Ok(1)));
        assert!(matches!(kept.get(), Ok(1)));
    }

    #[test]
    #[should_panic(expected = "no such file")]
    fn prepare_says_why_it_traps() {
        Kept::<()>::new(|_| Err(Error::ModelUnsuitable("no such file".to_owned()))).prepare();
    }
}
