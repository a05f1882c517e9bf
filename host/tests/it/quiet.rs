//! A server sends nothing to anybody.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{BINARY, default_model};
use crate::server_process::{ServerProcess, subcommand};

/// The files in a directory, recursively.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (dirs, mut found): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    found.extend(dirs.iter().flat_map(|dir| files(dir)));
    found
}

/// The telemetry of ONNX Runtime writes a device id and a database into the user's cache
/// directory when it is loaded, and resolves its vendor's host some seconds later. It is
/// disabled where `CI` is set, so that is removed from the environment.
#[tokio::test]
async fn a_server_connects_to_nobody_and_leaves_no_files() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is not installed");
        eprintln!("*** SKIPPED: strace is not installed");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let trace = home.path().join("trace");
    let mut ours = subcommand("serve", &default_model());
    // The only connection, which shows that others would be seen.
    ours.args(["--redis-url", "redis://127.0.0.1:1"]);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=connect", "-o"]);
    command.arg(&trace).arg(BINARY).args(ours.get_args());
    for (name, value) in ours.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    for name in [
        "CI",
        "ORT_DISABLE_TELEMETRY",
        "GITHUB_ACTIONS",
        "TF_BUILD",
        "TRAVIS",
    ] {
        command.env_remove(name);
    }
    command.env("HOME", home.path());
    command.env("XDG_CACHE_HOME", home.path().join("cache"));
    let mut server = ServerProcess::spawn(&mut command);
    server.predict(&["a text".to_owned()]).await;
    // strace ends with the server, but does not forward signals to it.
    let id = server.id();
    let traced = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let mut kill = Command::new("kill");
    assert!(
        kill.args(traced.split_whitespace())
            .status()
            .unwrap()
            .success()
    );
    assert!(server.ended().success(), "{}", server.log());
    let calls = fs::read_to_string(&trace).unwrap();
    let calls: Vec<_> = calls
        .lines()
        .filter(|call| call.contains("AF_INET"))
        .collect();
    assert!(!calls.is_empty());
    let other = |call: &&&str| !call.contains("sin_port=htons(1), ");
    assert_eq!(calls.iter().find(other), None);
    assert_eq!(files(home.path()), [trace]);
}
