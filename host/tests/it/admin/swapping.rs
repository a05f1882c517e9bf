//! A server process whose guest is changed under it, by the command line.

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::hostile::{component, hostile, no_golden};
use crate::server_process::{ServerProcess, bare};

/// The binary with these arguments.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = bare();
    command.args(arguments);
    // A proxy has no business between a machine and itself.
    command.env("http_proxy", "http://127.0.0.1:9");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs a command on the versions of a server.
pub(crate) fn on(server: &ServerProcess, arguments: &[&str]) -> Said {
    let mut command = command(arguments);
    let url = server.admin_url("/");
    command
        .env("FASTSENTIMENT_ADMIN_URL", url)
        .output()
        .unwrap()
        .into()
}

/// The same, which must succeed; what it printed.
#[track_caller]
pub(super) fn done(server: &ServerProcess, arguments: &[&str]) -> String {
    let said = on(server, arguments);
    assert_eq!(
        said.code,
        Some(0),
        "{arguments:?}: {said:?}\n{}",
        server.log()
    );
    assert_eq!(said.stderr, "");
    said.stdout
}

/// The same, which must be refused; what it said.
#[track_caller]
pub(super) fn refused(server: &ServerProcess, arguments: &[&str]) -> String {
    let said = on(server, arguments);
    assert_eq!((said.code, said.stdout.as_str()), (Some(3), ""), "{said:?}");
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    assert!(said.stderr.starts_with("error: "), "{}", said.stderr);
    said.stderr
}

/// A guest in a file, which gives every text this label of five letters.
fn guest(label: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), component(&hostile().replace("COUNT", label))).unwrap();
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

/// Asserts that the version that the admin API says is live is the one that
/// answers, and gives this label; the digest of its revision.
async fn assert_label(server: &ServerProcess, label: &str) -> String {
    let answer = server.post(&["Is it?".to_owned()]).await;
    assert_eq!(answer.status, 200, "{}\n{}", answer.body, server.log());
    assert_eq!(answer.json()["predictions"][0][0]["label"], label);
    let listing: Value = serde_json::from_str(&done(server, &["versions", "--json"])).unwrap();
    let live = listing["live"]["revision"].as_str().unwrap();
    assert_eq!(answer.headers["x-fastsentiment-revision"], live[..12]);
    let revision = testing::client().build().unwrap();
    for url in [server.url("/version"), server.admin_url("/version")] {
        let revision = revision.get(url).send().await.unwrap();
        let revision: Value = revision.json().await.unwrap();
        assert_eq!(revision["guest"], listing["live"]["guest"]);
        assert_eq!(revision["name"], "fastsentiment");
    }
    live.to_owned()
}

#[tokio::test]
async fn a_guest_is_swapped_in_and_out_by_the_command_line() {
    // Without probation, so that nothing stands by that could not be forgotten.
    let server = ServerProcess::with(&no_golden(), &["--probation-s", "0"]);
    let (first, second) = (guest("FIRST"), guest("OTHER"));
    let listing = done(&server, &["versions", "--json"]);
    let listing: Value = serde_json::from_str(&listing).unwrap();
    let live = |name: &str| listing["live"][name].as_str().unwrap().to_owned();
    let default = live("revision_short");
    assert!(server.greeting.contains(&live("short")));

    let said = done(&server, &["swap", path(&first)]);
    let one = assert_label(&server, "FIRST").await;
    let swapped = format!("live: {} (was {default}), ", &one[..12]);
    assert!(said.starts_with(&swapped), "{said}");
    let said = done(&server, &["swap", path(&first)]);
    assert_eq!(
        said,
        format!("live: {} (unchanged), already known\n", &one[..12])
    );

    let said = done(&server, &["swap", path(&second), "--no-activate"]);
    assert!(said.starts_with("ready, not live: "), "{said}");
    assert_label(&server, "FIRST").await;
    let added: Value =
        serde_json::from_str(&done(&server, &["swap", path(&second), "--json"])).unwrap();
    assert_eq!(
        (&added["known"], &added["change"]["changed"]),
        (&true.into(), &true.into())
    );
    let two = assert_label(&server, "OTHER").await;
    assert_eq!(added["version"]["revision"], two);

    // All of them are told, and each in full.
    let table = done(&server, &["versions"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].starts_with("VERSION       NAME  GUEST         MODEL         STANDING  SIZE"),
        "{table}"
    );
    for (line, (digest, standing)) in lines[1..].iter().zip([
        (&two[..12], "live"),
        (&one[..12], "ready"),
        (default.as_str(), "ready"),
    ]) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((cells[0], cells[4]), (digest, standing), "{table}");
        assert_eq!(cells[3], live("model_short"), "{table}");
    }
    let full = done(&server, &["versions", &one[..6]]);
    assert!(full.contains(&one) && full.contains("upload"), "{full}");

    let said = done(&server, &["rollback"]);
    assert_eq!(said, format!("live: {} (was {})\n", &one[..12], &two[..12]));
    assert_eq!(assert_label(&server, "FIRST").await, one);
    let said = refused(&server, &["rollback", "--from", &two]);
    assert!(said.contains("not live any more"), "{said}");
    assert_eq!(assert_label(&server, "FIRST").await, one);
    done(&server, &["activate", &two[..12], "--force"]);
    assert_label(&server, "OTHER").await;
    // The configured guest, which is not the live one any more.
    let said = done(&server, &["reload"]);
    assert!(
        said.starts_with(&format!("live: {default} (was ")),
        "{said}"
    );
    done(&server, &["activate", &two]);

    let said = done(&server, &["remove", &one]);
    assert_eq!(said, format!("removed: {}\n", &one[..12]));
    assert!(refused(&server, &["remove", &two]).contains("in use"));
    assert!(refused(&server, &["activate", &one]).contains("no version"));
    assert_label(&server, "OTHER").await;
}

#[tokio::test]
async fn a_guest_is_tried_dropped_and_promoted_by_the_command_line() {
    let server = ServerProcess::start(&no_golden());
    let (first, second) = (guest("FIRST"), guest("OTHER"));
    done(&server, &["swap", path(&first)]);
    for (arguments, words) in [
        (&["--canary", "0.001"][..], "canary with 0.1 % of texts: "),
        (
            &["--shadow", "0.5"],
            "shadow with copies of 50 % of texts: ",
        ),
        (&["--shadow"], "shadow with copies of 100 % of texts: "),
    ] {
        let said = done(&server, &[&["swap", path(&second)], arguments].concat());
        assert!(said.starts_with(words), "{said}");
        assert!(done(&server, &["versions"]).contains("is on trial: "));
        assert_label(&server, "FIRST").await;
    }
    let said = done(&server, &["end-trial"]);
    assert!(said.starts_with("trial ended: "), "{said}");
    for none in ["end-trial", "promote"] {
        assert!(refused(&server, &[none]).contains("no version is on trial"));
    }
    done(&server, &["swap", path(&second), "--canary", "1"]);
    let said = done(&server, &["promote"]);
    let two = assert_label(&server, "OTHER").await;
    assert!(
        said.starts_with(&format!("live: {} (was ", &two[..12])),
        "{said}"
    );
}

#[tokio::test]
async fn what_can_not_be_served_is_refused_with_the_step_named() {
    let server = ServerProcess::with(&no_golden(), &["--guest-max-mib", "4"]);
    let first = guest("FIRST");
    done(&server, &["swap", path(&first)]);
    let file = NamedTempFile::new().unwrap();
    let whole = std::fs::read(first.path()).unwrap();
    let module = wat::parse_str("(module)").unwrap();
    for bytes in [
        b"garbage".as_slice(),
        b"",
        &whole[..whole.len() / 2],
        &module,
    ] {
        std::fs::write(file.path(), bytes).unwrap();
        for arguments in [
            &[][..],
            &["--canary", "0.5"],
            &["--no-activate"],
            &["--json"],
        ] {
            let said = refused(&server, &[&["swap", path(&file)], arguments].concat());
            let step = said.split('`').nth(1).unwrap();
            assert!(["compile", "contract"].contains(&step), "{said}");
            assert!(
                said.contains(&format!("refused at the step `{step}`: ")),
                "{said}"
            );
        }
        assert_label(&server, "FIRST").await;
    }
    for size in [(4 << 20) + 1, 80 << 20] {
        std::fs::write(file.path(), vec![0; size]).unwrap();
        let said = refused(&server, &["swap", path(&file)]);
        assert!(said.contains("larger than the 4194304 bytes"), "{said}");
    }
    assert_label(&server, "FIRST").await;
    let listing = done(&server, &["versions"]);
    assert_eq!(
        listing.matches("MiB  ").count() + listing.matches("KiB  ").count(),
        2,
        "{listing}"
    );
}

#[tokio::test]
async fn swaps_at_the_same_time_all_end_well() {
    let server = ServerProcess::start(&no_golden());
    let labels = ["FIRST", "OTHER", "THIRD", "LATER"];
    let guests = labels.map(guest);
    let url = server.admin_url("");
    let swaps: Vec<_> = (0..8)
        .map(|number| {
            let arguments = ["swap", path(&guests[number % 4]), "--json", "--admin", &url];
            command(&arguments).spawn().unwrap()
        })
        .collect();
    let mut compiled = 0;
    for swap in swaps {
        let said = Said::from(swap.wait_with_output().unwrap());
        assert_eq!(said.code, Some(0), "{said:?}\n{}", server.log());
        let added: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(added["change"]["live"], added["version"]);
        compiled += usize::from(added["known"] == false);
    }
    // Each was loaded once, for whoever came first.
    assert_eq!(compiled, 4);
    let answer = server.post(&["a".to_owned()]).await.json();
    let label = answer["predictions"][0][0]["label"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(labels.contains(&label.as_str()), "{label}");
    assert_label(&server, &label).await;
}
