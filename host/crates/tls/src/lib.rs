//! Reads certificates and keys from PEM files, and makes the settings of TLS from them: for the
//! listeners, for registries, and for Redis.
//!
//! Everything uses ring for cryptography, whatever a process has chosen as its default.
//!
//! This crate must not know sockets, HTTP or options.

mod authorities;
mod server;

pub use authorities::{certificates_in, roots, system_roots};
pub use server::{ServerFiles, ServerPem};

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};

/// Why certificates or a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// A file of certificates has none, or a broken one.
    #[error("{path}: {fault}")]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: CertificatesError,
    },
    /// A file of a key has none.
    #[error("{0} has no private key in PEM; it must begin with `-----BEGIN PRIVATE KEY-----`")]
    NoKey(PathBuf),
    /// The key needs a passphrase.
    #[error(
        "the private key in {0} is encrypted; decrypt it first, for example with `openssl pkey -in {0}`"
    )]
    Encrypted(PathBuf),
    /// The key is of a kind that TLS here does not use.
    #[error("the private key in {path} cannot be used: {reason}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The key is another certificate's.
    #[error("the private key in {key} does not belong to the certificate in {certificate}")]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// The settings contradict each other.
    #[error("TLS cannot be set up: {0}")]
    Settings(String),
}

/// Why a text is no list of certificates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificatesError {
    /// There is none.
    #[error("it has no certificate in PEM")]
    None,
    /// One of them is broken, or no authority's.
    #[error("a certificate cannot be used: {0}")]
    Invalid(String),
}

/// The most bytes of a file: far more than any chain of certificates has.
const LARGEST: u64 = 1 << 20;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Has libraries that ask for the process's default cryptography use this one.
pub fn install_default() {
    // An error means that there is a default already.
    let _ = ring::default_provider().install_default();
}

/// The settings of a client that trusts these authorities and shows no certificate.
///
/// # Errors
///
/// If the protocol versions do not fit the cryptography, which they do.
pub fn client(roots: RootCertStore) -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_provider(provider());
    let config = config
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Settings(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Reads a file of certificates or of a key.
///
/// # Errors
///
/// If it cannot be read, or is far too large.
pub fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |reason: String| TlsError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > LARGEST {
        return Err(unreadable(format!("it has more than {LARGEST} bytes")));
    }
    Ok(bytes)
}
