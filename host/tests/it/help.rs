//! The binary's help, completions and colours, and its startup banner.

use std::process::{Command, Output};

use crate::harness::{BINARY, fixture, guest_path};
use crate::server_process::{ServerProcess, answer, bare};

fn stdout(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn help(arguments: &[&str]) -> String {
    stdout(
        &bare()
            .args(arguments)
            .env("COLUMNS", "80")
            .output()
            .unwrap(),
    )
}

/// The commands that the help lists.
fn commands() -> Vec<String> {
    let help = help(&["--help"]);
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let names = list.lines().filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn help_can_be_read_in_80_columns() {
    let commands = commands();
    assert!(commands.len() > 12, "{commands:?}");
    let mut pages = vec![("fastsentiment".to_owned(), help(&["-h"]), help(&["--help"]))];
    for command in &commands {
        let pair = (help(&[command, "-h"]), help(&[command, "--help"]));
        pages.push((command.clone(), pair.0, pair.1));
    }
    for (command, short, long) in &pages {
        for page in [short, long] {
            assert!(page.contains("Usage: "), "{command}: {page}");
            let wide: Vec<_> = page
                .lines()
                .filter(|line| line.chars().count() > 80)
                .collect();
            assert!(wide.is_empty(), "{command}: {wide:#?}");
        }
        assert!(short.lines().count() <= long.lines().count(), "{command}");
    }
    let of = |name: &str| pages.iter().find(|(command, ..)| command == name).unwrap();
    let (_, short, long) = of("serve");
    // The short help fits on a screen or two, and leaves out what few users need.
    assert!(short.lines().count() < 80, "{short}");
    for option in ["--listen", "--model", "--redis-url", "--config"] {
        assert!(short.contains(option), "{option}: {short}");
    }
    assert!(!short.contains("--probation-failures"), "{short}");
    assert!(!short.contains("env:"), "{short}");
    for words in [
        "--probation-failures",
        "[env: FASTSENTIMENT_MODEL=]",
        "\nCache:\n",
    ] {
        assert!(long.contains(words), "{words}: {long}");
    }
    // Secrets are not shown, and neither are options that are rejected on the command line.
    let secret = bare()
        .args(["serve", "--help"])
        .env("REDIS_URL", "redis://:hush@h")
        .output();
    let secret = stdout(&secret.unwrap());
    assert!(!secret.contains("hush"), "{secret}");
    assert!(!secret.contains("--admin-token <"), "{secret}");
}

#[test]
fn every_command_documents_its_exit_codes() {
    let all = help(&["--help"]);
    for code in ["0 ", "1 ", "2 ", "3 ", "130, 143 ", "141 "] {
        assert!(all.contains(&format!("\n    {code} ")), "{code}: {all}");
    }
    for command in commands().iter().filter(|name| *name != "completions") {
        let page = help(&[command, "-h"]);
        assert!(page.contains("Exit codes: 0 "), "{command}: {page}");
    }
}

#[test]
fn shells_complete_command_lines() {
    let script = stdout(&bare().args(["completions", "bash"]).output().unwrap());
    let completed = |words: &[&str]| {
        let last = words.len() - 1;
        let ask = format!(
            "{script}\ncomplete -p fastsentiment >/dev/null || exit 1\n\
             COMP_WORDS=({}); COMP_CWORD={last}\n\
             _fastsentiment fastsentiment '{}' '{}'\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words[last],
            words[last - 1],
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &ask])
            .output()
            .unwrap();
        let reply = stdout(&output);
        reply
            .lines()
            .map(|line| line.trim().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(completed(&["fastsentiment", "che"]), ["check"]);
    assert_eq!(
        completed(&["fastsentiment", "serve", "--admin-l"]),
        ["--admin-listen"]
    );
    assert_eq!(completed(&["fastsentiment", "compile"]), [""]);
    for (shell, words) in [
        ("zsh", "#compdef fastsentiment"),
        ("fish", "complete -c fastsentiment"),
        ("elvish", "fastsentiment"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = stdout(&bare().args(["completions", shell]).output().unwrap());
        assert!(script.contains(words), "{shell}: {script}");
    }
    let other = bare().args(["completions", "cmd"]).output().unwrap();
    assert_eq!(other.status.code(), Some(2));
}

/// The output of a command on a terminal.
#[cfg(target_os = "linux")]
fn on_a_terminal(arguments: &[&str], no_color: Option<&str>) -> String {
    let words: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
    let line = format!("'{BINARY}' {}", words.join(" "));
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm");
    script.stdin(std::process::Stdio::null());
    script.env_remove("NO_COLOR");
    if let Some(value) = no_color {
        script.env("NO_COLOR", value);
    }
    String::from_utf8(script.output().unwrap().stdout).unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn colours_are_for_terminals_without_no_color() {
    const COLOUR: &str = "\u{1b}[";
    // It logs the address of its admin listener before it finds that there is no model.
    let serve = [
        ("--log", "fastsentiment=debug"),
        ("--listen", "127.0.0.1:0"),
        ("--admin-listen", "127.0.0.1:0"),
        ("--model", "/nowhere"),
    ];
    let serve: Vec<&str> = serve
        .iter()
        .flat_map(|(name, value)| [*name, *value])
        .collect();
    let serve = [&["serve"], &serve[..]].concat();
    for (arguments, words) in [(&["--help"][..], "Usage:"), (&serve, "metrics and health")] {
        let with = on_a_terminal(arguments, None);
        assert!(with.contains(words) && with.contains(COLOUR), "{with}");
        let without = on_a_terminal(arguments, Some("1"));
        assert!(
            without.contains(words) && !without.contains(COLOUR),
            "{without}"
        );
        let output = bare()
            .args(arguments)
            .env_remove("NO_COLOR")
            .output()
            .unwrap();
        let piped = [output.stdout, output.stderr].concat();
        let piped = String::from_utf8(piped).unwrap();
        assert!(piped.contains(words) && !piped.contains(COLOUR), "{piped}");
    }
}

#[tokio::test]
async fn the_banner_lists_addresses_and_what_is_loaded() {
    let (model, redis) = (fixture("tiny-bert"), "redis://127.0.0.1:1");
    let options = ["--listen", "0.0.0.0:0", "--redis-url", redis];
    let server = ServerProcess::with(&model, &options);
    let greeting = &server.greeting;
    let mut lines = greeting.lines();
    let first = format!("FastSentiment {} is ready", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines.next(), Some(first.as_str()));
    let rows: Vec<(&str, &str)> = lines
        .map(|line| line.strip_prefix("  ").unwrap().split_once(' ').unwrap())
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "page",
            "predict",
            "docs",
            "metrics",
            "guest",
            "model",
            "onnxruntime",
            "wasmtime",
            "cache",
            "config"
        ]
    );
    let value = |name: &str| rows.iter().find(|(found, _)| *found == name).unwrap().1;
    // The unspecified address is not one that can be opened.
    assert!(value("page").starts_with("http://127.0.0.1:"), "{greeting}");
    assert!(value("page").contains("all other addresses"), "{greeting}");
    for name in ["docs", "metrics"] {
        let got = answer(testing::client().build().unwrap().get(value(name))).await;
        assert_eq!(got.status, 200, "{name}: {greeting}");
    }
    assert!(
        value("guest").contains(guest_path().to_str().unwrap()),
        "{greeting}"
    );
    assert!(
        value("model").contains(model.to_str().unwrap()),
        "{greeting}"
    );
    let number = value("onnxruntime").split(':').next().unwrap();
    assert!(
        number.split('.').all(|part| part.parse::<u32>().is_ok()),
        "{greeting}"
    );
    assert!(value("wasmtime").starts_with("48."), "{greeting}");
    assert!(
        value("cache").starts_with("64 MiB in memory; Redis: "),
        "{greeting}"
    );
    assert_eq!(value("config"), "no file");
}
