//! The authorities whose certificates are trusted: the system's, and those of a file.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::CertificatesError;

/// All certificates of a text in PEM, at least one. What else is in it is ignored.
///
/// # Errors
///
/// If there is none, or a broken one.
pub fn certificates_in(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificatesError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| CertificatesError::Invalid(error.to_string()))?;
    if all.is_empty() {
        return Err(CertificatesError::None);
    }
    Ok(all)
}

/// Trusts the certificates of a text in PEM, in addition to those of `roots`.
///
/// # Errors
///
/// If there is none, or one that cannot be an authority's.
pub fn roots(pem: &[u8], mut roots: RootCertStore) -> Result<RootCertStore, CertificatesError> {
    for certificate in certificates_in(pem)? {
        let added = roots.add(certificate);
        added.map_err(|error| CertificatesError::Invalid(error.to_string()))?;
    }
    Ok(roots)
}

/// The authorities that the system trusts, and why some of them could not be read. A system
/// may have none.
pub fn system_roots() -> (RootCertStore, Vec<rustls_native_certs::Error>) {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems keep old ones that no library of today understands.
    roots.add_parsable_certificates(found.certs);
    (roots, found.errors)
}
