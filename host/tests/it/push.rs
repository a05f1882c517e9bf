//! `fastsentiment push` and `fastsentiment swap` at a real registry.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tempfile::TempDir;
use testing::registry::RegistryServer;

use crate::admin::swapping::on;
use crate::harness::{example_path, fixture, guest_path};
use crate::server_process::{ServerProcess, bare};

fn push(arguments: &[&str]) -> Output {
    bare().arg("push").args(arguments).output().unwrap()
}

/// The reference that a command printed.
pub(crate) fn pushed(arguments: &[&str]) -> String {
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
            let client = testing::client().build().unwrap();
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
    let to = reference.as_str();
    let guest = guest_path().to_str().unwrap();
    let plain = "--registry-plain-http";
    let cases: [(&[&str], i32, &str); 6] = [
        (&[to, "--guest", guest, plain, address], 3, "denies access"),
        // It has no TLS.
        (&[to, "--guest", guest], 1, "cannot be reached"),
        (&[to], 2, "--guest"),
        (&["guest:v1", "--guest", guest], 2, "oci://"),
        (&[to, "--guest", guest, "--model", "x"], 2, "--model"),
        (&[to, "--model", "missing"], 1, "missing cannot be pushed"),
    ];
    for (arguments, code, words) in cases {
        let output = push(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
}

/// A key pair of the kind that cosign makes: the files of the private and the public key.
pub(crate) fn keys(dir: &Path, name: &str) -> [PathBuf; 2] {
    let [private, public] = ["key", "pub"].map(|end| dir.join(format!("{name}.{end}")));
    let openssl = |arguments: &[&str]| {
        let made = Command::new("openssl").args(arguments).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    };
    let paths = [&private, &public].map(|path| path.to_str().unwrap());
    let curve = "ec_paramgen_curve:P-256";
    openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        curve,
        "-out",
        paths[0],
    ]);
    openssl(&["pkey", "-in", paths[0], "-pubout", "-out", paths[1]]);
    [private, public]
}

/// Signs a file as `cosign sign-blob` does.
pub(crate) fn sign(file: &Path, key: &Path) {
    let mut command = Command::new("openssl");
    command
        .args(["dgst", "-sha256", "-sign"])
        .arg(key)
        .arg(file);
    let signature = command.output().unwrap();
    assert!(signature.status.success(), "{signature:?}");
    let mut beside = file.as_os_str().to_owned();
    beside.push(".sig");
    std::fs::write(beside, BASE64_STANDARD.encode(signature.stdout)).unwrap();
}

#[tokio::test]
async fn what_was_pushed_is_swapped_in() {
    let dir = TempDir::new().unwrap();
    let registry = RegistryServer::start(dir.path(), "");
    let address = registry.address.as_str();
    let plain = ["--registry-plain-http", address];
    let state = dir.path().join("state");
    let options = ["--state", state.to_str().unwrap()];
    let server = ServerProcess::with(&fixture("tiny-bert"), &options);
    let lexicon = example_path("lexicon");
    let other = fixture("tiny-distilbert-5");
    let [guest, model] = ["guest", "model"].map(|name| format!("oci://{address}/{name}:v1"));
    for (reference, option, path) in [(&guest, "--guest", &lexicon), (&model, "--model", &other)] {
        pushed(&[&plain[..], &[reference, option, path.to_str().unwrap()]].concat());
    }
    let swap = |arguments: &[&str]| {
        let said = on(&server, &[&["swap"][..], arguments, &plain].concat());
        (said.code, said.stdout + &said.stderr)
    };
    let (code, said) = swap(&["--model", &model]);
    assert_eq!(code, Some(0), "{said}");
    let answer = server.post(&["Is it?".to_owned()]).await.json();
    assert_eq!(answer["predictions"][0].as_array().unwrap().len(), 5);
    let (code, said) = swap(&[&guest]);
    assert_eq!(code, Some(0), "{said}");
    let answer = server.post(&["Is it?".to_owned()]).await.json();
    assert_eq!(answer["predictions"][0].as_array().unwrap().len(), 2);

    // Nobody has signed either of them.
    let [private, public] = keys(dir.path(), "mine");
    let trust = ["--trust", public.to_str().unwrap()];
    for source in [&[guest.as_str()][..], &["--model", &model]] {
        let (code, said) = swap(&[source, &trust].concat());
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("no signature"), "{said}");
    }
    let local = ["--model", other.to_str().unwrap()];
    let (_, said) = swap(&[&local[..], &trust].concat());
    assert!(said.contains("a directory has no signature"), "{said}");

    let file = dir.path().join("guest.wasm");
    std::fs::copy(guest_path(), &file).unwrap();
    sign(&file, &private);
    let path = file.to_str().unwrap();
    let (code, said) = swap(&[&[path], &trust[..]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("guest.wasm is signed by "), "{said}");
    let [_, others] = keys(dir.path(), "other");
    let (code, said) = swap(&[path, "--trust", others.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{said}");
    std::fs::write(&file, "something else").unwrap();
    let (code, said) = swap(&[&[path], &trust[..]].concat());
    assert_eq!(code, Some(1), "{said}");
}
