//! What answers, and the digests that name it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::{Configuration, RevisionName};

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// A text that is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SHA-256 digest in 64 hexadecimal digits")]
pub struct DigestError(pub String);

impl Digest {
    /// The digest of no bytes.
    pub const EMPTY: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9,
        0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52,
        0xb8, 0x55,
    ]);

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first 12 hexadecimal digits: enough to tell revisions apart in a
    /// header or a log line.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    /// Reads what `Display` writes; upper-case digits are read as well.
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let error = || DigestError(text.to_owned());
        let mut digest = [0; 32];
        if text.len() != 2 * digest.len() {
            return Err(error());
        }
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let value = digit(pair[0]).zip(digit(pair[1]));
            let value = value.and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
            *byte = value.ok_or_else(error)?;
        }
        Ok(Self(digest))
    }
}

/// What answers: a guest, the model that it calls and the configuration that it reads.
///
/// A revision is immutable. Answers of equal revisions can be compared with each other,
/// and an answer may be cached only under the revision that made it. Two revisions are
/// equal if their digests are: the name is for people.
#[derive(Clone, Debug)]
pub struct Revision {
    digest: Digest,
    guest: Digest,
    model: Digest,
    configuration: Configuration,
    name: Option<RevisionName>,
}

/// Starts the bytes that a revision's digest is taken over, so that it can never equal a
/// digest of something else. Raise the number when the parts change.
const DOMAIN: &[u8] = b"fastsentiment revision 1\0";

impl Revision {
    /// The configuration of a revision that has none.
    pub const NO_CONFIGURATION: Configuration = Configuration::NONE;

    /// The revision of a guest (SHA-256 of its bytes), a model (SHA-256 over the files of
    /// its directory) and a configuration ([`Self::NO_CONFIGURATION`] for none).
    pub fn new(guest: Digest, model: Digest, configuration: Configuration) -> Self {
        let parts = [guest, model, configuration.digest()];
        let hash = Sha256::new().chain_update(DOMAIN);
        let hash = parts
            .iter()
            .fold(hash, |hash, part| hash.chain_update(part.0));
        Self {
            digest: Digest(hash.finalize().into()),
            guest,
            model,
            configuration,
            name: None,
        }
    }

    /// The same revision under a name for people.
    #[must_use]
    pub fn named(self, name: Option<RevisionName>) -> Self {
        Self { name, ..self }
    }

    /// The digest that names the revision, over all of its parts.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The first 12 hexadecimal digits of the revision's digest.
    pub fn short(&self) -> String {
        self.digest.short()
    }

    /// SHA-256 of the guest component's bytes.
    pub fn guest(&self) -> Digest {
        self.guest
    }

    /// SHA-256 over the model directory's files.
    pub fn model(&self) -> Digest {
        self.model
    }

    /// What the guest is told when it asks for its configuration.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// What people call the revision.
    pub fn name(&self) -> Option<&RevisionName> {
        self.name.as_ref()
    }
}

impl PartialEq for Revision {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Revision {}

impl Hash for Revision {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = Digest(std::array::from_fn(|at| u8::try_from(at * 8).unwrap()));
        let text = digest.to_string();
        assert!(text.starts_with("0008101820") && text.len() == 64, "{text}");
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(text.to_uppercase().parse(), Ok(digest));
        assert_eq!(digest.short(), text[..12]);
        for wrong in [
            "",
            &text[1..],
            &format!("{text}0"),
            &text.replace('1', "g"),
            &"é".repeat(32),
        ] {
            assert_eq!(wrong.parse::<Digest>(), Err(DigestError(wrong.to_owned())));
        }
        assert_eq!(Digest::of(b""), Digest::EMPTY);
    }

    #[test]
    fn every_part_is_in_the_digest_at_its_own_place_and_the_name_is_not() {
        let [a, b] = [1, 2].map(|byte| Digest([byte; 32]));
        let set = |value: &str| Configuration::NONE.with([("k".into(), Some(value.into()))]);
        let set = |value| set(value).unwrap();
        let revision = Revision::new(a, b, set("c"));
        for (guest, model, value) in [(b, b, "c"), (a, a, "c"), (a, b, "d"), (b, a, "c")] {
            assert_ne!(revision, Revision::new(guest, model, set(value)));
        }
        assert_ne!(revision, Revision::new(a, b, Revision::NO_CONFIGURATION));
        let named = revision.clone().named("lexicon@1.2".parse().ok());
        assert_eq!(named, revision);
        // Servers of different releases share caches and states under it.
        let none = Revision::new(a, b, Revision::NO_CONFIGURATION);
        assert_eq!(
            [revision.short(), none.short()],
            ["43f38e004656", "b9f65ba4aedc"]
        );
    }
}
