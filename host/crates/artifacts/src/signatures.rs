//! The signatures of an artifact in its registry, where cosign puts them: under a tag of
//! their own, or, from its version 3 on, in artifacts that refer to the signed one.

use hyper::Method;
use predictor::Digest;
use serde::Deserialize;

use crate::client::{Access, Call};
use crate::error::ArtifactError;
use crate::manifest::{self, Blob, MOST_MANIFEST, Manifest};
use crate::reference::{PinnedReference, parse_digest};
use crate::registry::Registry;
use crate::statement::{BUNDLE, Form, Statement};
use crate::trust::{SignedBy, Trust, TrustError};

/// The type of a layer that is a statement in the format "simple signing", and where its
/// signature is.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// How many signatures of an artifact are looked at in each place, and the largest one in
/// bytes.
const MOST_SIGNATURES: usize = 32;
const MOST_STATEMENT: usize = 128 << 10;

/// Artifacts that refer to another one.
#[derive(Deserialize)]
struct Referrers {
    manifests: Vec<Referrer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
    digest: String,
    artifact_type: Option<String>,
}

impl Registry {
    /// A signature of an artifact by a trusted key, and that key.
    pub(crate) async fn signature(
        &self,
        reference: &PinnedReference,
        trust: &Trust,
    ) -> Result<(Statement, SignedBy), ArtifactError> {
        let client = &self.client;
        let tagged = client.retry(|| self.tagged(reference)).await;
        let mut reason = match verify(trust, reference, found(tagged)?) {
            Ok(signature) => return Ok(signature),
            Err(reason) => reason,
        };
        let bundles = client.retry(|| self.bundles(reference)).await;
        match verify(trust, reference, found(bundles)?) {
            Ok(signature) => return Ok(signature),
            Err(TrustError::Unsigned) => {}
            Err(other) => reason = other,
        }
        Err(ArtifactError::Untrusted {
            what: reference.to_string(),
            reason,
        })
    }

    /// The statements under the tag `sha256-<digest>.sig`. What is not a statement is left
    /// out.
    async fn tagged(&self, reference: &PinnedReference) -> Result<Vec<Statement>, ArtifactError> {
        let place = reference.place();
        let tag = format!("sha256-{}.sig", reference.digest());
        let document = self.client.tagged_manifest(place, &tag).await?;
        let layers = manifest::parse(&document).map_or_else(|_| Vec::new(), |found| found.layers);
        let mut statements = Vec::new();
        let layers = layers.iter();
        let layers = layers.filter(|layer| layer.media_type == SIMPLE_SIGNING);
        for layer in layers.take(MOST_SIGNATURES) {
            let blob = Blob::of(layer, "a signature");
            if let (Some(signature), Ok(blob)) = (layer.annotation(SIGNATURE), blob) {
                let payload = self.client.small_blob(place, &blob, MOST_STATEMENT);
                statements.push(Statement {
                    form: Form::SimpleSigning,
                    payload: payload.await?,
                    signature: signature.to_owned(),
                });
            }
        }
        Ok(statements)
    }

    /// The statements in bundles that refer to an artifact. What is not a statement is left
    /// out.
    async fn bundles(&self, reference: &PinnedReference) -> Result<Vec<Statement>, ArtifactError> {
        let place = reference.place();
        let mut statements = Vec::new();
        for digest in self.referrers(reference).await? {
            let document = match self.client.manifest(place, &digest).await {
                // It was removed, and an index under a tag does not follow.
                Err(ArtifactError::NotFound { .. }) => continue,
                document => document?,
            };
            let Ok(Manifest { layers, .. }) = manifest::parse(&document) else {
                continue;
            };
            let layer = layers.first();
            let Some(layer) = layer.filter(|layer| layer.media_type.starts_with(BUNDLE)) else {
                continue;
            };
            if let Ok(blob) = Blob::of(layer, "a signature") {
                let bundle = self.client.small_blob(place, &blob, MOST_STATEMENT);
                statements.extend(Statement::of_bundle(&bundle.await?));
            }
        }
        Ok(statements)
    }

    /// The artifacts that refer to one and may be bundles: as the registry lists them, or as
    /// clients do, in an index under the tag `sha256-<digest>`, where it cannot.
    async fn referrers(&self, reference: &PinnedReference) -> Result<Vec<Digest>, ArtifactError> {
        let (place, digest) = (reference.place(), reference.digest());
        let url = self
            .client
            .url(place, &format!("referrers/sha256:{digest}"))?;
        let call = Call::new(Method::GET, url, place, Access::Pull);
        let answer = self.client.send(&call).await?;
        let index = match answer.success("a list of referrers").await {
            Ok(answer) => answer.read(MOST_MANIFEST).await?,
            Err(ArtifactError::NotFound { .. } | ArtifactError::Rejected { .. }) => {
                let tag = format!("sha256-{digest}");
                self.client.tagged_manifest(place, &tag).await?
            }
            Err(error) => return Err(error),
        };
        let index = serde_json::from_slice(&index);
        let all = index.map_or_else(|_| Vec::new(), |found: Referrers| found.manifests);
        let bundles = all.iter().filter(|referrer| {
            let kind = referrer.artifact_type.as_deref();
            kind.is_none_or(|kind| kind.starts_with(BUNDLE))
        });
        let digests = bundles.filter_map(|referrer| parse_digest(&referrer.digest).ok());
        Ok(digests.take(MOST_SIGNATURES).collect())
    }
}

/// What was found; nothing, if the registry does not have it.
fn found(result: Result<Vec<Statement>, ArtifactError>) -> Result<Vec<Statement>, ArtifactError> {
    match result {
        Err(ArtifactError::NotFound { .. }) => Ok(Vec::new()),
        result => result,
    }
}

fn verify(
    trust: &Trust,
    reference: &PinnedReference,
    statements: Vec<Statement>,
) -> Result<(Statement, SignedBy), TrustError> {
    let mut reason = TrustError::Unsigned;
    for statement in statements {
        match trust.verify_statement(&reference.digest(), &statement) {
            Ok(key) => {
                let key = key.clone();
                return Ok((statement, key));
            }
            // A trusted key's signature of something else tells more.
            Err(_) if reason == TrustError::OtherContent => {}
            Err(other) => reason = other,
        }
    }
    Err(reason)
}
