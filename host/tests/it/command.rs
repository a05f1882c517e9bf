//! The binary's commands other than `serve`, and its errors.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{copy_of, default_model, fixture, guest_path, onnxruntime};
use crate::limits::hostile_path;
use crate::server_process::{
    ServerProcess, bare, run, run_with_input, subcommand, subcommand_with,
};

const TEXTS: [&str; 4] = [
    "What a wonderful day.",
    "- not an option, and \"quoted\"",
    "tr\u{e8}s bien, \u{5f88}\u{597d} \u{1f600}",
    "",
];

fn stdout(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What `POST /predict` answers to [`TEXTS`], byte for byte.
async fn served() -> String {
    let server = ServerProcess::start(&default_model());
    let answer = server.post(&TEXTS.map(str::to_owned)).await;
    assert_eq!(answer.status, 200);
    let predictions = answer.json()["predictions"].as_array().unwrap().len();
    assert_eq!(predictions, TEXTS.len());
    answer.body
}

/// Asserts that a command prints what the server answers to [`TEXTS`], whether they are
/// arguments or lines.
async fn assert_answers_as_served(command: &str) {
    let served = served().await;
    let by_arguments = run(subcommand(command, &default_model()).arg("--").args(TEXTS));
    assert_eq!(stdout(&by_arguments).trim_end(), served);
    let lines = TEXTS.map(|text| format!("{text}\n")).concat();
    let by_lines = run_with_input(&mut subcommand(command, &default_model()), &lines);
    assert_eq!(stdout(&by_lines).trim_end(), served);
}

#[tokio::test]
async fn the_guest_as_a_command_answers_as_the_server_does() {
    assert_answers_as_served("run-guest").await;
}

/// The reader of standard output may close it early, as `head` does.
#[test]
fn a_command_ends_silently_when_its_reader_has_gone() {
    let rows = tempfile::NamedTempFile::with_suffix(".csv").unwrap();
    std::fs::write(rows.path(), format!("text\n{}", "a\n".repeat(20_000))).unwrap();
    let mut predict = subcommand("predict", &fixture("tiny-bert"));
    predict.arg("--file").arg(rows.path());
    let mut completions = bare();
    completions.args(["completions", "bash"]);
    let mut check = subcommand("check", &fixture("tiny-bert"));
    let mut help = bare();
    help.args(["serve", "--help"]);
    let mut run_guest = subcommand("run-guest", &fixture("tiny-bert"));
    run_guest.arg("a text");
    for command in [
        &mut predict,
        &mut completions,
        &mut check,
        &mut help,
        &mut run_guest,
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        // Before the command starts: what is short would fit into the pipe.
        drop(reader);
        command.stdout(writer).stderr(Stdio::piped());
        let ended = command.spawn().unwrap().wait_with_output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert!(!stderr.contains("error"), "{command:?}: {stderr}");
        // A shell reports 141 for both.
        let status = (ended.status.code(), ended.status.signal());
        let silent = [(Some(141), None), (None, Some(13))];
        assert!(silent.contains(&status), "{command:?}: {status:?} {stderr}");
    }
    // Any other error of standard output is reported.
    for command in [&mut completions, &mut help] {
        let full = std::fs::File::create("/dev/full").unwrap();
        let ended = command.stdout(full).output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert!(stderr.contains("No space left"), "{stderr}");
        assert_eq!(ended.status.code(), Some(1));
    }
}

#[tokio::test]
async fn predict_answers_as_the_server_does() {
    assert_answers_as_served("predict").await;
    let nothing = run_with_input(&mut subcommand("predict", &default_model()), "");
    assert_eq!(stdout(&nothing).trim_end(), r#"{"predictions":[]}"#);
}

#[test]
fn check_prints_what_it_found() {
    let check = || stdout(&run(&mut subcommand("check", &fixture("tiny-bert"))));
    check();
    let report = check();
    let value = |name: &str| {
        let mut comments = report.lines().filter_map(|line| line.strip_prefix("# "));
        let line = comments.find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} is not in: {report}"))
            .trim()
    };
    let library = onnxruntime().display().to_string();
    assert!(value("onnxruntime ").starts_with(&library), "{report}");
    assert!(value("model ").starts_with(&fixture("tiny-bert").display().to_string()));
    assert!(value("guest ").starts_with(&guest_path().display().to_string()));
    assert!(value("guest ").contains("compiled before"));
    for name in ["model ", "guest "] {
        let version = value(name).split(['(', ',', ')']).nth(1).unwrap();
        assert_eq!(version.len(), 12, "{report}");
        assert!(
            version.chars().all(|digit| digit.is_ascii_hexdigit()),
            "{report}"
        );
    }
    let answer: Value = serde_json::from_str(value("answer ")).unwrap();
    assert_eq!(answer["predictions"][0].as_array().unwrap().len(), 2);
}

#[test]
fn version_and_help_are_printed() {
    let number = env!("CARGO_PKG_VERSION");
    let version = stdout(&run(bare().arg("-V")));
    assert_eq!(version, format!("fastsentiment {number}\n"));
    let version = stdout(&run(bare().arg("--version")));
    let lines: Vec<&str> = version.lines().collect();
    assert_eq!(lines[0], format!("fastsentiment {number}"));
    assert!(lines[1].starts_with("wasmtime 48."), "{version}");
    assert!(lines[2].starts_with("ONNX Runtime 1.24 "), "{version}");
    let help = stdout(&run(bare().arg("--help")));
    for command in ["serve", "predict", "check", "health", "run-guest"] {
        assert!(help.contains(command), "{help}");
    }
}

/// Asserts that a command fails with one line that contains all of `words`.
fn assert_fails(command: &mut Command, words: &[&str]) {
    assert_fails_with(1, command, words);
}

/// Like [`assert_fails`], with another exit code.
fn assert_fails_with(code: i32, command: &mut Command, words: &[&str]) {
    let output = run(command);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {stderr}");
    assert_eq!(output.stdout, b"", "{command:?}");
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
}

#[test]
fn a_missing_file_is_named_in_one_line() {
    let (model, guest, library) = (fixture("tiny-bert"), guest_path(), onnxruntime());
    let empty = tempfile::tempdir().unwrap();
    let nowhere = Path::new("/nowhere/to/be/found");
    let found = nowhere.to_str().unwrap();
    // A file that exists, but of another kind.
    let other = model.join("config.json");
    let name = other.to_str().unwrap();
    for command in ["serve", "predict", "check", "run-guest"] {
        let with = |model, guest, library| subcommand_with(command, model, guest, library);
        assert_fails(&mut with(nowhere, guest, &library), &[found]);
        assert_fails(&mut with(empty.path(), guest, &library), &["model.onnx"]);
        assert_fails(
            &mut with(&model, nowhere, &library),
            &[found, "No such file", "--guest", "make guest"],
        );
        assert_fails(
            &mut with(&model, &other, &library),
            &["not a valid WebAssembly component"],
        );
        assert_fails(
            &mut with(&model, guest, nowhere),
            &[found, "make onnxruntime", "ORT_DYLIB_PATH"],
        );
        assert_fails(&mut with(&model, guest, &other), &[name, "ONNX Runtime"]);
    }
}

/// A server's log must not have them, and `logs.rs` tests that it does not.
#[test]
fn the_words_of_a_guest_are_shown_to_its_author() {
    let (model, guest, library) = (fixture("tiny-bert"), hostile_path(), onnxruntime());
    let predict = || subcommand_with("predict", &model, guest, &library);
    let cases: [(&str, &[&str]); 4] = [
        (
            "do panic: at the disco",
            &[
                "the guest trapped: unreachable",
                "panicked at ",
                "at the disco",
            ],
        ),
        ("do fail with: no luck", &["the guest failed: no luck"]),
        ("do refuse with: bad manners", &["bad manners"]),
        // It cannot control the terminal.
        (
            "do panic: \u{1b}[31mred\r\nerror: forged",
            &["\\u{1b}[31mred error: forged"],
        ),
    ];
    for (text, words) in cases {
        assert_fails(predict().arg(text), words);
    }
    let rows = tempfile::NamedTempFile::with_suffix(".csv").unwrap();
    std::fs::write(rows.path(), "text\ndo panic: at the disco\n").unwrap();
    let output = run(predict().arg("--file").arg(rows.path()));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("line 2: ") && stderr.contains("at the disco"),
        "{stderr}"
    );
    // The guest reads an order for `prepare` from the model directory.
    let dir = copy_of("tiny-bert");
    for (order, words) in [
        (
            "do panic: at the disco",
            ["it trapped: unreachable", "it printed: ", "at the disco"],
        ),
        (
            "do take memory",
            ["it ran out of memory", "the limit is ", "bytes"],
        ),
    ] {
        std::fs::write(dir.path().join("order"), order).unwrap();
        let mut check = subcommand_with("check", dir.path(), guest, &library);
        assert_fails(&mut check, &words);
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let user = format!("process {} ", std::process::id());
    for option in ["--listen", "--admin-listen"] {
        for host in ["127.0.0.1", "0.0.0.0", "[::]"] {
            let address = format!("{host}:{port}");
            let mut serve = subcommand("serve", &fixture("tiny-bert"));
            serve.args([option, &address]);
            assert_fails(&mut serve, &[&address, &user, "in use", option]);
        }
    }
}

#[test]
fn conflicting_limits_are_named() {
    let mut serve = subcommand("serve", &fixture("tiny-bert"));
    serve.args(["--body-memory-mib", "1", "--max-body-bytes", "1048576"]);
    assert_fails_with(2, &mut serve, &["--body-memory-mib", "--max-body-bytes"]);
}

/// `fastsentiment check` with another artefact directory.
fn check_with_artifacts(dir: &Path) -> Command {
    let mut check = check_with_default_artifacts();
    check.arg("--artifacts").arg(dir);
    check
}

fn check_with_default_artifacts() -> Command {
    let mut check = bare();
    check.arg("check");
    check.arg("--model").arg(fixture("tiny-bert"));
    check.arg("--onnxruntime").arg(onnxruntime());
    check.arg("--guest").arg(guest_path());
    check
}

#[test]
fn an_artefact_directory_that_others_can_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut check = check_with_artifacts(dir.path());
    let path = dir.path().to_str().unwrap();
    assert_fails(&mut check, &[path, "(mode 777)", "--artifacts"]);
}

/// Nobody has chosen the default, such as that of a user whose home is another one's.
#[test]
fn a_default_artefact_directory_that_others_can_write_to_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut check = check_with_default_artifacts();
    check.env("HOME", home.path());
    check.env("XDG_CACHE_HOME", home.path().join("cache"));
    let output = run(&mut check);
    assert!(output.status.success(), "{output:?}");
    let warning = String::from_utf8_lossy(&output.stderr);
    for words in ["(mode 777)", "compiled at every start"] {
        assert!(warning.contains(words), "{warning}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_state_directory_that_others_can_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut check = subcommand("check", &fixture("tiny-bert"));
    check.arg("--no-load").arg("--state").arg(&state);
    assert_fails(&mut check, &[state.to_str().unwrap(), "(mode 777)"]);
}

#[test]
fn an_artefact_directory_that_cannot_be_created_is_not_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = run(&mut check_with_artifacts(&file.join("artefacts")));
    let warning = String::from_utf8_lossy(&output.stderr);
    assert!(warning.contains("compiled at every start"), "{warning}");
    assert!(stdout(&output).contains("compiled just now"));
}

#[test]
fn an_empty_artefact_directory_disables_artefacts() {
    let output = run(&mut check_with_artifacts(Path::new("")));
    let said = stdout(&output);
    assert!(said.contains("not kept"), "{said}");
}

#[test]
fn usage_errors_have_their_own_exit_code() {
    let cases: [&[&str]; 8] = [
        &[],
        &["conquer"],
        &["serve", "--no-such-option"],
        &["serve", "--listen", "somewhere"],
        &["serve", "--admin-listen", "off"],
        &["serve", "--workers", "0"],
        &["serve", "--max-connections", "0"],
        &["predict", "--guest-timeout-ms", "0"],
    ];
    for arguments in cases {
        let output = run(bare().args(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(output.stdout, b"", "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    let output = run(bare().args(["--log", "=loud=", "serve"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--log"));
}
