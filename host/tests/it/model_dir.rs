//! Model directories that cannot be served: every command that loads one says in one
//! sentence which file is at fault and what helps.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{copy_of, fixture, guest_path};
use crate::server_process::{run, subcommand};

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 23000000\n";

/// The error of a command with a model directory, which must be one line.
fn refused_by(command: &str, model: &Path) -> String {
    let mut command = subcommand(command, model);
    let output = run(&mut command);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {stderr}");
    assert_eq!(output.stdout, b"", "{command:?}");
    assert_eq!(stderr.lines().count(), 1, "{command:?}: {stderr}");
    assert!(stderr.starts_with("error: "), "{command:?}: {stderr}");
    for word in ["panicked", "RUST_BACKTRACE", "do not match"] {
        assert!(!stderr.contains(word), "{word:?} is in: {stderr}");
    }
    stderr
}

/// A copy of a fixture without golden answers, which were made for the original files.
fn model(name: &str) -> TempDir {
    let dir = copy_of(name);
    fs::remove_file(dir.path().join("golden.json")).unwrap();
    dir
}

type Change = fn(&Path);

/// What is wrong with a copy of `tiny-bert` after `change`, to `commands`.
fn assert_refused(commands: &[&str], change: Change, words: &[&str]) {
    let dir = model("tiny-bert");
    change(dir.path());
    for command in commands {
        let told = refused_by(command, dir.path());
        let expected = words
            .iter()
            .map(|word| word.replace("DIR", dir.path().to_str().unwrap()));
        for word in expected {
            assert!(
                told.contains(&word),
                "{command}: {word:?} is not in: {told}"
            );
        }
    }
}

fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) {
    fs::write(dir.join(name), content).unwrap();
}

fn remove(dir: &Path, name: &str) {
    fs::remove_file(dir.join(name)).unwrap();
}

/// The middle of a JSON file is missing, or rather its end.
fn truncate(dir: &Path, name: &str) {
    let text = fs::read(dir.join(name)).unwrap();
    write(dir, name, &text[..text.len() / 2]);
}

fn replace_by_link(dir: &Path, name: &str, target: &str) {
    remove(dir, name);
    symlink(target, dir.join(name)).unwrap();
}

fn replace_by_pipe(dir: &Path, name: &str) {
    remove(dir, name);
    let made = Command::new("mkfifo").arg(dir.join(name)).status();
    assert!(made.unwrap().success());
}

/// Changes the object in a JSON file, which need not exist.
fn edit(dir: &Path, name: &str, change: impl FnOnce(&mut Value)) {
    let text = fs::read(dir.join(name)).unwrap_or_else(|_| b"{}".to_vec());
    let mut value = serde_json::from_slice(&text).unwrap();
    change(&mut value);
    write(dir, name, value.to_string());
}

/// Sets a value of a JSON file, at a path of keys.
fn set(dir: &Path, name: &str, path: &str, value: Value) {
    let (parent, key) = path.rsplit_once('/').unwrap();
    edit(dir, name, |file| {
        file.pointer_mut(parent).unwrap()[key] = value;
    });
}

/// The commands that load a model.
const COMMANDS: [&str; 4] = ["serve", "predict", "check", "run-guest"];

#[test]
fn what_no_guest_could_read_is_named_before_anything_is_loaded() {
    let cases: [(Change, &[&str]); 14] = [
        (
            |dir| remove(dir, "model.onnx"),
            &["DIR/model.onnx does not exist: ", "make model", "--model"],
        ),
        (
            |dir| {
                fs::create_dir(dir.join("onnx")).unwrap();
                fs::rename(dir.join("model.onnx"), dir.join("onnx/model_fp16.onnx")).unwrap();
            },
            &["DIR/model.onnx does not exist, but DIR/onnx/model_fp16.onnx does: copy it"],
        ),
        (
            |dir| fs::rename(dir.join("model.onnx"), dir.join("model_quantized.onnx")).unwrap(),
            &["does not exist, but DIR/model_quantized.onnx does: copy it"],
        ),
        (
            |dir| fs::rename(dir.join("model.onnx"), dir.join("model.safetensors")).unwrap(),
            &["but DIR/model.safetensors does: export it with `make model MODEL=DIR`"],
        ),
        (
            |dir| write(dir, "model.onnx", POINTER),
            &["DIR/model.onnx is a Git LFS pointer", "git lfs pull"],
        ),
        (
            |dir| write(dir, "tokenizer.json", POINTER),
            &["DIR/tokenizer.json is a Git LFS pointer", "git lfs pull"],
        ),
        (
            |dir| write(dir, "config.json", POINTER),
            &["DIR/config.json is a Git LFS pointer", "git lfs pull"],
        ),
        (
            |dir| write(dir, "model.onnx", ""),
            &["DIR/model.onnx is empty: replace it"],
        ),
        (
            |dir| write(dir, "model.onnx", "<!DOCTYPE html>\n<title>404</title>"),
            &["DIR/model.onnx", "is it an ONNX model?", "--model"],
        ),
        (
            |dir| replace_by_link(dir, "config.json", "../gone"),
            &["DIR/config.json is a link to ../gone, which cannot be followed: No such file"],
        ),
        (
            // Not a file that is read, but one that the digest is taken of.
            |dir| symlink("/nowhere", dir.join("README.md")).unwrap(),
            &["DIR/README.md is a link to /nowhere, which", "or remove it"],
        ),
        (
            |dir| replace_by_pipe(dir, "tokenizer.json"),
            &["DIR/tokenizer.json is a named pipe, not a file: remove it"],
        ),
        (
            |dir| drop(UnixListener::bind(dir.join("notes")).unwrap()),
            &["DIR/notes is a socket, not a file"],
        ),
        (
            |dir| {
                remove(dir, "model.onnx");
                fs::create_dir(dir.join("model.onnx")).unwrap();
            },
            &["DIR/model.onnx is a directory, not a file: replace it"],
        ),
    ];
    for (change, words) in cases {
        assert_refused(&COMMANDS, change, words);
    }
}

#[test]
fn a_damaged_json_file_is_named() {
    let cases: [(Change, &[&str]); 7] = [
        (
            |dir| {
                write(dir, "tokenizer.json", "{");
                let file = dir.join("tokenizer.json");
                let file = std::fs::File::options().write(true).open(file).unwrap();
                file.set_len(257 << 20).unwrap();
            },
            &["DIR/tokenizer.json is larger than 256 MiB"],
        ),
        (
            |dir| write(dir, "tokenizer.json", " \n"),
            &["DIR/tokenizer.json is empty: replace it"],
        ),
        (
            |dir| truncate(dir, "tokenizer.json"),
            &[
                "DIR/tokenizer.json is not valid JSON: EOF",
                " line ",
                " column ",
            ],
        ),
        (
            |dir| write(dir, "config.json", "{\n  \"id2label\": {,}\n}"),
            &["DIR/config.json is not valid JSON: ", "line 2 column 16"],
        ),
        (
            |dir| write(dir, "config.json", "[]"),
            &["DIR/config.json is not a JSON object"],
        ),
        (
            |dir| write(dir, "tokenizer_config.json", b"{\"a\": \"\xe9\"}"),
            &["DIR/tokenizer_config.json is not UTF-8: the byte at 7"],
        ),
        (
            |dir| write(dir, "config.json", "\u{feff}{}"),
            &["DIR/config.json begins with a byte order mark"],
        ),
    ];
    for (change, words) in cases {
        assert_refused(&COMMANDS, change, words);
    }
}

#[test]
fn a_path_that_is_not_a_directory_is_named() {
    let file = fixture("tiny-bert").join("config.json");
    let pipe = tempfile::tempdir().unwrap();
    write(pipe.path(), "pipe", "");
    replace_by_pipe(pipe.path(), "pipe");
    for command in COMMANDS {
        for path in [&file, &pipe.path().join("pipe")] {
            let told = refused_by(command, path);
            let expected = format!("{} is not a directory: set it with --model", path.display());
            assert!(told.contains(&expected), "{told}");
        }
        let told = refused_by(command, Path::new("/nowhere/at/all"));
        let expected = "/nowhere/at/all does not exist: set it with --model";
        assert!(told.contains(expected), "{told}");
    }
}

/// The guest's own judgement, in its words.
#[test]
fn what_the_default_guest_cannot_use_is_named() {
    let guest = guest_path().display().to_string();
    let cases: [(Change, &[&str]); 8] = [
        (
            |dir| set(dir, "config.json", "/id2label", json!({"0": "a", "1": "a"})),
            &["ids 0 and 1 the same label \"a\"", "config.json", "--model"],
        ),
        (
            |dir| {
                set(
                    dir,
                    "config.json",
                    "/id2label",
                    json!({"0": "a", "1": "a\u{200b}"}),
                );
            },
            &[
                "U+200B",
                "without control, invisible",
                "config.json",
                "--model",
            ],
        ),
        (
            |dir| remove(dir, "tokenizer.json"),
            &["DIR/tokenizer.json, which", "the guest", "--model"],
        ),
        (
            |dir| set(dir, "config.json", "/id2label", json!({"0": "a", "2": "b"})),
            &[
                "config.json: `id2label` has the unexpected id \"2\"",
                "--model",
            ],
        ),
        (
            |dir| set(dir, "tokenizer.json", "/model/type", json!("Canine")),
            &[
                "DIR/tokenizer.json",
                "type \"Canine\"",
                "BPE, Unigram, WordLevel, WordPiece",
            ],
        ),
        (
            |dir| set(dir, "tokenizer.json", "/model/unk_token", json!("[NO]")),
            &["DIR/tokenizer.json", "cannot encode every text", "[UNK]"],
        ),
        (
            |dir| set(dir, "config.json", "/max_position_embeddings", json!(400)),
            &["does not take the 400 tokens", "config.json"],
        ),
        (
            // All files are there, but belong to models with different labels.
            |dir| {
                let other = fixture("tiny-distilbert-5").join("model.onnx");
                fs::copy(other, dir.join("model.onnx")).unwrap();
            },
            &["--guest", "--model", "[1, 5]", "config.json"],
        ),
    ];
    for (change, words) in cases {
        let words = [words, &[&*guest]].concat();
        assert_refused(&["predict"], change, &words);
    }
    // The other commands take the same way.
    let change: Change = |dir| set(dir, "config.json", "/id2label", json!({}));
    assert_refused(&["serve", "run-guest"], change, &["`id2label` is empty"]);
}

#[test]
fn a_pointer_that_no_model_needs_is_no_fault() {
    let dir = model("tiny-bert");
    write(dir.path(), "pytorch_model.bin", POINTER);
    write(dir.path(), ".gitattributes", POINTER);
    symlink("/nowhere", dir.path().join(".cache")).unwrap();
    let output = run(subcommand("predict", dir.path()).arg("a text"));
    assert!(output.status.success(), "{output:?}");
}

/// The scores of a long text, with `--model`.
fn scores(model: &Path) -> Vec<u8> {
    let text = "it is a very long review of the film and i love it ".repeat(20);
    let output = run(subcommand("predict", model).arg(text));
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn a_directory_without_a_limit_gets_that_of_its_graph() {
    let expected = scores(model("tiny-bert").path());
    let dir = model("tiny-bert");
    edit(dir.path(), "config.json", |config| {
        config
            .as_object_mut()
            .unwrap()
            .remove("max_position_embeddings");
    });
    assert_eq!(scores(dir.path()), expected);
}

#[test]
fn other_names_of_the_limit_are_known() {
    let limited = |limit: fn(&Path)| {
        let dir = model("tiny-bert");
        limit(dir.path());
        scores(dir.path())
    };
    let expected = limited(|dir| {
        edit(dir, "tokenizer_config.json", |file| {
            file["model_max_length"] = json!(9);
        });
    });
    assert_ne!(expected, scores(model("tiny-bert").path()));
    let by_old_name = limited(|dir| {
        edit(dir, "tokenizer_config.json", |file| {
            file["max_len"] = json!(9);
        });
    });
    assert_eq!(by_old_name, expected);
    let by_name_of_gpt2 = limited(|dir| {
        edit(dir, "config.json", |config| {
            config
                .as_object_mut()
                .unwrap()
                .remove("max_position_embeddings");
            config["n_positions"] = json!(9);
        });
    });
    assert_eq!(by_name_of_gpt2, expected);
    let by_tokenizer = limited(|dir| {
        edit(dir, "config.json", |config| {
            config
                .as_object_mut()
                .unwrap()
                .remove("max_position_embeddings");
        });
        edit(dir, "tokenizer.json", |file| {
            file["truncation"] = json!({
                "direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0
            });
        });
    });
    assert_eq!(by_tokenizer, expected);
}
