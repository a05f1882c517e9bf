//! API keys: made by the command, and followed by a running server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::admin::swapping::Said;
use crate::harness::{PATIENCE, fixture};
use crate::server_process::{ServerProcess, bare, subcommand};

/// Runs `keys` with arguments, the second of which is the file.
fn keys(arguments: &[&str]) -> Said {
    bare().arg("keys").args(arguments).output().unwrap().into()
}

/// Makes a key.
fn add(file: &str, name: &str, options: &[&str]) -> String {
    let made = keys(&[&["add", file, name], options].concat());
    assert_eq!(made.code, Some(0), "{made:?}");
    let secret = made.stdout.trim_end();
    assert!(secret.starts_with("fsk_") && secret.len() == 68, "{secret}");
    assert!(made.stderr.contains("is shown only here"), "{made:?}");
    secret.to_owned()
}

/// The status of a request with a secret.
async fn ask(server: &ServerProcess, secret: &str) -> u16 {
    let client = testing::client().build().unwrap();
    let request = client.post(server.url("/predict")).bearer_auth(secret);
    let answer = request.json(&json!({"text": ["Loved it."]})).send().await;
    answer.unwrap().status().as_u16()
}

/// Waits until a secret gets this status.
async fn until(server: &ServerProcess, secret: &str, status: u16) {
    let begun = Instant::now();
    while ask(server, secret).await != status {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn keys_are_made_used_and_revoked_while_a_server_runs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.toml");
    let file = path.to_str().unwrap();
    let web = add(file, "web", &[]);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let options = ["--api-keys", file, "--log-requests"];
    let server = ServerProcess::with(&fixture("tiny-bert"), &options);
    assert_eq!(ask(&server, &web).await, 200);
    assert_eq!(ask(&server, "fsk_0").await, 401);

    // What people have written stays.
    let commented = format!("# of the shop\n{}", fs::read_to_string(&path).unwrap());
    fs::write(&path, commented).unwrap();
    let limits = ["--requests-per-minute", "1", "--priority", "low"];
    let batch = add(file, "batch", &limits);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# of the shop\n"), "{text}");
    assert!(!text.contains(&web) && !text.contains(&batch), "{text}");
    until(&server, &batch, 200).await;
    assert_eq!(ask(&server, &batch).await, 429);

    let revoked = keys(&["revoke", file, "web"]);
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    until(&server, &web, 403).await;
    let listed = keys(&["list", file]).stdout;
    let lines: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[1], ["web", "normal", "-", "-", "revoked"], "{listed}");
    assert_eq!(lines[2], ["batch", "low", "1", "-", "valid"], "{listed}");

    // A file that cannot be used changes nothing, and is logged once.
    let shop = add(file, "shop", &[]);
    until(&server, &shop, 200).await;
    let before = fs::read(&path).unwrap();
    fs::write(&path, "[[key]]\nname = 1\n").unwrap();
    let has_warned = || server.log().matches("the keys before stay").count();
    let begun = Instant::now();
    while has_warned() == 0 {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(server.log().contains("line 2: "), "{}", server.log());
    assert_eq!(ask(&server, &shop).await, 200);
    fs::write(&path, before).unwrap();

    let requests = "fastsentiment_api_key_requests_total{key=\"web\"}";
    assert!(server.metric(requests).await >= 1.0);
    let denied = "fastsentiment_api_key_denied_total{reason=\"revoked\"}";
    assert!(server.metric(denied).await >= 1.0);
    let log = server.log();
    assert!(
        log.contains("client=\"web\"") || log.contains("client=web"),
        "{log}"
    );
    for secret in [&web, &batch, &shop] {
        assert!(!log.contains(secret.as_str()), "{log}");
    }
}

#[test]
fn a_key_that_cannot_be_made_or_revoked_leaves_the_file_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.toml");
    let file = path.to_str().unwrap();
    add(file, "web", &[]);
    let before = fs::read(&path).unwrap();
    for (arguments, code, words) in [
        (&["add", file, "web"][..], 1, "has a key `web` already"),
        (&["add", file, "a b"], 2, "a name has 1 to 64"),
        (
            &["add", file, "a", "--priority", "urgent"],
            2,
            "`low`, `normal` or `high`",
        ),
        (
            &["add", file, "a", "--requests-per-minute", "0"],
            2,
            "requests-per-minute",
        ),
        (&["revoke", file, "a"], 1, "has no key `a`"),
        (&["list", "/nowhere/keys.toml"], 1, "No such file"),
        (&["add", "/nowhere/keys.toml", "a"], 1, "cannot be written"),
    ] {
        let said = keys(arguments);
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!(said.stderr.contains(words), "{said:?}");
        assert_eq!(said.stdout, "");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    let inline = format!(
        "key = [{{name = \"a\", sha256 = \"{}\"}}]\n",
        "0".repeat(64)
    );
    fs::write(&path, inline).unwrap();
    let said = keys(&["revoke", file, "a"]);
    assert!(said.stderr.contains("write each as a table"), "{said:?}");
    // The one that a link leads to is replaced.
    fs::remove_file(&path).unwrap();
    let target = dir.path().join("target.toml");
    fs::write(&target, "# keys\n").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    add(file, "web", &[]);
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert!(
        fs::read_to_string(Path::new(&target))
            .unwrap()
            .contains("web")
    );
}

#[test]
fn a_server_does_not_start_without_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.toml");
    fs::write(&path, "# none yet\n").unwrap();
    let model = fixture("tiny-bert");
    for (name, file, words) in [
        ("serve", path.as_path(), "it has no keys"),
        ("check", path.as_path(), "it has no keys"),
        ("check", Path::new("/nowhere/keys.toml"), "No such file"),
    ] {
        let mut command = subcommand(name, &model);
        command.arg("--api-keys").arg(file);
        let said = Said::from(command.output().unwrap());
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains("--api-keys"), "{said:?}");
        assert!(said.stderr.contains(words), "{said:?}");
    }
}
