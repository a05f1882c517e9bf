//! Why an artifact cannot be had, and whether it is worth trying again.

use std::path::PathBuf;
use std::time::Duration;

use predictor::Digest;

use crate::reference::ReferenceError;
use crate::trust::TrustError;

/// Whether the same call can succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The registry, the network or this machine may recover.
    Passing,
    /// The call fails until somebody changes the artifact, the rights or the options.
    Final,
}

/// Why an artifact cannot be pulled or pushed. Each message is one sentence without its
/// full stop; words of a registry are escaped and bounded.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The reference cannot be parsed, or not be used for this.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A file that an option names cannot be used.
    #[error("{path} cannot be used: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The credentials are in a helper program.
    #[error(
        "the credentials of {0} are left to a credential helper, and none is run: put them into \
         `auths` of the Docker configuration"
    )]
    CredentialHelper(String),
    /// Something leads to plain HTTP.
    #[error("{0} would be reached over plain HTTP, which is allowed only for hosts named for it")]
    PlainHttp(String),
    /// There is no connection, or it broke.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// The host that a request was for.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// The host has a certificate that is not trusted.
    #[error("{host} has no trusted certificate: {reason}")]
    Certificate {
        /// The host that a request was for.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("{host} sent nothing for {after:?}")]
    Silent {
        /// The host that a request was for.
        host: String,
        /// The time limit.
        after: Duration,
    },
    /// The whole call took too long.
    #[error("{reference} was not complete after {after:?}")]
    TimedOut {
        /// What was pulled or pushed.
        reference: String,
        /// The time limit.
        after: Duration,
    },
    /// The registry has a problem of its own, or asks to be spared (429).
    #[error("{host} cannot answer at the moment (status {status}{words})")]
    Unavailable {
        /// The host that answered.
        host: String,
        /// Its status: 408, 429 or 5xx.
        status: u16,
        /// Its own words, if any, with a separator in front.
        words: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The registry refuses the credentials, or has to be given some.
    #[error("{host} denies access (status {status}{words})")]
    Denied {
        /// The host that answered.
        host: String,
        /// Its status: 401 or 403.
        status: u16,
        /// Its own words, if any, with a separator in front.
        words: String,
    },
    /// The registry does not have it.
    #[error("{host} does not have {what}{words}")]
    NotFound {
        /// The host that answered.
        host: String,
        /// What was asked for.
        what: String,
        /// Its own words, if any, with a separator in front.
        words: String,
    },
    /// The registry does not accept the request.
    #[error("{host} rejects the request (status {status}{words})")]
    Rejected {
        /// The host that answered.
        host: String,
        /// Its status.
        status: u16,
        /// Its own words, if any, with a separator in front.
        words: String,
    },
    /// The registry redirects again and again.
    #[error("{host} redirects more than {most} times")]
    Redirects {
        /// The host of the registry.
        host: String,
        /// How many redirects are followed.
        most: usize,
    },
    /// An answer is not what a registry sends.
    #[error("the answer of {host} is not a registry's: {reason}")]
    Malformed {
        /// The host that answered.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes do not have the digest that they were asked for by.
    #[error("{what} has another digest than it should: sha256:{actual}, not sha256:{expected}")]
    Digest {
        /// What was asked for.
        what: String,
        /// The digest that it should have.
        expected: Digest,
        /// The digest that it has.
        actual: Digest,
    },
    /// A blob is shorter or longer than the manifest says.
    #[error("{what} is {fault} than the {expected} bytes that its manifest says")]
    Length {
        /// What was asked for.
        what: String,
        /// The size that it should have, in bytes.
        expected: u64,
        /// `shorter` or `longer`.
        fault: &'static str,
    },
    /// An artifact or an answer is larger than is allowed.
    #[error("{what} is larger than {most} bytes, the most that is allowed")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit, in bytes.
        most: u64,
    },
    /// The artifact is not one of a guest or a model.
    #[error("{reference} {fault}")]
    Unusable {
        /// The artifact.
        reference: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// No trusted key has signed it.
    #[error("{what} is not trusted: {reason}")]
    Untrusted {
        /// The artifact or file.
        what: String,
        /// Why not.
        reason: TrustError,
    },
    /// The directory of pulled artifacts cannot be used.
    #[error("the directory of pulled artifacts {path} cannot be used: {reason}")]
    Store {
        /// The directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// All that is in the directory of pulled artifacts is in use.
    #[error(
        "the directory of pulled artifacts {path} has no room for {needed} bytes: artifacts in \
         use take the rest of the {most} bytes that it may hold"
    )]
    Full {
        /// The directory.
        path: PathBuf,
        /// How many bytes are needed.
        needed: u64,
        /// How many bytes it may hold.
        most: u64,
    },
    /// What is to be pushed cannot be.
    #[error("{path} cannot be pushed: {reason}")]
    Push {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Why an artifact is not one of a guest or a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The manifest is not JSON, or not that of an image.
    #[error("has a manifest that cannot be read: {0}")]
    Manifest(String),
    /// It is a list of manifests.
    #[error("is an index of several artifacts, so name one of them by its digest")]
    Index,
    /// A guest has one layer.
    #[error("has {0} layers, and a guest has exactly one")]
    Layers(usize),
    /// A model has at least one file, and not many.
    #[error("has {given} layers, and a model has 1 to {most}, one for each file")]
    Files {
        /// How many it has.
        given: usize,
        /// How many are allowed.
        most: usize,
    },
    /// The layer is not WebAssembly.
    #[error("has a layer of type `{0}`, and a guest is `application/wasm`")]
    MediaType(String),
    /// A digest is not SHA-256.
    #[error("names a layer by `{0}`, and only sha256 digests are supported")]
    LayerDigest(String),
    /// A layer has no file name.
    #[error("has a layer without a file name (annotation `org.opencontainers.image.title`)")]
    NoName,
    /// A layer is a packed directory.
    #[error("has a packed directory, `{0}`, and a model has one layer for each file")]
    Packed(String),
    /// A file name could lead elsewhere, or would be ignored.
    #[error(
        "names a file `{0}`, and file names have no directories, no leading dot, and 1 to 255 \
         bytes of visible characters"
    )]
    Name(String),
    /// Two files have one name.
    #[error("names two files `{0}`")]
    Duplicate(String),
}

impl ArtifactError {
    /// Whether the same call can succeed later.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::TimedOut { .. }
            | Self::Unavailable { .. }
            | Self::Store { .. }
            | Self::Full { .. } => Kind::Passing,
            Self::Reference(_)
            | Self::File { .. }
            | Self::CredentialHelper(_)
            | Self::PlainHttp(_)
            | Self::Certificate { .. }
            | Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::Rejected { .. }
            | Self::Redirects { .. }
            | Self::Malformed { .. }
            | Self::Digest { .. }
            | Self::Length { .. }
            | Self::TooLarge { .. }
            | Self::Unusable { .. }
            | Self::Untrusted { .. }
            | Self::Push { .. } => Kind::Final,
        }
    }

    /// Whether another request may help at once: not if it is this machine that fails.
    pub(crate) fn is_worth_a_retry(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Unavailable { .. }
        )
    }
}

/// The longest text of a registry in a message, in characters.
const MOST_WORDS: usize = 200;

/// Text of others, made harmless: characters that cannot be seen are escaped, and the rest
/// of a long text is left out.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::new();
    for (at, character) in text.chars().enumerate() {
        if at == MOST_WORDS {
            out.push_str("...");
            break;
        }
        match character {
            '"' | '\'' | '\\' => out.push(character),
            _ => out.extend(character.escape_debug()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_escaped_and_cut() {
        assert_eq!(quoted("it's \"fine\""), "it's \"fine\"");
        assert_eq!(
            quoted("a\nb\u{1b}[31m\u{202e}"),
            "a\\nb\\u{1b}[31m\\u{202e}"
        );
        let long = quoted(&"x".repeat(10_000));
        assert_eq!(long.len(), MOST_WORDS + 3);
    }
}
