//! What an answer is kept under: a digest of everything that decides it.
//!
//! This module must not know where answers are kept.

use sha2::{Digest as _, Sha256};

use predictor::{Digest, Version};

/// What the answer to one text of one version is kept under. It is as good as
/// the text itself: nobody can find two texts with the same key.
pub(super) type Key = Digest;

/// Raised whenever the digest is taken over something else, so that servers of
/// two releases that share a Redis never take each other's keys for theirs.
const FORMAT: u8 = 1;

/// Makes the keys of one version and its settings.
pub(super) struct Keys(Sha256);

impl Keys {
    /// `settings` are those that change answers and are no part of the version.
    pub(super) fn new(version: &Version, settings: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update([FORMAT]);
        // The digests are of fixed length; what is not is framed by its length,
        // so that no two lists of fields are the same bytes.
        hash.update(version.guest.0);
        hash.update(version.model.0);
        update_framed(&mut hash, settings);
        Self(hash)
    }

    /// The key of a text.
    pub(super) fn of(&self, text: &str) -> Key {
        let mut hash = self.0.clone();
        update_framed(&mut hash, text.as_bytes());
        Digest(hash.finalize().into())
    }
}

fn update_framed(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(guest: u8, model: u8) -> Version {
        Version {
            guest: Digest([guest; 32]),
            model: Digest([model; 32]),
        }
    }

    #[test]
    fn everything_that_decides_an_answer_changes_its_key() {
        let keys = [
            Keys::new(&version(1, 2), b"").of("text"),
            Keys::new(&version(3, 2), b"").of("text"),
            Keys::new(&version(1, 3), b"").of("text"),
            Keys::new(&version(1, 2), b"s").of("text"),
            Keys::new(&version(1, 2), b"").of("Text"),
            Keys::new(&version(1, 2), b"").of(""),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{at}");
        }
    }

    #[test]
    fn a_key_is_the_same_each_time() {
        let of = |text: &str| Keys::new(&version(1, 2), b"s").of(text);
        assert_eq!(of("text"), of("text"));
        // Replicas and releases share what they keep, so this must not change
        // unless the format's number does.
        assert_eq!(of("text").short(), "a8f1d24c64cb");
    }

    #[test]
    fn fields_can_not_run_into_each_other() {
        let version = version(1, 2);
        let one = Keys::new(&version, b"a").of("bc");
        assert_ne!(one, Keys::new(&version, b"ab").of("c"));
    }
}
