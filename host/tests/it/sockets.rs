//! Servers at Unix sockets, and at sockets that they are given.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use tempfile::NamedTempFile;

use crate::admin::swapping::{Said, command};
use crate::harness::{PATIENCE, fixture, onnxruntime};
use crate::hostile::{component, hostile, no_golden};
use crate::server_process::{ServerProcess, answer, subcommand, subcommand_with};

fn run(arguments: &[&str]) -> Said {
    let mut command = command(arguments);
    // By default, a server at a Unix socket asks for no token.
    command.env_remove("FASTSENTIMENT_ADMIN_TOKEN_FILE");
    command.output().unwrap().into()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// `POST /predict` at a socket. Returns the status.
async fn predicted(path: &Path) -> u16 {
    let client = testing::client().unix_socket(path).timeout(PATIENCE);
    let request = client.build().unwrap().post("http://localhost/predict");
    answer(request.json(&json!({"text": ["Loved it."]})))
        .await
        .status
}

#[tokio::test]
async fn a_server_is_used_and_managed_at_unix_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let (main, admin) = (dir.path().join("main"), dir.path().join("admin"));
    let endpoint = |path: &Path| format!("unix:{}", path.display());
    let (main_at, admin_at) = (endpoint(&main), endpoint(&admin));
    // A server that was killed has left one.
    drop(UnixListener::bind(&admin).unwrap());
    let guest = NamedTempFile::new().unwrap();
    std::fs::write(guest.path(), component(&hostile())).unwrap();
    let start = || {
        let mut command = subcommand_with("serve", &no_golden(), guest.path(), &onnxruntime());
        command.env_remove("FASTSENTIMENT_ADMIN_TOKEN_FILE");
        command.args(["--listen", &main_at, "--admin-listen", &admin_at]);
        command
    };
    let mut server = ServerProcess::spawn(&mut start());
    assert!(
        server.greeting.contains(&format!("{main_at} /predict")),
        "{}",
        server.greeting
    );
    assert_eq!((mode(&main), mode(&admin)), (0o666, 0o600));
    assert_eq!(predicted(&main).await, 200);

    let listed = run(&["versions", "--admin", &admin_at]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let other = NamedTempFile::new().unwrap();
    let mut changed = component(&hostile());
    // A custom section makes it another guest, which does the same.
    changed.extend([0, 2, 1, b'x']);
    std::fs::write(other.path(), changed).unwrap();
    let path = other.path().to_str().unwrap();
    let swapped = run(&["swap", path, "--admin", &admin_at]);
    assert_eq!(swapped.code, Some(0), "{swapped:?}");
    assert!(swapped.stdout.starts_with("live: "), "{swapped:?}");
    for arguments in [
        &["status", "--admin", &admin_at][..],
        &["health", "--admin-listen", &admin_at],
        &["health", "--url", &admin_at],
        &["health", "--admin-listen", "", "--listen", &main_at],
    ] {
        let said = run(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
    }

    // A live server's socket is not taken from it.
    let second = Said::from(start().output().unwrap());
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(
        second.stderr.contains("a process listens on it already"),
        "{second:?}"
    );
    assert_eq!(second.stderr.lines().count(), 1, "{second:?}");
    assert_eq!(predicted(&main).await, 200);

    server.terminate();
    assert_eq!(server.ended().code(), Some(0));
    assert!(!main.exists() && !admin.exists());
    let gone = run(&["versions", "--admin", &admin_at]);
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(
        gone.stderr
            .contains(&format!("no response from {admin_at}")),
        "{gone:?}"
    );
}

#[test]
fn a_file_that_is_no_socket_is_not_replaced() {
    let file = NamedTempFile::new().unwrap();
    let at = format!("unix:{}", file.path().display());
    let mut command = command(&["serve", "--model", "/nowhere", "--listen", &at]);
    let said = Said::from(command.output().unwrap());
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr.contains("a file that is not a socket"),
        "{said:?}"
    );
    assert!(file.path().exists());
    let mut command = crate::admin::swapping::command(&["serve", "--listen", "unix:here"]);
    let said = Said::from(command.output().unwrap());
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("must begin with a slash"), "{said:?}");
}

/// A command that is run with its standard input and error as sockets, as systemd passes them.
fn with_socket(command: &Command, main: OwnedFd) -> Command {
    let mut shell = Command::new("sh");
    let script = "exec 3<&0 4<&2 </dev/null 2>/dev/null
                  LISTEN_FDS=2 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    shell
        .args(["-c", script])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdin(Stdio::from(main));
    shell
}

#[tokio::test]
async fn sockets_that_systemd_passes_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin");
    let admin = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let main = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = main.local_addr().unwrap();
    let mut command = subcommand("serve", &fixture("tiny-bert"));
    command.env_remove("FASTSENTIMENT_ADMIN_TOKEN_FILE");
    // In use, and not asked for.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    command.args(["--listen", &taken.local_addr().unwrap().to_string()]);
    let mut shell = with_socket(&command, main.into());
    let admin = Stdio::from(OwnedFd::from(admin));
    let mut server = ServerProcess::spawn_with_log(&mut shell, admin);
    assert_eq!(server.url("/"), format!("http://{address}/"));
    assert_eq!(server.predict(&["Loved it.".to_owned()]).await.len(), 1);
    let at = format!("unix:{}", path.display());
    let listed = run(&["versions", "--admin", &at]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    server.terminate();
    assert_eq!(server.ended().code(), Some(0));
    // The file is not the server's.
    assert!(path.exists());
}

#[test]
fn a_socket_of_another_kind_is_refused() {
    let file = NamedTempFile::new().unwrap();
    let mut command = command(&["serve", "--model", "/nowhere"]);
    command
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDS_FIRST_FD", "0");
    command.stdin(Stdio::from(file.reopen().unwrap()));
    let said = Said::from(command.output().unwrap());
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr
            .contains("neither a TCP nor a Unix stream socket"),
        "{said:?}"
    );
}
