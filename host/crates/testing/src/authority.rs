//! Certificates.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// An authority, and the directory of the certificates that it has signed: a path, or one that
/// goes with it.
pub struct Authority<D> {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: D,
}

impl<D: AsRef<Path>> Authority<D> {
    /// Makes one with the certificate `ca.pem`.
    pub fn new(dir: D) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Named, for a certificate with the name of its issuer counts as its own.
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "An authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, dir };
        std::fs::write(authority.file("ca.pem"), authority.pem()).unwrap();
        authority
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Where a file of the directory is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.as_ref().join(name)
    }

    /// Makes `NAME.crt` and `NAME.key` for hosts.
    pub fn sign(&self, name: &str, hosts: &[&str]) {
        let key = KeyPair::generate().unwrap();
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(hosts).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file(&format!("{name}.crt")), leaf.pem()).unwrap();
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}
