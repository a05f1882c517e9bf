//! Keys and signatures, made by the `openssl` command.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fastsentiment_artifacts::Trust;
use tempfile::TempDir;

pub(crate) const EC: &[&str] = &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub(crate) const P384: &[&str] = &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
pub(crate) const RSA: &[&str] = &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
pub(crate) const ED25519: &[&str] = &["ED25519"];

pub(crate) fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output();
    let output = output.expect("openssl can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    output.stdout
}

/// A pair of keys, and what signs with it.
pub(crate) struct Signer {
    pub(crate) dir: TempDir,
    kind: &'static [&'static str],
}

impl Signer {
    pub(crate) fn new(kind: &'static [&'static str]) -> Self {
        let dir = TempDir::new().unwrap();
        let signer = Self { dir, kind };
        let (private, public) = (signer.path("key.pem"), signer.public());
        let generate = ["genpkey", "-out", &private, "-algorithm"];
        openssl(&[&generate, kind].concat());
        let public = public.to_str().unwrap();
        openssl(&["pkey", "-in", &private, "-pubout", "-out", public]);
        signer
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn public(&self) -> PathBuf {
        self.dir.path().join("cosign.pub")
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::load(&[self.public()]).unwrap()
    }

    /// A signature in base64.
    pub(crate) fn sign(&self, bytes: &[u8]) -> String {
        let (private, message) = (self.path("key.pem"), self.path("message"));
        fs::write(&message, bytes).unwrap();
        let signature = if self.kind == ED25519 {
            openssl(&[
                "pkeyutl", "-sign", "-rawin", "-inkey", &private, "-in", &message,
            ])
        } else {
            openssl(&["dgst", "-sha256", "-sign", &private, &message])
        };
        BASE64_STANDARD.encode(signature)
    }
}
