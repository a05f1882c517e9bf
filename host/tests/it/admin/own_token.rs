//! What a server without any option lets others do at its admin listener: nothing that changes
//! it. Its own user's commands find the token.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::swapping::{Said, command};
use crate::harness::fixture;
use crate::server_process::{ServerProcess, answer, subcommand};

/// A server as it is by default, whose token is in a directory.
fn server(run_dir: &Path, options: &[&str]) -> ServerProcess {
    let mut command = subcommand("serve", &fixture("tiny-bert"));
    command.env_remove("FASTSENTIMENT_ADMIN_TOKEN_FILE");
    command.env("FASTSENTIMENT_RUN_DIR", run_dir).args(options);
    ServerProcess::spawn(&mut command)
}

/// A command of a user whose tokens are in a directory.
fn by(run_dir: &Path, server: &ServerProcess, arguments: &[&str]) -> Said {
    let mut command = command(arguments);
    command.env_remove("FASTSENTIMENT_ADMIN_TOKEN_FILE");
    command.env("FASTSENTIMENT_RUN_DIR", run_dir);
    command.env("FASTSENTIMENT_ADMIN_URL", server.admin_url("/"));
    command.output().unwrap().into()
}

#[tokio::test]
async fn only_its_user_changes_a_server() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run_dir = dir.path().join("run");
    let mut server = self::server(&run_dir, &[]);
    let other = self::server(&run_dir, &[]);
    let port = server.admin_url("").rsplit(':').next().unwrap().to_owned();
    let file = run_dir.join(format!("admin-{port}.token"));
    let shown = file.to_str().unwrap();
    assert!(server.greeting.contains(shown), "{}", server.greeting);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&run_dir)), (0o600, 0o700));

    // A process that cannot read the file is told where it is, and not what is in it.
    let client = testing::client().build().unwrap();
    let token = std::fs::read_to_string(&file).unwrap();
    let token = token.trim();
    assert_eq!(token.len(), 64);
    for request in [
        client.get(server.admin_url("/versions")),
        client.post(server.admin_url("/rollback")),
        client
            .post(server.admin_url("/versions?activate=true"))
            .body("x"),
        client
            .post(server.admin_url("/rollback"))
            .bearer_auth("0".repeat(64)),
    ] {
        let refused = answer(request).await;
        assert_eq!(refused.status, 401, "{}", refused.body);
        assert!(refused.body.contains(shown), "{}", refused.body);
        assert!(!refused.body.contains(token), "{}", refused.body);
        assert!(refused.headers.contains_key("www-authenticate"));
    }
    for path in ["/metrics", "/health/ready", "/status", "/version"] {
        let open = answer(client.get(server.admin_url(path))).await;
        assert_eq!(open.status, 200, "{path}: {}", open.body);
    }
    let with = client.get(server.admin_url("/versions")).bearer_auth(token);
    assert_eq!(answer(with).await.status, 200);

    // Commands of the same user find the token of the server that they ask.
    for server in [&server, &other] {
        let found = by(&run_dir, server, &["versions"]);
        assert_eq!(found.code, Some(0), "{found:?}");
    }
    let stranger = by(elsewhere.path(), &server, &["versions"]);
    assert_eq!(stranger.code, Some(3), "{stranger:?}");
    for words in [
        shown,
        elsewhere.path().to_str().unwrap(),
        "--admin-token-file",
    ] {
        assert!(stranger.stderr.contains(words), "{words}: {stranger:?}");
    }
    let named = by(
        elsewhere.path(),
        &server,
        &["versions", "--admin-token-file", shown],
    );
    assert_eq!(named.code, Some(0), "{named:?}");
    for said in [server.log(), server.greeting.clone(), stranger.stderr] {
        assert!(!said.contains(token), "{said}");
    }

    server.terminate();
    assert_eq!(server.ended().code(), Some(0));
    assert!(!file.exists());
    assert_eq!(by(&run_dir, &other, &["versions"]).code, Some(0));
}

#[tokio::test]
async fn without_a_directory_for_a_token_a_server_serves_and_refuses_changes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let server = self::server(&file.join("run"), &[]);
    server.predict(&["a".to_owned()]).await;
    let refused = by(dir.path(), &server, &["versions"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    for said in [&refused.stderr, &server.log()] {
        assert!(said.contains("no directory for one"), "{said}");
        assert!(
            said.contains("--run-dir") && said.contains("--admin-token-file"),
            "{said}"
        );
    }
    assert!(server.metric("fastsentiment_queue_texts").await.abs() < 1e-9);
}

#[tokio::test]
async fn an_operator_can_open_a_loopback_address_to_everybody() {
    let dir = tempfile::tempdir().unwrap();
    let server = self::server(dir.path(), &["--admin-token-file", "none"]);
    let client = testing::client().build().unwrap();
    let listed = answer(client.get(server.admin_url("/versions"))).await;
    assert_eq!(listed.status, 200);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let both = {
        let mut command = command(&["serve", "--admin-token-file", "none"]);
        command.env("FASTSENTIMENT_ADMIN_TOKEN", "0123456789abcdef");
        Said::from(command.output().unwrap())
    };
    assert_eq!(both.code, Some(2), "{both:?}");
    assert!(
        both.stderr.contains("but there is an admin token"),
        "{both:?}"
    );
}
