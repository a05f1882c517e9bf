//! Signatures as cosign makes them up to version 2.

use std::fs;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fastsentiment_artifacts::{ArtifactError, Kind, PinnedReference, Trust, TrustError};
use predictor::Digest;
use serde_json::json;
use tempfile::TempDir;

use crate::faulty::{Action, Faulty, answer};
use crate::server::Server;
use crate::signer::{EC, ED25519, P384, RSA, Signer, openssl};
use crate::tools::{put_blob, put_manifest};
use crate::{MOST, at, client, component, push_guest};

#[test]
fn a_file_is_verified_with_every_kind_of_key() {
    for kind in [EC, P384, RSA, ED25519] {
        let [signer, other] = [Signer::new(kind), Signer::new(EC)];
        let file = signer.dir.path().join("x.wasm");
        let beside = signer.dir.path().join("x.wasm.sig");
        let trust = Trust::load(&[other.public(), signer.public()]).unwrap();
        let verify = |bytes: &[u8]| trust.verify_file(&file, bytes).cloned();
        assert_eq!(verify(b"code"), Err(TrustError::Unsigned));

        fs::write(&beside, signer.sign(b"code") + "\n").unwrap();
        let key = verify(b"code").unwrap();
        assert_eq!(key.key, signer.public());
        let public = signer.public();
        let public = public.to_str().unwrap();
        let der = openssl(&["pkey", "-pubin", "-in", public, "-outform", "DER"]);
        assert_eq!(key.fingerprint, Digest::of(&der));

        // Another content, another key, and what is no signature.
        assert_eq!(verify(b"Code"), Err(TrustError::OtherKey));
        assert_eq!(verify(b""), Err(TrustError::OtherKey));
        let only_other = Trust::load(&[other.public()]).unwrap();
        let error = only_other.verify_file(&file, b"code").cloned();
        assert_eq!(error, Err(TrustError::OtherKey));
        for wrong in [&b""[..], b"!", b"AAAA", &[0xff; 8]] {
            fs::write(&beside, wrong).unwrap();
            assert_eq!(verify(b"code"), Err(TrustError::OtherKey));
        }
        fs::write(&beside, vec![b'A'; 100_000]).unwrap();
        let error = verify(b"code").unwrap_err();
        assert!(matches!(error, TrustError::Signature { .. }), "{error}");
    }
}

#[test]
fn rsa_signatures_with_pss_are_verified_too() {
    let signer = Signer::new(RSA);
    let (private, message) = (signer.path("key.pem"), signer.path("message"));
    fs::write(&message, "code").unwrap();
    let pss = [
        "-sigopt",
        "rsa_padding_mode:pss",
        "-sigopt",
        "rsa_pss_saltlen:digest",
    ];
    let sign = ["dgst", "-sha256", "-sign", &private];
    let signature = openssl(&[&sign[..], &pss, &[message.as_str()]].concat());
    let signature = BASE64_STANDARD.encode(signature);
    signer.trust().verify(b"code", &signature).unwrap();
    assert_eq!(
        signer.trust().verify(b"Code", &signature),
        Err(TrustError::OtherKey)
    );
}

#[test]
fn a_key_that_cannot_be_used_is_named() {
    assert_eq!(Trust::load(&[]).unwrap_err(), TrustError::NoKeys);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("key");
    let signer = Signer::new(EC);
    let public = fs::read(signer.public()).unwrap();
    let secp256k1 = Signer::new(&["EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"]);
    let x25519 = Signer::new(&["X25519"]);
    for contents in [
        b"".to_vec(),
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_vec(),
        fs::read(signer.path("key.pem")).unwrap(),
        public.repeat(2),
        fs::read(secp256k1.public()).unwrap(),
        fs::read(x25519.public()).unwrap(),
    ] {
        fs::write(&path, contents).unwrap();
        let error = Trust::load(&[signer.public(), path.clone()]).unwrap_err();
        assert!(
            matches!(&error, TrustError::Key { path: named, .. } if *named == path),
            "{error}"
        );
    }
}

/// What cosign signs.
fn statement(digest: &Digest, kind: &str) -> Vec<u8> {
    let statement = json!({
        "critical": {
            "identity": {"docker-reference": "registry.example/guest"},
            "image": {"docker-manifest-digest": format!("sha256:{digest}")},
            "type": kind,
        },
        "optional": null,
    });
    serde_json::to_vec(&statement).unwrap()
}

const KIND: &str = "cosign container image signature";

/// A statement, and its signature.
type Signed = (Vec<u8>, String);

/// Puts signatures where cosign does.
fn attach(server: &Server, pinned: &PinnedReference, signatures: &[Signed]) {
    let config = put_blob(&server.address, "guest", b"{}");
    let layers: Vec<_> = signatures
        .iter()
        .map(|(payload, signature)| {
            json!({
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "digest": put_blob(&server.address, "guest", payload),
                "size": payload.len(),
                "annotations": {"dev.cosignproject.cosign/signature": signature},
            })
        })
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config,
            "size": 2,
        },
        "layers": layers,
    });
    let tag = format!("sha256-{}.sig", pinned.digest());
    put_manifest(&server.address, "guest", &tag, &manifest);
}

#[tokio::test]
async fn an_artifact_is_pulled_if_a_trusted_key_has_signed_it() {
    let server = Server::plain();
    let component = component(1000);
    let pushed = push_guest(&server, "guest", &component).await;
    let [signer, other] = [Signer::new(EC), Signer::new(EC)];
    let proxy = Faulty::start(&server.address, |_| Action::Forward);
    let (dir, registry) = client(&[&proxy.address]);
    let pinned = at(&proxy.address, &pushed);
    let trust = signer.trust();
    let digest = pushed.digest();
    let good = statement(&digest, KIND);
    let elsewhere = statement(&Digest::EMPTY, KIND);
    let another = statement(&digest, "something else");
    let cases: [(Option<Vec<Signed>>, TrustError); 7] = [
        (None, TrustError::Unsigned),
        (Some(vec![]), TrustError::Unsigned),
        (
            Some(vec![(good.clone(), other.sign(&good))]),
            TrustError::OtherKey,
        ),
        (
            Some(vec![(good.clone(), signer.sign(&elsewhere))]),
            TrustError::OtherKey,
        ),
        (
            Some(vec![(elsewhere.clone(), signer.sign(&elsewhere))]),
            TrustError::OtherContent,
        ),
        (
            Some(vec![(another.clone(), signer.sign(&another))]),
            TrustError::OtherContent,
        ),
        (
            Some(vec![(b"not JSON".to_vec(), signer.sign(b"not JSON"))]),
            TrustError::OtherContent,
        ),
    ];
    for (signatures, reason) in cases {
        if let Some(signatures) = &signatures {
            attach(&server, &pushed, signatures);
        }
        let error = registry
            .pull_guest(&pinned, Some(&trust), MOST)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, ArtifactError::Untrusted { reason: is, .. } if *is == reason),
            "{error}, expected {reason}"
        );
        assert_eq!(error.kind(), Kind::Final);
        // Nothing of the artifact itself was asked for.
        let asked = format!("/manifests/sha256:{digest}");
        assert!(!proxy.seen().iter().any(|seen| seen.path.ends_with(&asked)));
    }

    let signatures = [
        (elsewhere.clone(), signer.sign(&elsewhere)),
        (good.clone(), "not base64!".to_owned()),
        (good.clone(), other.sign(&good)),
        (good.clone(), signer.sign(&good)),
    ];
    attach(&server, &pushed, &signatures);
    let guest = registry
        .pull_guest(&pinned, Some(&trust), MOST)
        .await
        .unwrap();
    assert!(guest.component == component);
    assert_eq!(guest.signed_by.unwrap().key, signer.public());

    // What is on disk is verified again, without the registry.
    drop((server, proxy));
    let guest = registry
        .pull_guest(&pinned, Some(&trust), MOST)
        .await
        .unwrap();
    assert_eq!(guest.signed_by.unwrap().key, signer.public());
    let kept = dir.path().join("store").join(digest.to_string());
    fs::write(kept.join(".signature.json"), "{}").unwrap();
    let error = registry
        .pull_guest(&pinned, Some(&trust), MOST)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ArtifactError::Unreachable { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn an_artifact_that_was_pulled_without_keys_is_not_trusted_later() {
    let server = Server::plain();
    let pushed = push_guest(&server, "guest", &component(1000)).await;
    let (_dir, registry) = client(&[&server.address]);
    registry.pull_guest(&pushed, None, MOST).await.unwrap();
    let signer = Signer::new(EC);
    let trust = signer.trust();
    let error = registry
        .pull_guest(&pushed, Some(&trust), MOST)
        .await
        .unwrap_err();
    assert!(matches!(error, ArtifactError::Untrusted { .. }), "{error}");
    // It may be signed afterwards.
    let good = statement(&pushed.digest(), KIND);
    attach(&server, &pushed, &[(good.clone(), signer.sign(&good))]);
    let guest = registry
        .pull_guest(&pushed, Some(&trust), MOST)
        .await
        .unwrap();
    assert_eq!(guest.signed_by.unwrap().key, signer.public());
}

#[tokio::test]
async fn a_registry_that_is_down_is_no_reason_to_trust() {
    let server = Server::plain();
    let pushed = push_guest(&server, "guest", &component(1000)).await;
    let proxy = Faulty::start(&server.address, |request| {
        if request.path.contains("/manifests/sha256-") {
            answer("503 Service Unavailable", &[], b"")
        } else {
            Action::Forward
        }
    });
    let (dir, registry) = client(&[&proxy.address]);
    let trust = Signer::new(EC).trust();
    let pinned = at(&proxy.address, &pushed);
    let error = registry
        .pull_guest(&pinned, Some(&trust), MOST)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Passing, "{error}");
    // Nothing is left of the attempt.
    let store = dir.path().join("store");
    assert_eq!(fs::read_dir(store).unwrap().count(), 0);
}
