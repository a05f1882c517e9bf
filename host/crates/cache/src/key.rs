//! The key of an answer: a digest of everything that decides it.
//!
//! This module must not know where answers are cached.

use sha2::{Digest as _, Sha256};

use predictor::{Digest, LongTexts, Revision};

/// The key of one revision's answer to one text. It is as good as the text itself: nobody
/// can find two texts with the same SHA-256.
pub(super) type Key = Digest;

/// Raise it whenever the digest is taken over something else, so that servers of different
/// releases can share a Redis without mistaking each other's keys.
const FORMAT: u8 = 2;

/// Makes the keys of one revision on one engine.
pub(super) struct Keys(Sha256);

impl Keys {
    /// `engine` names what runs the model, and on what kind of processor.
    pub(super) fn new(revision: &Revision, engine: &str, long_texts: LongTexts) -> Self {
        let mut hash = Sha256::new();
        hash.update([FORMAT]);
        // Fields of variable length are preceded by their length, so that no two lists of
        // fields are the same bytes.
        hash.update(revision.digest().0);
        update_framed(&mut hash, engine.as_bytes());
        match long_texts {
            LongTexts::AsConfigured => {}
            // No text is as long, so that it is no text's length.
            LongTexts::Refuse => hash.update(u64::MAX.to_le_bytes()),
        }
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
    use LongTexts::{AsConfigured, Refuse};

    fn revision(guest: u8, model: u8) -> Revision {
        let configuration = Revision::NO_CONFIGURATION;
        Revision::new(Digest([guest; 32]), Digest([model; 32]), configuration)
    }

    #[test]
    fn everything_that_decides_an_answer_changes_its_key() {
        let keys = [
            Keys::new(&revision(1, 2), "", AsConfigured).of("text"),
            Keys::new(&revision(3, 2), "", AsConfigured).of("text"),
            Keys::new(&revision(1, 3), "", AsConfigured).of("text"),
            Keys::new(&revision(1, 2), "s", AsConfigured).of("text"),
            Keys::new(&revision(1, 2), "", AsConfigured).of("Text"),
            Keys::new(&revision(1, 2), "", AsConfigured).of(""),
            Keys::new(&revision(1, 2), "", Refuse).of("text"),
            Keys::new(&revision(1, 2), "", Refuse).of(""),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{at}");
        }
    }

    #[test]
    fn a_key_is_the_same_each_time() {
        let of = |text: &str| Keys::new(&revision(1, 2), "s", AsConfigured).of(text);
        assert_eq!(of("text"), of("text"));
        // Replicas and releases share a Redis, so this must not change unless `FORMAT`
        // does.
        assert_eq!(of("text").short(), "8c267959d1d6");
    }

    #[test]
    fn fields_can_not_run_into_each_other() {
        let revision = revision(1, 2);
        let one = Keys::new(&revision, "a", AsConfigured).of("bc");
        assert_ne!(one, Keys::new(&revision, "ab", AsConfigured).of("c"));
    }
}
