//! The names of artifacts: `oci://registry/repository[:tag][@sha256:...]`.

use std::fmt;
use std::str::FromStr;

use predictor::Digest;
use url::Url;

/// How a reference begins.
pub const SCHEME: &str = "oci://";

/// The tag of a reference that has neither a tag nor a digest, as in all clients.
const DEFAULT_TAG: &str = "latest";

/// The longest repository, and the longest tag, in bytes (OCI distribution specification).
const MOST_REPOSITORY: usize = 255;
const MOST_TAG: usize = 128;

/// Where an artifact is, by tag, by digest, or by both: then the digest counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    place: Place,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A reference with a digest: it names the same bytes for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PinnedReference {
    place: Place,
    tag: Option<String>,
    digest: Digest,
}

/// A repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) registry: String,
    pub(crate) repository: String,
}

/// Why a text is not a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Another scheme, or none.
    #[error("`{0}` does not begin with `oci://`")]
    Scheme(String),
    /// There is no repository.
    #[error("`{0}` names no repository: it must be `oci://registry/repository[:tag][@sha256:...]`")]
    NoRepository(String),
    /// The registry is not a host.
    #[error("`{0}` is not a registry: it must be a host name or address, and may have a port")]
    Registry(String),
    /// The repository has characters that are not allowed.
    #[error(
        "`{0}` is not a repository: its parts between slashes must be lower-case letters and \
         digits, with single `.`, `_`, `__` or any number of `-` between them, and at most 255 \
         bytes in all"
    )]
    Repository(String),
    /// The tag has characters that are not allowed.
    #[error(
        "`{0}` is not a tag: it must be 1 to 128 letters, digits, `_`, `.` or `-`, and begin with \
         a letter, a digit or `_`"
    )]
    Tag(String),
    /// The digest is not SHA-256.
    #[error("`{0}` is not a digest: it must be `sha256:` and 64 hexadecimal digits")]
    Digest(String),
    /// The reference has no digest, and one is needed.
    #[error("`{0}` has no digest: add `@sha256:...`")]
    NotPinned(String),
    /// The reference has a digest, and cannot have one.
    #[error("`{0}` has a digest, but an artifact gets its digest when it is pushed")]
    Pinned(String),
}

impl Reference {
    /// The digest, if the reference has one.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The tag that the reference stands for.
    pub(crate) fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or(DEFAULT_TAG)
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The same artifact, by its digest.
    pub(crate) fn pin(&self, digest: Digest) -> PinnedReference {
        PinnedReference {
            place: self.place.clone(),
            tag: self.tag.clone(),
            digest,
        }
    }
}

impl From<PinnedReference> for Reference {
    fn from(pinned: PinnedReference) -> Self {
        Self {
            place: pinned.place,
            tag: pinned.tag,
            digest: Some(pinned.digest),
        }
    }
}

impl PinnedReference {
    /// The digest of the artifact's manifest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| ReferenceError::Scheme(text.to_owned()))?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
            None => (rest, None),
        };
        let (registry, rest) = rest
            .split_once('/')
            .ok_or_else(|| ReferenceError::NoRepository(text.to_owned()))?;
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if repository.is_empty() {
            return Err(ReferenceError::NoRepository(text.to_owned()));
        }
        if !is_registry(registry) {
            return Err(ReferenceError::Registry(registry.to_owned()));
        }
        if !is_repository(repository) {
            return Err(ReferenceError::Repository(repository.to_owned()));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag(tag.to_owned()));
        }
        Ok(Self {
            place: Place {
                registry: registry.to_owned(),
                repository: repository.to_owned(),
            },
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl FromStr for PinnedReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let reference: Reference = text.parse()?;
        match reference.digest {
            Some(digest) => Ok(reference.pin(digest)),
            None => Err(ReferenceError::NotPinned(text.to_owned())),
        }
    }
}

/// Parses `sha256:` and 64 hexadecimal digits.
pub(crate) fn parse_digest(text: &str) -> Result<Digest, ReferenceError> {
    let digits = text.strip_prefix("sha256:");
    let digest = digits.and_then(|digits| digits.parse().ok());
    digest.ok_or_else(|| ReferenceError::Digest(text.to_owned()))
}

/// Whether a text is a host with or without a port, and nothing else.
pub(crate) fn is_registry(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
    let Ok(url) = Url::parse(&format!("https://{text}/")) else {
        return false;
    };
    text.bytes().all(is_allowed) && url.has_host() && !text.ends_with(':')
}

fn is_repository(text: &str) -> bool {
    text.len() <= MOST_REPOSITORY && text.split('/').all(is_part)
}

/// Whether a part of a repository is letters and digits with separators between them.
fn is_part(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [part.bytes().next(), part.bytes().next_back()];
    let separators = part.split(|character: char| character.is_ascii_alphanumeric());
    ends.into_iter().all(|end| end.is_some_and(is_word))
        && part
            .bytes()
            .all(|byte| is_word(byte) || b"._-".contains(&byte))
        && separators.into_iter().all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
        })
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MOST_TAG
        && text.bytes().next().is_some_and(is_word)
        && text
            .bytes()
            .all(|byte| is_word(byte) || b".-".contains(&byte))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@sha256:{digest}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PinnedReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        write!(f, "@sha256:{}", self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_reference_is_written_as_it_was_read() {
        for text in [
            "oci://registry.example/acme/guest:1.2.3",
            "oci://127.0.0.1:5000/guest",
            "oci://[::1]:5000/a/b/c:v1",
            "oci://localhost/my__guest/x-y--z.w_v:_tag",
            &format!("oci://registry.example:443/guest@{DIGEST}"),
            &format!("oci://registry.example/guest:v1@{DIGEST}"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), *text);
        }
        let reference: Reference = "oci://h/r".parse().unwrap();
        assert_eq!(reference.tag(), "latest");
    }

    #[test]
    fn a_pinned_reference_has_a_digest() {
        let pinned: PinnedReference = format!("oci://h/r:v1@{DIGEST}").parse().unwrap();
        assert_eq!(pinned.digest(), Digest::EMPTY);
        assert_eq!(pinned.to_string(), format!("oci://h/r:v1@{DIGEST}"));
        let error = "oci://h/r:v1".parse::<PinnedReference>().unwrap_err();
        assert_eq!(error, ReferenceError::NotPinned("oci://h/r:v1".into()));
    }

    #[test]
    fn what_is_not_a_reference_is_rejected_for_its_reason() {
        type Reason = fn(String) -> ReferenceError;
        let long = format!("oci://h/{}", "a".repeat(256));
        let cases: [(&str, &str, Reason); 22] = [
            (
                "registry.example/acme/guest",
                "registry.example/acme/guest",
                ReferenceError::Scheme,
            ),
            ("https://h/r", "https://h/r", ReferenceError::Scheme),
            (
                "oci://registry",
                "oci://registry",
                ReferenceError::NoRepository,
            ),
            (
                "oci://registry/",
                "oci://registry/",
                ReferenceError::NoRepository,
            ),
            ("oci://h/:tag", "oci://h/:tag", ReferenceError::NoRepository),
            ("oci:///r", "", ReferenceError::Registry),
            ("oci://h:port/r", "h:port", ReferenceError::Registry),
            ("oci://h:/r", "h:", ReferenceError::Registry),
            ("oci://h:99999/r", "h:99999", ReferenceError::Registry),
            ("oci://h?x/r", "h?x", ReferenceError::Registry),
            ("oci://h/Upper", "Upper", ReferenceError::Repository),
            ("oci://h/a//b", "a//b", ReferenceError::Repository),
            ("oci://h/../b", "../b", ReferenceError::Repository),
            ("oci://h/a___b", "a___b", ReferenceError::Repository),
            ("oci://h/a..b", "a..b", ReferenceError::Repository),
            ("oci://h/-a", "-a", ReferenceError::Repository),
            ("oci://h/a?n=1", "a?n=1", ReferenceError::Repository),
            (&long, &long[8..], ReferenceError::Repository),
            ("oci://h/r:", "", ReferenceError::Tag),
            ("oci://h/r:.x", ".x", ReferenceError::Tag),
            ("oci://h/r@sha512:00", "sha512:00", ReferenceError::Digest),
            ("oci://user@h/r", "h/r", ReferenceError::Digest),
        ];
        for (text, part, reason) in cases {
            assert_eq!(
                text.parse::<Reference>(),
                Err(reason(part.to_owned())),
                "{text}"
            );
        }
    }
}
