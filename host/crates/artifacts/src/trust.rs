//! Which keys are trusted, and what they have signed.
//!
//! A key is a public key as `cosign generate-key-pair` or `openssl pkey -pubout` writes it
//! (PEM, `SubjectPublicKeyInfo`): ECDSA on P-256 or P-384, Ed25519, or RSA with 2048 to 8192
//! bits. Signatures are cosign's: ECDSA and RSA (PKCS #1 v1.5 or PSS) over SHA-256, on P-384
//! also over SHA-384, and Ed25519 over the message itself. The checks are those of `rustls-webpki` with `ring`,
//! which TLS connections rest on as well.
//!
//! No certificates, no transparency log, no expiry: a key is trusted until its file is
//! removed from the options.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use predictor::Digest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use webpki::RawPublicKeyEntity;
use webpki::ring::{
    ECDSA_P256_SHA256, ECDSA_P384_SHA256, ECDSA_P384_SHA384, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
};

use crate::small_file::read;
use crate::statement::{Statement, signature_of_file};

/// The largest file of a key or a detached signature that is read, in bytes.
const MOST_FILE: u64 = 64 << 10;

/// What fits a key is tried; the others do not verify anything.
const ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 6] = [
    ECDSA_P256_SHA256,
    ECDSA_P384_SHA256,
    ECDSA_P384_SHA384,
    ED25519,
    RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
];

/// The keys that are trusted: at least one.
#[derive(Clone, Debug)]
pub struct Trust {
    keys: Vec<Key>,
}

#[derive(Clone, Debug)]
struct Key {
    key: SubjectPublicKeyInfoDer<'static>,
    id: SignedBy,
}

/// The key that has signed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBy {
    /// The path of the key's file.
    pub key: PathBuf,
    /// SHA-256 of the key's DER form, as `openssl pkey -pubin -outform DER | sha256sum`
    /// prints it.
    pub fingerprint: Digest,
}

/// Why nothing is trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// A key cannot be read.
    #[error("the key {path} cannot be used: {reason}")]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There are no keys.
    #[error("no key is given")]
    NoKeys,
    /// There is no signature.
    #[error("it has no signature")]
    Unsigned,
    /// A signature cannot be read.
    #[error("its signature {path} cannot be read: {reason}")]
    Signature {
        /// The file of the signature.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There are signatures, and none is by a trusted key.
    #[error("no trusted key has made its signature")]
    OtherKey,
    /// A trusted key has signed something else.
    #[error("its signature, by a trusted key, is of something else")]
    OtherContent,
}

impl Trust {
    /// Reads keys, one from each file.
    ///
    /// # Errors
    ///
    /// If there is none, or a file does not hold exactly one public key of a supported kind.
    pub fn load(paths: &[PathBuf]) -> Result<Self, TrustError> {
        if paths.is_empty() {
            return Err(TrustError::NoKeys);
        }
        let keys: Result<_, _> = paths.iter().map(|path| Key::load(path)).collect();
        Ok(Self { keys: keys? })
    }

    /// Checks a detached signature of `bytes`, as `cosign sign-blob` writes it: in base64, or
    /// in a Sigstore bundle.
    ///
    /// # Errors
    ///
    /// If no trusted key has made it.
    pub fn verify(&self, bytes: &[u8], signature: &str) -> Result<&SignedBy, TrustError> {
        let of_bundle = signature_of_file(signature);
        let signature = of_bundle.as_deref().unwrap_or(signature);
        let signature = BASE64_STANDARD.decode(signature.trim_ascii());
        let signature = signature.map_err(|_| TrustError::OtherKey)?;
        let mut keys = self.keys.iter();
        let key = keys.find(|key| key.has_signed(bytes, &signature));
        key.map(|key| &key.id).ok_or(TrustError::OtherKey)
    }

    /// Checks the bytes of a file against the detached signature beside it: `x.wasm.sig` for
    /// `x.wasm`. The bytes are given, so that they are those that are then used.
    ///
    /// # Errors
    ///
    /// If there is no signature, or no trusted key has made it.
    pub fn verify_file(&self, path: &Path, bytes: &[u8]) -> Result<&SignedBy, TrustError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".sig");
        let beside = PathBuf::from(beside);
        let signature = read(&beside, MOST_FILE).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => TrustError::Unsigned,
            _ => TrustError::Signature {
                path: beside,
                reason: error.to_string(),
            },
        })?;
        let signature = std::str::from_utf8(&signature).map_err(|_| TrustError::OtherKey)?;
        self.verify(bytes, signature)
    }

    /// Checks that a statement about an artifact with this digest is by a trusted key. It is
    /// parsed only then.
    pub(crate) fn verify_statement(
        &self,
        digest: &Digest,
        statement: &Statement,
    ) -> Result<&SignedBy, TrustError> {
        let key = self.verify(&statement.signed(), &statement.signature)?;
        if statement.is_about(digest) {
            Ok(key)
        } else {
            Err(TrustError::OtherContent)
        }
    }
}

impl Key {
    fn load(path: &Path) -> Result<Self, TrustError> {
        let error = |reason: String| TrustError::Key {
            path: path.to_owned(),
            reason,
        };
        let pem = read(path, MOST_FILE).map_err(|reason| error(reason.to_string()))?;
        let mut keys = SubjectPublicKeyInfoDer::pem_slice_iter(&pem);
        let (Some(Ok(key)), None) = (keys.next(), keys.next()) else {
            let expected = "it must be one public key in PEM (`BEGIN PUBLIC KEY`)";
            return Err(error(expected.to_owned()));
        };
        let key = Self {
            id: SignedBy {
                key: path.to_owned(),
                fingerprint: Digest::of(&key),
            },
            key,
        };
        if key.is_supported() {
            Ok(key)
        } else {
            Err(error(
                "it must be of ECDSA (P-256 or P-384), Ed25519 or RSA".to_owned(),
            ))
        }
    }

    /// Whether an algorithm fits the key: then an empty signature is wrong, and not
    /// unsupported.
    fn is_supported(&self) -> bool {
        let mut errors = ALGORITHMS
            .iter()
            .map(|algorithm| self.check(*algorithm, b"", b""));
        errors.any(|result| result == Err(webpki::Error::InvalidSignatureForPublicKey))
    }

    fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let mut algorithms = ALGORITHMS.iter();
        algorithms.any(|algorithm| self.check(*algorithm, bytes, signature).is_ok())
    }

    fn check(
        &self,
        algorithm: &dyn SignatureVerificationAlgorithm,
        bytes: &[u8],
        signature: &[u8],
    ) -> Result<(), webpki::Error> {
        let key = RawPublicKeyEntity::try_from(&self.key)?;
        key.verify_signature(algorithm, bytes, signature)
    }
}
