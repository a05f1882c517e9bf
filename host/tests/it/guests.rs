//! `fastsentiment new` and `fastsentiment test`. Projects are built by
//! `host/tests/languages`.

use std::path::Path;
use std::process::Output;

use tempfile::tempdir;

use crate::harness::{build_guest, default_model, example_path, onnxruntime, repository};
use crate::hostile::no_golden;
use crate::server_process::{bare, run, subcommand_with};

fn new(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = bare();
    command.current_dir(dir).arg("new").args(arguments);
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_project_has_all_it_needs_and_its_name() {
    let dir = tempdir().unwrap();
    for (lang, kind, source) in [
        ("rust", "words", "src/lib.rs"),
        ("rust", "model", "src/lib.rs"),
        ("js", "words", "guest.js"),
        ("python", "words", "app.py"),
        ("c", "words", "guest.c"),
        (
            "go",
            "words",
            "export_fastsentiment_predict_predictor/guest.go",
        ),
    ] {
        let name = format!("my-{lang}-{kind}");
        let made = new(dir.path(), &[&name, "--lang", lang, "--kind", kind]);
        assert!(made.status.success(), "{}", stderr(&made));
        let next = format!("cd {name} && ./build.sh");
        assert!(stdout(&made).contains(&next), "{}", stdout(&made));
        let project = dir.path().join(&name);
        for file in ["build.sh", "cases.jsonl", "README.md", ".gitignore", source] {
            let text = std::fs::read_to_string(project.join(file)).unwrap();
            assert!(!text.contains("{{"), "{lang} {kind} {file}: {text}");
        }
        let readme = std::fs::read_to_string(project.join("README.md")).unwrap();
        assert!(readme.starts_with(&format!("# {name}\n")), "{readme}");
        for file in ["predict.wit", "deps/wasi-nn/wasi-nn.wit"] {
            let own = std::fs::read(repository().join("wit").join(file)).unwrap();
            assert_eq!(std::fs::read(project.join("wit").join(file)).unwrap(), own);
        }
        let bindings = project.join("bindings/guest_component_type.o").is_file();
        assert_eq!(bindings, lang == "c");
        let bindings = project.join("wit_exports.go").is_file();
        assert_eq!(bindings, lang == "go");
    }
}

#[test]
fn a_project_that_cannot_be_made_is_refused_in_a_sentence() {
    let dir = tempdir().unwrap();
    std::fs::create_dir(dir.path().join("there")).unwrap();
    for (arguments, words) in [
        (&["there", "--lang", "c"][..], "there exists already"),
        (
            &["../up", "--lang", "c"],
            "must begin with a lower-case letter",
        ),
        (
            &["mine", "--lang", "cobol"],
            "[possible values: rust, js, python, c, go]",
        ),
        (&["mine"], "--lang <LANGUAGE>"),
        (
            &["mine", "--lang", "js", "--kind", "model"],
            "for Rust alone",
        ),
    ] {
        let refused = new(dir.path(), arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&refused).contains(words), "{}", stderr(&refused));
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

/// Tests a guest with cases, and with a model unless `model` is `None`.
fn test(guest: &Path, model: Option<&Path>, cases: &str) -> Output {
    let dir = tempdir().unwrap();
    let file = dir.path().join("cases.jsonl");
    std::fs::write(&file, cases).unwrap();
    let any = example_path("lexicon");
    let mut command = subcommand_with("test", model.unwrap_or(Path::new("")), &any, &onnxruntime());
    if model.is_none() {
        // The default model is looked for beside the binary and here.
        command = bare();
        command
            .current_dir(dir.path())
            .args(["test", "--artifacts", ""]);
    }
    run(command.arg(guest).arg(&file))
}

#[test]
fn a_guest_passes_its_cases_with_and_without_a_model() {
    let lexicon = example_path("lexicon");
    let cases = "{\"text\": \"A wonderful film.\", \"label\": \"POSITIVE\", \"score\": 0.92}\n\n\
                 {\"text\": \"awful\", \"label\": \"NEGATIVE\"}\n";
    let model = default_model();
    for (model, words) in [(Some(&*model), "with the model"), (None, "without a model")] {
        let tested = test(&lexicon, model, cases);
        let out = stdout(&tested);
        assert!(tested.status.success(), "{out} {}", stderr(&tested));
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[0].contains(words), "{out}");
        let said = "labels NEGATIVE, POSITIVE; texts are computed together";
        assert_eq!(lines[1], said, "{out}");
        assert!(lines[2].starts_with("ok      1  POSITIVE 0.92"), "{out}");
        assert!(lines[3].starts_with("ok      3  NEGATIVE"), "{out}");
        assert_eq!(lines[4..], ["2 passed, 0 failed"], "{out}");
    }
}

#[test]
fn what_a_guest_does_wrong_is_shown_and_fails() {
    let hostile = build_guest("hostile-guest");
    let cases = r#"{"text": "do score: 0.5", "label": "GOOD", "score": 0.5}
{"text": "do score: 0.5", "label": "BAD"}
{"text": "do score: 0.5", "label": "GOOD", "score": 0.9, "within": 0.1}
{"text": "do say: I am here", "label": "nowhere"}
{"text": "do panic: of fear", "label": "GOOD"}
{"text": "do panic: of fear", "error": "of fear"}
{"text": "do refuse: 3", "error": "xxx"}
{"text": "do refuse: 3", "error": "yyy"}
"#;
    let tested = test(&hostile, Some(&no_golden()), cases);
    assert_eq!(tested.status.code(), Some(1), "{}", stderr(&tested));
    let out = stdout(&tested);
    let verdicts: Vec<&str> = out
        .lines()
        .filter(|line| line.starts_with("ok ") || line.starts_with("FAIL "))
        .map(|line| &line[..2])
        .collect();
    let expected = ["ok", "FA", "FA", "FA", "FA", "ok", "ok", "FA"];
    assert_eq!(verdicts, expected, "{out}");
    for words in [
        "expected BAD",
        "expected GOOD 0.9 within 0.1",
        "stdout: I am here",
        "stderr: I am here",
        "the guest trapped: unreachable",
        "text 0 cannot be scored: xxx",
        "expected an error with `yyy`",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(out.ends_with("\n3 passed, 5 failed\n"), "{out}");
}

#[test]
fn cases_and_guests_that_cannot_be_used_are_refused() {
    let lexicon = example_path("lexicon");
    let wrong = test(&lexicon, None, "{\"text\": \"a\", \"labels\": \"A\"}");
    assert_eq!(wrong.status.code(), Some(2));
    let error = stderr(&wrong);
    assert!(error.contains("line 1: unknown field `labels`"), "{error}");
    assert_eq!(test(&lexicon, None, "").status.code(), Some(2));
    let case = "{\"text\": \"a\", \"label\": \"A\"}";
    let none = test(Path::new("/nowhere.wasm"), None, case);
    assert_eq!(none.status.code(), Some(1));
    let error = stderr(&none);
    assert!(
        error.contains("the guest /nowhere.wasm cannot be read"),
        "{error}"
    );
    assert!(!error.contains("--guest"), "{error}");
    let module = tempdir().unwrap().path().with_extension("wasm");
    std::fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    let refused = test(&module, None, case);
    std::fs::remove_file(&module).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let error = stderr(&refused);
    assert!(error.contains("refused at the step `contract`"), "{error}");
    // It needs a model, and says so.
    let needy = test(&build_guest("guest"), None, case);
    assert_eq!(needy.status.code(), Some(1));
    let error = stderr(&needy);
    assert!(error.contains("set one with --model"), "{error}");
}
