//! Flags, variables and the configuration file, with the real binary.

use std::fmt::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::harness::{artifacts, fixture, guest_path, onnxruntime, repository};
use crate::server_process::{ServerProcess, bare, run};

/// A configuration file with the paths of everything that is needed, followed by `more`.
fn file(more: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fastsentiment.toml");
    let mut text = String::new();
    for (key, path) in [
        ("model", &fixture("tiny-bert")),
        ("guest", &guest_path().to_owned()),
        ("onnxruntime", &onnxruntime()),
        ("artifacts", &artifacts()),
    ] {
        writeln!(text, "{key} = '{}'", path.display()).unwrap();
    }
    std::fs::write(&path, text + more).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

/// Listeners on free ports, since tests run in parallel. (`bare` sets variables for the
/// same purpose, which would hide the file's keys.)
const FREE: &str = "listen = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\n";

fn command(name: &str) -> Command {
    let mut command = bare();
    command.arg(name);
    command.env_remove("FASTSENTIMENT_LISTEN");
    command.env_remove("FASTSENTIMENT_ADMIN_LISTEN");
    command.env_remove("FASTSENTIMENT_ADMIN_TOKEN_FILE");
    command
}

fn checked(path: &str, options: &[&str]) -> Output {
    run(command("check").args(["--config", path]).args(options))
}

fn lines(output: &Output) -> Vec<String> {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    stderr.lines().map(str::to_owned).collect()
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{:?}", lines(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The settings in a configuration file, without comments.
fn settings(toml: &str) -> Vec<&str> {
    let lines = toml.lines().filter(|line| !line.starts_with('#'));
    let settings = lines.filter_map(|line| line.split("  # ").next());
    settings.filter(|line| !line.is_empty()).collect()
}

/// Asserts that for each entry there is exactly one line that contains all its words.
fn assert_lines(lines: &[String], expected: &[&[&str]]) {
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for words in expected {
        let is_it = |line: &&String| words.iter().all(|word| line.contains(word));
        let found = lines.iter().filter(is_it).count();
        assert_eq!(found, 1, "{words:?} is not in one line of: {lines:#?}");
    }
}

#[tokio::test]
async fn flags_override_variables_and_variables_override_the_file() {
    let (_dir, path) = file(&format!("{FREE}max-texts = 3\n"));
    // A flag and a variable with the path of the same file.
    let mut by_file = command("serve");
    by_file.args(["--config", &path]);
    let mut by_variable = command("serve");
    by_variable.env("FASTSENTIMENT_CONFIG", &path);
    by_variable.env("FASTSENTIMENT_MAX_TEXTS", "2");
    let mut by_flag = command("serve");
    by_flag.env("FASTSENTIMENT_CONFIG", &path);
    by_flag.env("FASTSENTIMENT_MAX_TEXTS", "2");
    by_flag.args(["--max-texts", "1"]);
    for (mut command, most) in [(by_file, 3), (by_variable, 2), (by_flag, 1)] {
        let server = ServerProcess::spawn(&mut command);
        let texts = vec!["a".to_owned(); most + 1];
        assert_eq!(server.post(&texts[1..]).await.status, 200, "{most}");
        assert_eq!(server.post(&texts).await.status, 422, "{most}");
        assert!(server.greeting.contains(&path), "{}", server.greeting);
    }
}

#[test]
fn all_errors_in_a_file_are_reported_at_once_with_their_lines() {
    let text = "lsten = '127.0.0.1:0'\nmax-texts = 0\nwatch = 'maybe'\nlog = ['a']\n[redis]\n";
    let (_dir, path) = file(text);
    let at = |line| format!("error: {path}:{line}: ");
    for name in ["serve", "predict", "run-guest", "health", "check"] {
        let output = command(name)
            .args(["--config", &path])
            .env("FASTSENTIMENT_ADMIN_LISTEN", "off")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
        assert_eq!(output.stdout, b"", "{name}");
        let faults = lines(&output);
        let of_the_file: Vec<_> = faults
            .iter()
            .filter(|line| line.contains(&path))
            .cloned()
            .collect();
        assert_lines(
            &of_the_file,
            &[
                &[&at(5), "`lsten`", "did you mean `listen`?"],
                &[&at(6), "max-texts = 0", "at least 1"],
                &[&at(7), "watch = \"maybe\"", "true, false"],
                &[&at(8), "log = [\"a\"]", "not a list"],
                &[&at(9), "`redis`", "without tables"],
            ],
        );
        // Commands with this option report the variable, too.
        let variable = "FASTSENTIMENT_ADMIN_LISTEN=off: must be an IP address and a port";
        let told = faults.iter().any(|line| line.contains(variable));
        assert_eq!(
            told,
            ["serve", "health", "check"].contains(&name),
            "{faults:?}"
        );
    }
    let (_dir, path) = file("workers = \n");
    let output = run(command("serve").args(["--config", &path]));
    assert_eq!(output.status.code(), Some(2));
    assert_lines(
        &lines(&output),
        &[&[&format!("{path}:5: "), "invalid TOML"]],
    );
    let output = run(command("serve").env("FASTSENTIMENT_CONFIG", "/nowhere.toml"));
    assert_eq!(output.status.code(), Some(2));
    assert_lines(
        &lines(&output),
        &[&["FASTSENTIMENT_CONFIG", "/nowhere.toml", "No such file"]],
    );
}

#[test]
fn check_reports_all_kinds_of_errors_at_once() {
    let more = "workers = 0\nbody-memory-mib = 1\nadmin-token = 'shorter'\n";
    let (dir, path) = file(more);
    std::fs::create_dir(dir.path().join("model")).unwrap();
    let model = dir.path().join("model");
    let state = dir.path().join("fastsentiment.toml");
    let mut check = command("check");
    check.args([
        "--config",
        &path,
        "--guest",
        "/nowhere.wasm",
        "--guest-max-mib",
        "0",
    ]);
    check
        .args(["--listen", "192.0.2.1:80", "--state"])
        .arg(&state);
    check.env("FASTSENTIMENT_MODEL", &model);
    check.env("FASTSENTIMENT_DEADLINE_MS", "soon");
    check.env("REDIS_URL", "http://:secret@redis");
    check.env("FASTSENTIMENT_ADMIN_LISTEN", "127.0.0.1:0");
    let output = run(&mut check);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout, b"");
    let faults = lines(&output);
    assert_lines(
        &faults,
        &[
            &["fastsentiment.toml:5: workers = 0"],
            &["--guest-max-mib 0", "from 1 to 1024"],
            &["FASTSENTIMENT_DEADLINE_MS=soon", "at least 1"],
            &["--body-memory-mib 1 is too small"],
            &["--listen: cannot listen on 192.0.2.1:80"],
            &["model.onnx does not exist", "make model"],
            &["/nowhere.wasm cannot be read", "make guest"],
            &["Redis"],
            &["admin-token", "at least 16"],
            &["--state", "is not a directory"],
        ],
    );
    assert!(!faults.concat().contains("secret"), "{faults:?}");
    // Without usage errors, the exit code is 1.
    let (_dir, path) = file(FREE);
    let output = checked(&path, &["--onnxruntime", "/nowhere.so"]);
    assert_eq!(output.status.code(), Some(1));
    assert_lines(&lines(&output), &[&["/nowhere.so", "make onnxruntime"]]);
}

#[tokio::test]
async fn check_prints_a_configuration_file_with_the_same_settings() {
    let more = "max-texts = 3\nredis-prefix = \"a \\\"b\\\" \\\\ \u{e9}\"\nwatch = false\n";
    let (dir, path) = file(&format!("{FREE}{more}"));
    let options = ["--workers", "2", "--probation-s", "0"];
    let first = stdout(&checked(&path, &options));
    for line in [
        "max-texts = 3  # ".to_owned() + &path + ":7",
        "workers = 2  # --workers".to_owned(),
        "queue-tokens = 16384  # default".to_owned(),
    ] {
        assert!(first.lines().any(|found| found == line), "{line}: {first}");
    }
    assert!(
        first.contains("\n# answer       {\"predictions\""),
        "{first}"
    );
    let again = dir.path().join("again.toml");
    std::fs::write(&again, &first).unwrap();
    let second = stdout(&checked(again.to_str().unwrap(), &["--no-load"]));
    assert!(settings(&first).len() > 25, "{first}");
    assert_eq!(settings(&second), settings(&first));
    // Nothing was loaded.
    assert!(!second.contains("answer"), "{second}");
    let server = ServerProcess::spawn(command("serve").arg("--config").arg(&again));
    assert_eq!(server.post(&vec!["a".to_owned(); 4]).await.status, 422);
}

#[tokio::test]
async fn secrets_in_a_file_are_used_but_not_shown() {
    const TOKEN: &str = "0123456789abcdef-of-a-file";
    let redis = "redis-url = 'redis://me:hushhush@127.0.0.1:1/3'\n";
    let (_dir, path) = file(&format!("{FREE}{redis}admin-token = '{TOKEN}'\n"));
    let output = checked(&path, &[]);
    let shown = stdout(&output) + &lines(&output).concat();
    for secret in [TOKEN, "hushhush"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("# admin-token = \"(hidden)\""), "{shown}");
    let url = "# redis-url = \"redis://(hidden)@127.0.0.1:1/3\"";
    assert!(shown.contains(url), "{shown}");
    let server = ServerProcess::spawn(command("serve").args(["--config", &path]));
    assert!(!server.greeting.contains("hushhush"), "{}", server.greeting);
    let versions = |token: Option<&str>| {
        let mut versions = command("versions");
        versions.args(["--admin", &server.admin_url("")]);
        if let Some(token) = token {
            versions.env("FASTSENTIMENT_ADMIN_TOKEN", token);
        }
        versions.output().unwrap().status.code()
    };
    assert_eq!(versions(None), Some(3));
    assert_eq!(versions(Some(TOKEN)), Some(0));
}

#[test]
fn a_token_on_the_command_line_is_rejected() {
    for name in ["serve", "check", "versions"] {
        let output = run(command(name).args(["--admin-token", "0123456789abcdef"]));
        assert_eq!(output.status.code(), Some(2), "{name}");
        let told = lines(&output);
        let words = ["--admin-token", "FASTSENTIMENT_ADMIN_TOKEN"];
        assert!(words.iter().all(|word| told[0].contains(word)), "{told:?}");
        assert!(!told.concat().contains("0123456789abcdef"), "{told:?}");
    }
}

#[test]
fn check_warns_of_addresses_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_dir, path) = file(FREE);
    let output = checked(&path, &["--listen", &address, "--no-load"]);
    assert_eq!(output.status.code(), Some(0));
    let told = lines(&output);
    let user = format!("process {} ", std::process::id());
    assert_lines(&told, &[&["warning: --listen", &address, &user]]);
    // It also warns of an admin listener at which versions cannot be managed.
    let everywhere = ["--admin-listen", "0.0.0.0:0", "--no-load"];
    let without_token = ["--admin-token-file", "none"];
    let output = checked(&path, &[&everywhere[..], &without_token].concat());
    assert_eq!(output.status.code(), Some(0));
    assert_lines(
        &lines(&output),
        &[&["warning: --admin-listen 0.0.0.0:0", "--admin-token-file"]],
    );
    // The same address for both listeners is an error.
    let same = ["--listen", "127.0.0.1:9", "--admin-listen", "127.0.0.1:9"];
    let output = checked(&path, &same);
    assert_eq!(output.status.code(), Some(2));
    assert!(lines(&output)[0].contains("its own address"), "{output:?}");
}

#[tokio::test]
async fn health_uses_the_address_in_the_file() {
    let (dir, path) = file(FREE);
    let mut serve = command("serve");
    serve.args(["--config", &path, "--admin-token-file", "none"]);
    let server = ServerProcess::spawn(&mut serve);
    let admin = server.admin_url("").replace("http://", "");
    let said = dir.path().join("health.toml");
    // Other settings only have to be valid.
    let text = format!("admin-listen = '{admin}'\nmax-texts = 5\n");
    std::fs::write(&said, text).unwrap();
    let health = command("health").arg("--config").arg(&said).output();
    assert_eq!(health.unwrap().status.code(), Some(0));
}

#[test]
fn relative_paths_are_relative_to_the_working_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, "model = 'host/tests/fixtures/models/tiny-bert'\n").unwrap();
    let in_directory = |directory: &Path| {
        let mut check = command("check");
        check.current_dir(directory).arg("--no-load");
        check.arg("--config").arg(&path);
        check.arg("--guest").arg(guest_path());
        check.arg("--onnxruntime").arg(onnxruntime());
        let output = run(&mut check);
        (output.status.code(), lines(&output).concat())
    };
    let (code, told) = in_directory(repository());
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = in_directory(dir.path());
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("tiny-bert does not exist"), "{told}");
}
