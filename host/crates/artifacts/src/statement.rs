//! Statements about artifacts, as cosign makes and signs them.
//!
//! There are two forms. Up to version 2, a statement is a JSON document of the format
//! "simple signing", and that is what is signed. From version 3 on, it is an in-toto
//! statement in a DSSE envelope in a Sigstore bundle, and what is signed is the statement
//! with its type.
//!
//! This module must not know keys. Nothing of a statement is parsed here before its
//! signature was checked: call [`Statement::is_about`] only then.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use predictor::Digest;
use serde::{Deserialize, Serialize};

use crate::reference::parse_digest;

/// How the types of Sigstore bundles begin; a version follows.
pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";

/// The types that a signed artifact's statement has, in each form. Others say something
/// else about it, such as what it was built from.
const SIMPLE_SIGNING_TYPE: &str = "cosign container image signature";
const IN_TOTO_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The type of an in-toto statement in an envelope.
const IN_TOTO_PAYLOAD: &str = "application/vnd.in-toto+json";

/// A statement and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Statement {
    pub(crate) form: Form,
    pub(crate) payload: Vec<u8>,
    /// In base64.
    pub(crate) signature: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Form {
    SimpleSigning,
    InToto,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Option<Envelope>,
    message_signature: Option<MessageSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize)]
struct MessageSignature {
    signature: String,
}

impl Statement {
    /// The statement in a bundle, if there is one of the supported form.
    pub(crate) fn of_bundle(bundle: &[u8]) -> Option<Self> {
        let bundle: Bundle = serde_json::from_slice(bundle).ok()?;
        let envelope = bundle.dsse_envelope?;
        // A bundle has one signature.
        let [EnvelopeSignature { sig }] = <[_; 1]>::try_from(envelope.signatures).ok()?;
        (envelope.payload_type == IN_TOTO_PAYLOAD).then_some(())?;
        Some(Self {
            form: Form::InToto,
            payload: BASE64_STANDARD.decode(envelope.payload).ok()?,
            signature: sig,
        })
    }

    /// The bytes that are signed.
    pub(crate) fn signed(&self) -> Cow<'_, [u8]> {
        match self.form {
            Form::SimpleSigning => Cow::Borrowed(&self.payload),
            Form::InToto => {
                let (kind, length) = (IN_TOTO_PAYLOAD, self.payload.len());
                let head = format!("DSSEv1 {} {kind} {length} ", kind.len());
                Cow::Owned([head.as_bytes(), &self.payload].concat())
            }
        }
    }

    /// Whether it says that an artifact with this digest was signed.
    pub(crate) fn is_about(&self, digest: &Digest) -> bool {
        let is_about = match self.form {
            Form::SimpleSigning => simple_signing(&self.payload, digest),
            Form::InToto => in_toto(&self.payload, digest),
        };
        is_about.unwrap_or(false)
    }
}

/// The signature of a file in a bundle, in base64.
pub(crate) fn signature_of_file(bundle: &str) -> Option<String> {
    let bundle: Bundle = serde_json::from_str(bundle).ok()?;
    Some(bundle.message_signature?.signature)
}

fn simple_signing(payload: &[u8], digest: &Digest) -> serde_json::Result<bool> {
    #[derive(Deserialize)]
    struct Payload {
        critical: Critical,
    }
    #[derive(Deserialize)]
    struct Critical {
        image: Image,
        #[serde(rename = "type")]
        kind: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Image {
        docker_manifest_digest: String,
    }
    let Payload { critical } = serde_json::from_slice(payload)?;
    let signed = parse_digest(&critical.image.docker_manifest_digest);
    Ok(critical.kind == SIMPLE_SIGNING_TYPE && signed.as_ref() == Ok(digest))
}

fn in_toto(payload: &[u8], digest: &Digest) -> serde_json::Result<bool> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload {
        predicate_type: String,
        subject: Vec<Subject>,
    }
    #[derive(Deserialize)]
    struct Subject {
        digest: Digests,
    }
    #[derive(Deserialize)]
    struct Digests {
        sha256: String,
    }
    let payload: Payload = serde_json::from_slice(payload)?;
    let mut subjects = payload.subject.iter();
    let is_subject = subjects.any(|subject| subject.digest.sha256.parse().as_ref() == Ok(digest));
    Ok(payload.predicate_type == IN_TOTO_TYPE && is_subject)
}
