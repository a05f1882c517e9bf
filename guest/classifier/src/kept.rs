//! A value that a guest loads once and has in every call.

use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

use crate::bindings::Error;
use crate::describe;

/// Where the contract mounts the model directory.
const MODEL_DIR: &str = "/model";

/// A value that `prepare` loads and that is part of the snapshot. Without `prepare`, as
/// in a command, the first call loads it.
pub struct Kept<T> {
    load: fn(&Path) -> Result<T, Error>,
    value: OnceLock<T>,
}

impl<T: Clone> Kept<T> {
    /// Not loaded yet; `load` gets the model directory.
    pub const fn new(load: fn(&Path) -> Result<T, Error>) -> Self {
        Self {
            load,
            value: OnceLock::new(),
        }
    }

    /// The value; loads it if `prepare` was not called.
    ///
    /// # Errors
    ///
    /// If it cannot be loaded. The next call tries again.
    pub fn get(&self) -> Result<&T, Error> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let value = (self.load)(MODEL_DIR.as_ref())?;
        Ok(self.value.get_or_init(|| value))
    }

    /// Loads the value, and makes it part of the snapshot, in as few pages as possible.
    /// Call it in a guest's `prepare` and nowhere else.
    ///
    /// If it cannot be loaded, this prints why and exits: by the contract, that refuses
    /// the model with a sentence, which is not lost in a report of a panic.
    pub fn prepare(&self) {
        if let Err(sentence) = self.load() {
            // There is nowhere to report a failure of standard error.
            let _ = writeln!(io::stderr(), "{sentence}");
            std::process::exit(1);
        }
    }

    fn load(&self) -> Result<(), String> {
        let value = (self.load)(MODEL_DIR.as_ref()).map_err(|error| describe(&error))?;
        self.keep(&value);
        Ok(())
    }

    fn keep(&self, value: &T) {
        #[cfg(target_arch = "wasm32")]
        crate::arena::end_loading();
        // A copy, since the original is in memory for loading.
        self.value.get_or_init(|| value.clone());
        #[cfg(target_arch = "wasm32")]
        crate::arena::reserve_call_memory();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_value_is_loaded_once() {
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
    fn loading_is_tried_again_after_an_error() {
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
    fn a_model_is_refused_with_a_sentence() {
        let kept = Kept::<()>::new(|_| Err(Error::ModelUnsuitable("no such file".to_owned())));
        assert_eq!(kept.load(), Err("no such file".to_owned()));
    }
}
