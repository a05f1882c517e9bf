//! `fastsentiment health`, with servers in every state.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

use crate::harness::fixture;
use crate::server_process::{ServerProcess, bare};

/// The command with the address of an admin listener in its environment, as in a
/// container.
fn health(admin_listen: &str) -> Command {
    let mut command = bare();
    command.arg("health");
    command.env("FASTSENTIMENT_ADMIN_LISTEN", admin_listen);
    command
}

fn assert_fails(output: &Output, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(output.stdout, b"", "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
}

#[tokio::test]
async fn a_ready_server_is_healthy_at_each_of_its_addresses() {
    let server = ServerProcess::start(&fixture("tiny-bert"));
    let admin = server.admin_url("").replace("http://", "");
    let everywhere = admin.replace("127.0.0.1", "0.0.0.0");
    let mut by_listen = health("");
    by_listen.env("FASTSENTIMENT_LISTEN", server.address());
    let mut by_url = health("127.0.0.1:9");
    by_url.args(["--url", &server.url("/health/live")]);
    for (mut command, says) in [
        (health(&admin), "ready"),
        (health(&everywhere), "ready"),
        (by_listen, "ready"),
        (by_url, "ok"),
    ] {
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {stderr}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(stdout, format!("{{\"status\":\"{says}\"}}\n"));
    }
    let mut elsewhere = health(&admin);
    elsewhere.args(["--url", &server.admin_url("/nowhere")]);
    assert_fails(&elsewhere.output().unwrap(), &["status 404"]);
}

#[tokio::test]
async fn a_draining_server_is_not_healthy() {
    let options = ["--drain-delay-ms", "240000"];
    let server = ServerProcess::with(&fixture("tiny-bert"), &options);
    server.terminate();
    let admin = server.admin_url("").replace("http://", "");
    // The signal takes a moment to arrive.
    loop {
        let output = health(&admin).output().unwrap();
        if output.status.code() != Some(0) {
            return assert_fails(&output, &["status 503", "about to stop"]);
        }
    }
}

#[test]
fn without_a_valid_response_a_server_is_not_healthy() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut silent = health(&address);
    silent.args(["--timeout-ms", "50"]);
    assert_fails(&silent.output().unwrap(), &[&address, "no response"]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The connection of the command above, which the kernel accepted.
            let _silent = listener.accept().unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            assert_ne!(stream.read(&mut [0; 1024]).unwrap(), 0);
            stream.write_all(b"SSH-2.0-something\r\n").unwrap();
        });
        let output = health(&address).output().unwrap();
        assert_fails(&output, &[&address, "no response", "invalid HTTP"]);
    });
    drop(listener);
    let output = health(&address).output().unwrap();
    assert_fails(&output, &[&address, "no response"]);
}
