//! Signatures as cosign makes them from version 3 on: Sigstore bundles.

use std::fs;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fastsentiment_artifacts::{ArtifactError, PinnedReference, TrustError};
use predictor::Digest;
use serde_json::{Value, json};

use crate::faulty::{Action, Faulty, answer};
use crate::server::Server;
use crate::signer::{EC, Signer};
use crate::tools::{put_blob, put_manifest};
use crate::{MOST, at, client, component, push_guest};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
const IN_TOTO: &str = "application/vnd.in-toto+json";

#[test]
fn a_file_is_verified_by_its_bundle() {
    let signer = Signer::new(EC);
    let file = signer.dir.path().join("x.wasm");
    let bundle = |signature: &str| {
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": []},
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": "AAAA"},
                "signature": signature,
            },
        })
    };
    let beside = signer.dir.path().join("x.wasm.sig");
    fs::write(&beside, bundle(&signer.sign(b"code")).to_string()).unwrap();
    let trust = signer.trust();
    let key = trust.verify_file(&file, b"code").unwrap();
    assert_eq!(key.key, signer.public());
    let error = trust.verify_file(&file, b"Code").cloned();
    assert_eq!(error, Err(TrustError::OtherKey));
    for wrong in ["{}", "{\"messageSignature\":{}}", "{\"dsseEnvelope\":7}"] {
        fs::write(&beside, wrong).unwrap();
        let error = trust.verify_file(&file, b"code").cloned();
        assert_eq!(error, Err(TrustError::OtherKey), "{wrong}");
    }
}

/// A bundle that says something about an artifact.
fn bundle(signer: &Signer, digest: &Digest, predicate: &str) -> Value {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.to_string()}}],
        "predicateType": predicate,
        "predicate": {},
    });
    let statement = statement.to_string();
    // The encoding that DSSE signs.
    let encoded = format!("DSSEv1 28 {IN_TOTO} {} {statement}", statement.len());
    json!({
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": "x"}},
        "dsseEnvelope": {
            "payload": BASE64_STANDARD.encode(&statement),
            "payloadType": IN_TOTO,
            "signatures": [{"sig": signer.sign(encoded.as_bytes())}],
        },
    })
}

/// Puts bundles into a registry. Returns the index that refers to them.
fn attach(server: &Server, bundles: &[Value]) -> Value {
    let config = put_blob(&server.address, "guest", b"{}");
    let put = |bundle: &Value| {
        let bundle = bundle.to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": BUNDLE,
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": config,
                "size": 2,
            },
            "layers": [{
                "mediaType": BUNDLE,
                "digest": put_blob(&server.address, "guest", bundle.as_bytes()),
                "size": bundle.len(),
            }],
        });
        let digest = Digest::of(manifest.to_string().as_bytes());
        put_manifest(
            &server.address,
            "guest",
            &format!("sha256:{digest}"),
            &manifest,
        );
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": BUNDLE,
            "digest": format!("sha256:{digest}"),
            "size": manifest.to_string().len(),
        })
    };
    let manifests: Vec<_> = bundles.iter().map(put).collect();
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    })
}

/// A registry with the list of referrers that `index` is, or that cannot list any.
fn listing(server: &Server, index: Value) -> Faulty {
    Faulty::start(&server.address, move |request| {
        if request.path.contains("/referrers/") {
            answer("200 OK", &[], index.to_string().as_bytes())
        } else {
            Action::Forward
        }
    })
}

async fn signed_by(
    proxy: &Faulty,
    pushed: &PinnedReference,
    signer: &Signer,
) -> Result<(), ArtifactError> {
    let (_dir, registry) = client(&[&proxy.address]);
    let trust = signer.trust();
    let pinned = at(&proxy.address, pushed);
    let guest = registry.pull_guest(&pinned, Some(&trust), MOST).await?;
    assert_eq!(guest.signed_by.unwrap().key, signer.public());
    Ok(())
}

#[tokio::test]
async fn an_artifact_is_verified_by_a_bundle_that_refers_to_it() {
    let server = Server::plain();
    let pushed = push_guest(&server, "guest", &component(1000)).await;
    let [signer, other] = [Signer::new(EC), Signer::new(EC)];
    let digest = pushed.digest();
    let good = bundle(&signer, &digest, SIGNED);
    let mut changed = good.clone();
    changed["dsseEnvelope"]["payloadType"] = "text/plain".into();
    let mut twice = good.clone();
    let signature = twice["dsseEnvelope"]["signatures"][0].clone();
    twice["dsseEnvelope"]["signatures"] = json!([signature, signature]);
    for (bundles, reason) in [
        (vec![], TrustError::Unsigned),
        (vec![json!({}), changed, twice], TrustError::Unsigned),
        (vec![bundle(&other, &digest, SIGNED)], TrustError::OtherKey),
        (
            vec![bundle(&signer, &Digest::EMPTY, SIGNED)],
            TrustError::OtherContent,
        ),
        // It says where the artifact comes from, and not that it is good.
        (
            vec![bundle(&signer, &digest, "https://slsa.dev/provenance/v1")],
            TrustError::OtherContent,
        ),
    ] {
        let proxy = listing(&server, attach(&server, &bundles));
        let error = signed_by(&proxy, &pushed, &signer).await.unwrap_err();
        assert!(
            matches!(&error, ArtifactError::Untrusted { reason: is, .. } if *is == reason),
            "{error}, expected {reason}"
        );
    }
    let bundles = [bundle(&other, &digest, SIGNED), good];
    let index = attach(&server, &bundles);
    // One that was removed since is no obstacle.
    let mut listed = index.clone();
    let removed = json!({"digest": format!("sha256:{}", Digest::EMPTY)});
    listed["manifests"]
        .as_array_mut()
        .unwrap()
        .insert(0, removed);
    signed_by(&listing(&server, listed), &pushed, &signer)
        .await
        .unwrap();

    // This registry cannot list them, so they are in an index with a tag.
    let proxy = Faulty::start(&server.address, |_| Action::Forward);
    let error = signed_by(&proxy, &pushed, &signer).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Untrusted { .. }), "{error}");
    put_manifest(
        &server.address,
        "guest",
        &format!("sha256-{digest}"),
        &index,
    );
    signed_by(&proxy, &pushed, &signer).await.unwrap();
}

#[tokio::test]
async fn a_list_of_referrers_that_lies_is_no_signature() {
    let server = Server::plain();
    let pushed = push_guest(&server, "guest", &component(1000)).await;
    let signer = Signer::new(EC);
    let missing = json!({"manifests": [{"digest": format!("sha256:{}", Digest::EMPTY)}]});
    let wrong = json!({"manifests": [{"digest": "../../x"}, {"digest": "sha512:00"}]});
    for index in [missing, wrong, json!([]), json!("<html>")] {
        let error = signed_by(&listing(&server, index), &pushed, &signer)
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                ArtifactError::Untrusted {
                    reason: TrustError::Unsigned,
                    ..
                }
            ),
            "{error}"
        );
    }
}
