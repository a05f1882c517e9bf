//! The settings of a listener: its certificate and key, and whose clients it admits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};

use crate::{TlsError, authorities, provider, read};

/// What clients may ask for by ALPN; others get HTTP/1.1 as well.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The start of a key that needs a passphrase, in its two forms.
const ENCRYPTED: [&str; 2] = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"];

/// The files of a listener, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// Its certificate, followed by those between it and its authority.
    pub certificate: PathBuf,
    /// The private key of the certificate, not encrypted.
    pub key: PathBuf,
    /// The authorities whose clients are admitted; `None` to ask clients for no certificate.
    pub client_authorities: Option<PathBuf>,
}

/// The content of a listener's files.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerPem {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_authorities: Option<Vec<u8>>,
}

impl ServerFiles {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// If one of them cannot be read, or is far too large.
    pub fn read(&self) -> Result<ServerPem, TlsError> {
        let authorities = self.client_authorities.as_deref().map(read);
        Ok(ServerPem {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
            client_authorities: authorities.transpose()?,
        })
    }

    /// The settings that the content of the files makes. Clients are offered HTTP/2 and
    /// HTTP/1.1.
    ///
    /// # Errors
    ///
    /// If there is no certificate or no key in them, if the key is encrypted or another
    /// certificate's, or if something is broken.
    pub fn settings(&self, pem: &ServerPem) -> Result<ServerConfig, TlsError> {
        let in_file = |path: &Path| {
            let path = path.to_owned();
            move |fault| TlsError::InFile { path, fault }
        };
        let chain = authorities::certificates_in(&pem.certificate);
        let chain = chain.map_err(in_file(&self.certificate))?;
        let key = self.private_key(&pem.key)?;
        let certified = CertifiedKey::from_der(chain, key, &provider());
        let certified = certified.map_err(|error| self.explain(error))?;
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(settings)?;
        let builder = match (&pem.client_authorities, &self.client_authorities) {
            (Some(content), Some(path)) => {
                let roots = authorities::roots(content, RootCertStore::empty());
                let roots = Arc::new(roots.map_err(in_file(path))?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                builder.with_client_cert_verifier(verifier.build().map_err(settings)?)
            }
            _ => builder.with_no_client_auth(),
        };
        let resolver = rustls::sign::SingleCertAndKey::from(certified);
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }

    fn private_key(&self, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
        let text = String::from_utf8_lossy(pem);
        if ENCRYPTED.iter().any(|start| text.contains(start)) {
            return Err(TlsError::Encrypted(self.key.clone()));
        }
        // A file of a certificate and its key will do for both.
        let is_key = |kind: &SectionKind| {
            use SectionKind::{EcPrivateKey, PrivateKey, RsaPrivateKey};
            matches!(kind, PrivateKey | RsaPrivateKey | EcPrivateKey)
        };
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, content) = section.map_err(|error| self.unusable_key(error.to_string()))?;
            if is_key(&kind) {
                let key = PrivateKeyDer::from_pem(kind, content);
                return key.ok_or_else(|| TlsError::NoKey(self.key.clone()));
            }
        }
        Err(TlsError::NoKey(self.key.clone()))
    }

    fn unusable_key(&self, reason: String) -> TlsError {
        let path = self.key.clone();
        TlsError::Key { path, reason }
    }

    fn explain(&self, error: Error) -> TlsError {
        match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
            },
            Error::InvalidCertificate(fault) => TlsError::InFile {
                path: self.certificate.clone(),
                fault: crate::CertificatesError::Invalid(format!("{fault:?}")),
            },
            other => self.unusable_key(other.to_string()),
        }
    }
}

fn settings(error: impl std::error::Error) -> TlsError {
    TlsError::Settings(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tempfile::TempDir;

    /// Two certificates with their keys, and broken files, in a directory.
    fn files() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        for name in ["a", "b"] {
            let made = generate_simple_self_signed([format!("{name}.example")]).unwrap();
            let CertifiedKey { cert, signing_key } = made;
            write(&format!("{name}.crt"), &cert.pem());
            write(&format!("{name}.key"), &signing_key.serialize_pem());
            let both = format!("{}{}", cert.pem(), signing_key.serialize_pem());
            write(&format!("{name}.pem"), &both);
        }
        write("empty", "nothing");
        let block = |name: &str| format!("-----BEGIN {name}-----\nAAAA\n-----END {name}-----\n");
        write("broken.crt", &block("CERTIFICATE"));
        write("broken.key", &block("PRIVATE KEY"));
        write("encrypted.key", &block("ENCRYPTED PRIVATE KEY"));
        dir
    }

    fn of(dir: &TempDir, [certificate, key]: [&str; 2], clients: Option<&str>) -> ServerFiles {
        ServerFiles {
            certificate: dir.path().join(certificate),
            key: dir.path().join(key),
            client_authorities: clients.map(|name| dir.path().join(name)),
        }
    }

    fn load(files: &ServerFiles) -> Result<ServerConfig, TlsError> {
        files.settings(&files.read()?)
    }

    #[test]
    fn a_pair_offers_http_2_and_1() {
        let dir = files();
        for names in [["a.crt", "a.key"], ["b.pem", "b.pem"]] {
            for clients in [None, Some("b.crt")] {
                let config = load(&of(&dir, names, clients)).unwrap();
                assert_eq!(config.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
            }
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_file() {
        let dir = files();
        for (names, clients, words) in [
            (
                ["absent", "a.key"],
                None,
                ["absent cannot be read", "No such file"],
            ),
            (
                ["a.crt", "absent"],
                None,
                ["absent cannot be read", "No such file"],
            ),
            (["empty", "a.key"], None, ["empty", "no certificate in PEM"]),
            (["a.key", "a.key"], None, ["a.key", "no certificate in PEM"]),
            (
                ["broken.crt", "a.key"],
                None,
                ["broken.crt", "cannot be used"],
            ),
            (["a.crt", "empty"], None, ["empty", "no private key"]),
            (["a.crt", "a.crt"], None, ["a.crt", "no private key"]),
            (
                ["a.crt", "broken.key"],
                None,
                ["broken.key", "cannot be used"],
            ),
            (
                ["a.crt", "encrypted.key"],
                None,
                ["encrypted.key", "is encrypted"],
            ),
            (
                ["a.crt", "b.key"],
                None,
                ["b.key", "does not belong to the certificate in"],
            ),
            (
                ["a.crt", "a.key"],
                Some("empty"),
                ["empty", "no certificate in PEM"],
            ),
            (
                ["a.crt", "a.key"],
                Some("broken.crt"),
                ["broken.crt", "cannot be used"],
            ),
            (
                ["a.crt", "a.key"],
                Some("absent"),
                ["absent cannot be read", "No such file"],
            ),
        ] {
            let error = load(&of(&dir, names, clients)).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{names:?}: {error}");
            }
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn endless_files_are_not_read_to_their_end() {
        let dir = files();
        let endless = of(&dir, ["/dev/zero", "a.key"], None);
        let error = load(&endless).unwrap_err().to_string();
        assert!(error.contains("more than 1048576 bytes"), "{error}");
    }
}
