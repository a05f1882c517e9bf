//! The signatures of an artifact in its registry, where cosign puts them: an artifact of
//! their own, with a layer for each.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::error::ArtifactError;
use crate::manifest::{self, Blob};
use crate::reference::PinnedReference;
use crate::registry::Registry;
use crate::trust::{Signature, SignedBy, Trust};

/// The type of a layer that is a statement in the format "simple signing", and where its
/// signature is.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// How many signatures of an artifact are looked at, and the largest statement in bytes.
const MOST_SIGNATURES: usize = 32;
const MOST_STATEMENT: usize = 64 << 10;

impl Registry {
    /// The signatures of an artifact, and the trusted key that has made one of them.
    pub(crate) async fn signatures(
        &self,
        reference: &PinnedReference,
        trust: &Trust,
    ) -> Result<(Vec<Signature>, SignedBy), ArtifactError> {
        let found = self
            .client
            .retry(async || self.find_signatures(reference).await);
        let found = match found.await {
            Ok(found) => found,
            Err(ArtifactError::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        match trust.verify_artifact(&reference.digest(), &found) {
            Ok(key) => Ok((found, key.clone())),
            Err(reason) => Err(ArtifactError::Untrusted {
                what: reference.to_string(),
                reason,
            }),
        }
    }

    /// The signatures that are beside an artifact, where cosign puts them. What is not a
    /// signature is left out.
    async fn find_signatures(
        &self,
        reference: &PinnedReference,
    ) -> Result<Vec<Signature>, ArtifactError> {
        let place = reference.place();
        let tag = format!("sha256-{}.sig", reference.digest());
        let document = self.client.tagged_manifest(place, &tag).await?;
        let document = manifest::parse(&document).map_err(|fault| ArtifactError::Unusable {
            reference: format!("{place}:{tag}"),
            fault,
        })?;
        let mut signatures = Vec::new();
        let layers = document.layers.iter();
        let layers = layers.filter(|layer| layer.media_type == SIMPLE_SIGNING);
        for layer in layers.take(MOST_SIGNATURES) {
            let signature = layer.annotation(SIGNATURE);
            let signature = signature.filter(|text| BASE64_STANDARD.decode(text).is_ok());
            let (Some(signature), Ok(blob)) = (signature, Blob::of(layer, "a signature")) else {
                continue;
            };
            let payload = self.client.small_blob(place, &blob, MOST_STATEMENT).await?;
            signatures.push(Signature {
                payload,
                signature: signature.to_owned(),
            });
        }
        Ok(signatures)
    }
}
