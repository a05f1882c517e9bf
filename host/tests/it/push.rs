//! `fastsentiment push` at a real registry.

use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;
use testing::registry::RegistryServer;

use crate::harness::{fixture, guest_path};
use crate::server_process::bare;

fn push(arguments: &[&str]) -> Output {
    bare().arg("push").args(arguments).output().unwrap()
}

/// The reference that a command printed.
fn pushed(arguments: &[&str]) -> String {
    let output = push(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn what_is_pushed_is_named_by_its_digest() {
    let dir = TempDir::new().unwrap();
    let registry = RegistryServer::start(dir.path(), "");
    let address = registry.address.as_str();
    let plain = ["--registry-plain-http", address];
    let model = fixture("tiny-bert");
    for (option, path) in [("--guest", guest_path()), ("--model", model.as_path())] {
        let repository = option.trim_start_matches('-');
        let reference = format!("oci://{address}/{repository}:v1");
        let arguments = [&plain[..], &[&reference, option, path.to_str().unwrap()]].concat();
        let line = pushed(&arguments);
        let digest = line
            .trim_end()
            .strip_prefix(&format!("{reference}@"))
            .unwrap();
        // The registry has it under both names.
        for name in ["v1", digest] {
            let url = format!("http://{address}/v2/{repository}/manifests/{name}");
            let accepted = "application/vnd.oci.image.manifest.v1+json";
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let answer = client
                .get(url)
                .header("Accept", accepted)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["docker-content-digest"], digest);
            let manifest: Value = answer.json().await.unwrap();
            assert!(!manifest["layers"].as_array().unwrap().is_empty());
        }
        assert_eq!(pushed(&arguments), line);
    }
}

#[test]
fn an_exit_code_says_who_is_at_fault() {
    let dir = TempDir::new().unwrap();
    let users = dir.path().join("users");
    std::fs::write(&users, "").unwrap();
    let auth = format!(
        "auth:\n  htpasswd:\n    realm: x\n    path: {}\n",
        users.display()
    );
    let registry = RegistryServer::start(dir.path(), &auth);
    let address = registry.address.as_str();
    let reference = format!("oci://{address}/guest:v1");
    let guest = ["--guest", guest_path().to_str().unwrap()];
    let plain = ["--registry-plain-http", address];
    for (arguments, code, words) in [
        (
            [&[&reference], &guest[..], &plain].concat(),
            3,
            "denies access",
        ),
        // It has no TLS.
        ([&[&reference], &guest[..]].concat(), 1, "cannot be reached"),
        (vec![&reference], 2, "--guest"),
        ([&["guest:v1"], &guest[..]].concat(), 2, "oci://"),
        (
            [&[&reference], &guest[..], &["--model", "x"]].concat(),
            2,
            "--model",
        ),
        (
            vec![&reference, "--model", "missing"],
            1,
            "missing cannot be pushed",
        ),
    ] {
        let output = push(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
}
