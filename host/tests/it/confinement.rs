//! The rights that processes of the binary give up. What the kernel then denies them is
//! tested in the crate; that it happens is tested here.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::{COMPILE_COMMAND, CompileLimits};
use serde_json::json;

use crate::harness::{BINARY, PATIENCE, onnxruntime};
use crate::hostile::{component, hostile, no_golden};
use crate::server_process::{ServerProcess, bare};

/// The value in the status of a process or a thread.
fn status(of: &str, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{of}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    Some(line?.trim().to_owned())
}

#[test]
fn a_compiler_gives_up_its_rights_before_it_reads() {
    let task = json!({
        "purpose": "Preparing",
        "pace": "Foreground",
        "limits": CompileLimits::default(),
        "size": 0,
    });
    let mut child = Command::new(BINARY)
        .args([COMPILE_COMMAND, &task.to_string()])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id().to_string();
    let begun = Instant::now();
    while status(&id, "Seccomp_filters:").as_deref() != Some("2") {
        assert!(begun.elapsed() < PATIENCE, "it has no filter");
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
    }
    assert_eq!(status(&id, "Seccomp:").as_deref(), Some("2"));
    assert_eq!(status(&id, "NoNewPrivs:").as_deref(), Some("1"));
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    // No component is an invalid one.
    assert_eq!(output.status.code(), Some(3), "{stderr}");
}

#[tokio::test]
async fn a_server_gives_up_its_rights() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let guest = dir.path().join("guest.wasm");
    fs::write(&guest, component(&hostile())).unwrap();
    let artifacts = dir.path().join("artifacts");
    let mut command = bare();
    command.args(["serve", "--workers", "2"]);
    for (option, path) in [
        ("--model", &no_golden()),
        ("--guest", &guest),
        ("--onnxruntime", &onnxruntime()),
        ("--state", &state),
        ("--artifacts", &artifacts),
    ] {
        command.arg(option).arg(path);
    }
    let server = ServerProcess::spawn(&mut command);
    // The log is written in the background.
    let begun = Instant::now();
    let log = loop {
        let log = server.log();
        if log.contains("Landlock") {
            break log;
        }
        assert!(begun.elapsed() < PATIENCE, "{log}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let is_confined = log.contains("Landlock confines this server");
    assert_ne!(is_confined, log.contains("this kernel has no Landlock"));
    if is_confined {
        for dir in [&state, &artifacts] {
            assert!(log.contains(dir.to_str().unwrap()), "{log}");
        }
    }
    // It has compiled its guest, and kept the code.
    assert_eq!(fs::read_dir(&artifacts).unwrap().count(), 1);
    // No thread is older than that.
    let threads = fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
    let mut checked = 0;
    for thread in threads {
        let thread = thread.unwrap().path();
        let thread = thread.strip_prefix("/proc").unwrap().to_str().unwrap();
        // It may have ended.
        if let Some(value) = status(thread, "NoNewPrivs:") {
            assert_eq!(value, "1", "{thread}");
            checked += 1;
        }
    }
    assert!(checked > 4, "{checked} threads");
}
