//! A secret that servers share, so that nobody else who can write to Redis can have them
//! give an answer of his, and nobody who can read it can tell which texts were asked.
//!
//! Each value is followed by its HMAC-SHA-256, and the name of each key is one of the key.
//! So servers with and without the secret, or with another one, do not find each other's
//! values. Whoever can write to Redis can still delete answers, or put an old value back
//! in its own place: it is the answer of the same revision to the same text.
//!
//! This module must not know how values are laid out or transported.

use std::fmt;

use ring::hmac::{self, HMAC_SHA256};

use crate::key::Key;
use predictor::Digest;

/// The shortest secret, in bytes.
const MIN_BYTES: usize = 32;

/// The longest secret, in bytes.
const MAX_BYTES: usize = 1024;

/// The length of what follows a value, in bytes.
pub(super) const TAG: usize = 32;

/// The purposes of the keys that are derived from a secret. Raise the numbers if what they
/// are used for changes.
const NAMES: &[u8] = b"fastsentiment cache names 1";
const VALUES: &[u8] = b"fastsentiment cache values 1";

/// What the servers that share a Redis know, and others do not.
#[derive(Clone)]
pub struct Secret {
    names: hmac::Key,
    values: hmac::Key,
}

/// A secret that is too short or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key must have {MIN_BYTES} to {MAX_BYTES} bytes, such as `openssl rand -hex 32` prints, \
     and this one has {0}"
)]
pub struct SecretError(usize);

impl Secret {
    /// The longest secret, in bytes.
    pub const MAX_BYTES: usize = MAX_BYTES;

    /// The secret in these bytes. White space around it does not count: editors and tools
    /// add a line break at its end, or do not.
    ///
    /// # Errors
    ///
    /// If it is too short or too long.
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        let bytes = bytes.trim_ascii();
        if !(MIN_BYTES..=MAX_BYTES).contains(&bytes.len()) {
            return Err(SecretError(bytes.len()));
        }
        let secret = hmac::Key::new(HMAC_SHA256, bytes);
        let derived = |purpose| hmac::Key::new(HMAC_SHA256, hmac::sign(&secret, purpose).as_ref());
        Ok(Self {
            names: derived(NAMES),
            values: derived(VALUES),
        })
    }

    /// What a key is called.
    pub(super) fn name(&self, key: &Key) -> Digest {
        let mut name = [0; 32];
        name.copy_from_slice(hmac::sign(&self.names, &key.0).as_ref());
        Digest(name)
    }

    /// Adds its tag to the value of a key.
    pub(super) fn seal(&self, key: &Key, value: &mut Vec<u8>) {
        let mut context = hmac::Context::with_key(&self.values);
        context.update(&key.0);
        context.update(value);
        value.extend_from_slice(context.sign().as_ref());
    }

    /// The value without its tag; `None` if that is not the one of this key and value.
    pub(super) fn open<'a>(&self, key: &Key, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (value, tag) = sealed.split_last_chunk::<TAG>()?;
        let message = [&key.0, value].concat();
        hmac::verify(&self.values, &message, tag).ok()?;
        Some(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: Key = Digest([7; 32]);

    fn secret(byte: u8) -> Secret {
        Secret::new(&[byte; 32]).unwrap()
    }

    fn sealed(secret: &Secret, value: &[u8]) -> Vec<u8> {
        let mut value = value.to_vec();
        secret.seal(&KEY, &mut value);
        value
    }

    #[test]
    fn white_space_is_no_part_of_a_secret() {
        let (one, two) = ([b'a'; 32], [&b"\n"[..], &[b'a'; 32], b"\r\n"].concat());
        let [one, two] = [&one[..], &two].map(|bytes| Secret::new(bytes).unwrap());
        assert_eq!(one.name(&KEY), two.name(&KEY));
        assert_eq!(format!("{one:?}"), "Secret(..)");
    }

    #[test]
    fn a_secret_has_a_length() {
        for length in [0, 31, 1025] {
            let error = Secret::new(&vec![b'a'; length]).unwrap_err();
            assert_eq!(error, SecretError(length));
        }
        assert!(Secret::new(&[b'a'; 1024]).is_ok());
        assert!(Secret::new(&[b' '; 64]).is_err());
    }

    #[test]
    fn names_and_tags_are_the_same_on_all_servers() {
        // Servers of different releases share a Redis, so these must not change unless the
        // purposes do. They were computed with Python's `hmac`.
        assert_eq!(secret(1).name(&KEY).short(), "3fc113916e3c");
        let tag = &sealed(&secret(1), b"value")[5..];
        assert_eq!(Digest::of(tag).short(), "11326d80b2a8");
    }

    proptest! {
        #[test]
        fn only_what_was_sealed_for_its_key_is_opened(
            value in prop::collection::vec(any::<u8>(), 0..64),
            at in any::<prop::sample::Index>(),
            change in 1..=u8::MAX,
        ) {
            let good = sealed(&secret(1), &value);
            prop_assert_eq!(secret(1).open(&KEY, &good), Some(&value[..]));
            prop_assert_eq!(secret(2).open(&KEY, &good), None);
            prop_assert_eq!(secret(1).open(&Digest([8; 32]), &good), None);
            prop_assert_eq!(secret(1).open(&KEY, &value), None);
            let mut altered = good.clone();
            altered[at.index(good.len())] ^= change;
            prop_assert_eq!(secret(1).open(&KEY, &altered), None);
            prop_assert_eq!(secret(1).open(&KEY, &good[..at.index(good.len())]), None);
        }
    }
}
