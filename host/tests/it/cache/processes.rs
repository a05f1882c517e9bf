//! Servers that share a Redis.

use crate::cache::fake::until;
use crate::harness::fixture;
use crate::redis_server::RedisServer;
use crate::server_process::{ServerProcess, bare, run, subcommand};

fn server(redis: &RedisServer) -> ServerProcess {
    let (url, model) = (redis.url(), fixture("tiny-bert"));
    let options = ["--redis-url", &url, "--redis-timeout-ms", "60000"];
    ServerProcess::with(&model, &options)
}

async fn connected(server: &ServerProcess) {
    let ready = || {
        let log = server.log();
        log.contains("can be read") && log.contains("can be written to")
    };
    until("it uses Redis", ready).await;
}

#[tokio::test]
async fn what_one_server_computed_another_one_and_the_next_find() {
    let redis = RedisServer::start();
    let texts: Vec<String> = (0..40).map(|number| format!("Text {number}.")).collect();
    let one = server(&redis);
    let two = server(&redis);
    connected(&one).await;
    connected(&two).await;
    let hits = || redis.info("stats", "keyspace_hits");
    let sets = redis.calls("set");
    let computed = one.predict(&texts).await;
    until("it was written", || redis.calls("set") >= sets + 40).await;
    let before = hits();
    assert_eq!(two.predict(&texts).await, computed);
    assert!(hits() >= before + 40, "it did not ask Redis");
    // A server that was started anew finds them too.
    one.terminate();
    drop(one);
    let three = server(&redis);
    connected(&three).await;
    let before = hits();
    assert_eq!(three.predict(&texts).await, computed);
    assert!(hits() >= before + 40, "it did not ask Redis");
}

#[tokio::test]
async fn a_server_starts_and_answers_without_its_redis() {
    let mut redis = RedisServer::start();
    redis.kill();
    let server = server(&redis);
    let texts = ["Loved it.".to_owned()];
    let answer = server.predict(&texts).await;
    assert_eq!(server.predict(&texts).await, answer);
    until("it says so", || server.log().contains("cannot be read")).await;
    redis.restart();
    connected(&server).await;
}

#[test]
fn a_url_that_is_not_understood_is_said_without_its_password() {
    for (option, url) in [
        ("--redis-url", "redis://:hidden-word@localhost:port"),
        ("--redis-url", "localhost:6379?hidden-word"),
    ] {
        let mut command = subcommand("serve", &fixture("tiny-bert"));
        command.args(["--listen", "127.0.0.1:0", option, url]);
        let output = run(&mut command);
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.contains("the URL of Redis is not understood"),
            "{error}"
        );
        assert!(!error.contains("hidden-word"), "{error}");
    }
    let mut help = bare();
    let help = help
        .args(["serve", "--help"])
        .env("REDIS_URL", "redis://:hidden-word@h");
    let help = String::from_utf8(help.output().unwrap().stdout).unwrap();
    assert!(
        help.contains("REDIS_URL") && !help.contains("hidden-word"),
        "{help}"
    );
}

#[test]
fn a_key_is_read_from_a_file() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let key = "0123456789abcdef".repeat(4);
    let check = |content: &str| {
        std::fs::write(&path, content).unwrap();
        let mut command = subcommand("check", &fixture("tiny-bert"));
        command.arg("--cache-key-file").arg(&path);
        run(command.env("REDIS_URL", redis.url()))
    };
    assert!(check(&format!("{key}\n")).status.success());
    for (content, said) in [
        (String::new(), "this one has 0"),
        ("secret\n".to_owned(), "must have 32 to 1024 bytes"),
        (key.repeat(17), "this one has 1088"),
        (key.repeat(100), "this one has 2048"),
    ] {
        let output = check(&content);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(said), "{error}");
        assert!(
            error.contains("--cache-key-file") && !error.contains("abcdef"),
            "{error}"
        );
    }
}

#[test]
fn a_password_is_read_from_a_file() {
    let redis = RedisServer::with_user("somebody", "s3:c/r@e%t#1");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    let check = |content: &[u8], url: &str| {
        std::fs::write(&path, content).unwrap();
        let mut command = subcommand("check", &fixture("tiny-bert"));
        command.arg("--redis-password-file").arg(&path);
        run(command.env("REDIS_URL", url))
    };
    let url = redis.url().replace("redis://", "redis://somebody@");
    for (content, url, said) in [
        ("s3:c/r@e%t#1", &url, "answers"),
        ("s3:c/r@e%t#1\n", &url, "answers"),
        ("s3:c/r@e%t#1\r\n", &url, "answers"),
        ("another", &url, "is unavailable"),
        // Without a Redis, the file is not even read.
        ("", &String::new(), "not used"),
    ] {
        let output = check(content.as_bytes(), url);
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{shown}");
        let line = shown.lines().find(|line| line.starts_with("# redis"));
        assert!(line.unwrap().contains(said), "{content:?}: {line:?}");
        assert!(!shown.contains("s3:c"), "{shown}");
    }
    let with_password = redis.url().replace("redis://", "redis://:s3cret@");
    for (content, url, said) in [
        (&b"s3cret"[..], &with_password, "another one is given"),
        (b"", &url, "must have one line"),
        (b"\n", &url, "must have one line"),
        (b"\r\n", &url, "must have one line"),
        (b"s3cret\nanother\n", &url, "must have one line"),
        (&b"s3cret".repeat(200), &url, "at most 1024 bytes"),
        (b"s3cret\xff", &url, "UTF-8"),
    ] {
        let output = check(content, url);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(said), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let mut command = subcommand("check", &fixture("tiny-bert"));
    command.arg("--redis-password-file").arg(&path);
    let output = run(command.env("REDIS_URL", &url));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--redis-password-file"), "{error}");
}

#[test]
fn check_says_whether_redis_answers() {
    let mut redis = RedisServer::start();
    let said = |url: &str| {
        let mut command = subcommand("check", &fixture("tiny-bert"));
        let output = run(command.env("REDIS_URL", url));
        assert!(output.status.success(), "{output:?}");
        let output = String::from_utf8(output.stdout).unwrap();
        let line = output.lines().find(|line| line.starts_with("# redis"));
        line.unwrap().to_owned()
    };
    let name = redis.url();
    assert!(said(&name).ends_with(&format!("{name} answers")));
    assert!(said("").ends_with("not used"));
    redis.kill();
    let lost = said(&name.replace("redis://", "redis://:hidden-word@"));
    assert!(lost.contains(&format!("{name} is unavailable: ")), "{lost}");
    assert!(!lost.contains("hidden-word"), "{lost}");
}
