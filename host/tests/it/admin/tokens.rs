//! Tokens and addresses, as the command line gives them.

use std::io::Write;

use tempfile::NamedTempFile;

use super::swapping::{Said, command, on};
use crate::harness::fixture;
use crate::server_process::{ServerProcess, bare};

const TOKEN: &str = "a-token-of-24-characters";
const OTHER: &str = "a-token-of-24-charactres";

fn file_of(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

#[tokio::test]
async fn a_token_in_a_file_opens_the_versions_from_anywhere() {
    let (right, wrong) = (file_of(&format!("{TOKEN}\n")), file_of(OTHER));
    let options = [
        "--admin-listen",
        "0.0.0.0:0",
        "--admin-token-file",
        path(&right),
    ];
    let server = ServerProcess::with(&fixture("tiny-bert"), &options);
    assert!(
        !server.log().contains("can be managed only"),
        "{}",
        server.log()
    );
    let with = |file| on(&server, &["versions", "--admin-token-file", path(file)]);
    let allowed = with(&right);
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    for (refused, says_wrong) in [(with(&wrong), true), (on(&server, &["versions"]), false)] {
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(refused.stderr.contains("admin token"), "{refused:?}");
        let found = refused.stderr.contains("the token is wrong");
        assert_eq!(found, says_wrong, "{refused:?}");
    }
    // In the environment as well, where the file comes first.
    let asked = |token: &str, arguments: &[&str]| -> Said {
        let mut command = command(&[&["versions"], arguments].concat());
        command.env_remove("FASTSENTIMENT_ADMIN_TOKEN_FILE");
        command.env("FASTSENTIMENT_ADMIN_TOKEN", token);
        let url = server.admin_url("");
        command
            .env("FASTSENTIMENT_ADMIN_URL", url)
            .output()
            .unwrap()
            .into()
    };
    assert_eq!(asked(TOKEN, &[]).code, Some(0));
    assert_eq!(asked(OTHER, &[]).code, Some(3));
    assert_eq!(
        asked(OTHER, &["--admin-token-file", path(&right)]).code,
        Some(0)
    );
    // Metrics ask for none.
    assert!(server.metric("fastsentiment_queue_texts").await.abs() < 1e-9);
    assert!(!server.log().contains(TOKEN));
}

#[tokio::test]
async fn with_none_for_a_token_other_addresses_tell_health_and_metrics_only() {
    let server = ServerProcess::with(&fixture("tiny-bert"), &["--admin-listen", "0.0.0.0:0"]);
    let log = server.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("can be managed only"));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("--admin-token-file"), "{log}");
    let refused = on(&server, &["versions"]);
    assert_eq!(refused.code, Some(3));
    assert!(refused.stderr.contains("--admin-token-file"), "{refused:?}");
    assert!(server.metric("fastsentiment_queue_texts").await.abs() < 1e-9);
    server.predict(&["a".to_owned()]).await;
}

#[test]
fn a_token_that_is_none_keeps_a_server_from_starting() {
    let model = fixture("tiny-bert");
    let refused = |file: Option<&str>, token: Option<&str>, words: &str| {
        let mut command = bare();
        command.arg("serve").arg("--model").arg(&model);
        command.env_remove("FASTSENTIMENT_ADMIN_TOKEN_FILE");
        // Never read: the token is wrong before that.
        command.args(["--guest", "absent.wasm"]);
        if let Some(file) = file {
            command.args(["--admin-token-file", file]);
        }
        if let Some(token) = token {
            command.env("FASTSENTIMENT_ADMIN_TOKEN", token);
        }
        let said = Said::from(command.output().unwrap());
        assert_eq!(said.code, Some(1), "{said:?}");
        assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
        assert!(said.stderr.contains(words), "{words}: {said:?}");
        assert!(!said.stderr.contains("sesame"), "{said:?}");
    };
    for (text, words) in [
        ("", "is empty"),
        (" \n", "is empty"),
        ("sesame", "6 bytes; it needs at least 16"),
        ("sesame sesame sesame", "a header cannot carry"),
        ("sesame-sesame-sésame", "a header cannot carry"),
    ] {
        refused(Some(path(&file_of(text))), None, words);
        refused(None, Some(text), words);
        // One that would do is no help.
        refused(Some(path(&file_of(text))), Some(TOKEN), words);
    }
    refused(Some("/nowhere/token"), None, "/nowhere/token");
    refused(Some("/dev/zero"), None, "more than the 4096 bytes");
}

#[test]
fn a_server_that_is_not_there_is_an_error_of_one_line() {
    // Nothing listens at the discard port.
    let url = "http://127.0.0.1:9";
    for arguments in [
        &["versions"][..],
        &["versions", "1f3a", "--json"],
        &["rollback"],
        &["activate", "1f3a"],
        &["promote"],
        &["end-trial"],
        &["remove", "1f3a"],
        &["reload"],
    ] {
        let mut command = command(arguments);
        let said = Said::from(command.args(["--admin", url]).output().unwrap());
        assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:?}");
        assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
        assert!(
            said.stderr.contains(&format!("no response from {url}")),
            "{said:?}"
        );
    }
}

#[test]
fn wrong_use_is_refused_before_anything_is_asked() {
    let file = file_of("");
    for arguments in [
        &["swap"][..],
        &["swap", path(&file), "--canary"],
        &["swap", path(&file), "--canary", "0"],
        &["swap", path(&file), "--canary", "1.1"],
        &["swap", path(&file), "--canary", "0.1", "--shadow"],
        &["swap", path(&file), "--canary", "0.1", "--no-activate"],
        &["swap", path(&file), "--admin", "ftp://127.0.0.1:9"],
        &["swap", path(&file), "--admin", "127.0.0.1:9"],
        &["swap", path(&file), "--admin", "http://token@127.0.0.1:9"],
        &["versions", "123"],
        &["versions", "live"],
        &["versions", ".."],
        &["activate"],
        &["remove"],
        &["rollback", "--from", "xyz"],
    ] {
        let said = Said::from(command(arguments).output().unwrap());
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
    }
    let said = Said::from(command(&["swap", "/nowhere/guest.wasm"]).output().unwrap());
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("/nowhere/guest.wasm"), "{said:?}");
}
