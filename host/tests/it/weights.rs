//! Models whose weights are in files of their own, wherever these are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::{copy_of, fixture};
use crate::server_process::{ServerProcess, run, subcommand};

const WEIGHTS: &str = "onnx/weights/tiny.bin";

const TEXTS: [&str; 3] = ["A good film.", "Awful, and far too long!", "film film"];

/// The scores of the texts, as a command prints them.
fn scores(model: &Path) -> Vec<u8> {
    let output = run(subcommand("predict", model).args(TEXTS));
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// The error of a command, which must be one line.
fn refused(model: &Path) -> String {
    let output = run(subcommand("check", model).arg("--no-load"));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

/// `tiny-bert` once more, with its weights in a folder beside the graph.
fn external() -> TempDir {
    copy_of("tiny-external")
}

#[test]
fn a_graph_and_weights_in_folders_are_served() {
    assert_eq!(scores(external().path()), scores(&fixture("tiny-bert")));
}

/// As `huggingface_hub` keeps a model: a snapshot of links to blobs beside it.
fn as_in_the_hubs_cache(model: &Path) -> (TempDir, PathBuf) {
    let hub = tempfile::tempdir().unwrap();
    let (blobs, snapshot) = (hub.path().join("blobs"), hub.path().join("snapshots/abc"));
    fs::create_dir(&blobs).unwrap();
    let files = ["config.json", "tokenizer.json", "onnx/model.onnx", WEIGHTS];
    for (number, name) in files.iter().enumerate() {
        fs::copy(model.join(name), blobs.join(number.to_string())).unwrap();
        let link = snapshot.join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let up = "../".repeat(name.split('/').count() + 1);
        symlink(format!("{up}blobs/{number}"), link).unwrap();
    }
    (hub, snapshot)
}

#[test]
fn links_as_in_the_hubs_cache_are_followed() {
    let expected = scores(&fixture("tiny-bert"));
    let model = external();
    let (_hub, snapshot) = as_in_the_hubs_cache(model.path());
    assert_eq!(scores(&snapshot), expected);
    // As a command, the guest reads the files as well.
    let output = run(subcommand("run-guest", &snapshot).args(["--", TEXTS[0]]));
    assert!(output.status.success(), "{output:?}");
}

/// Where the first bias of the classifier is in the file.
const BIAS: std::ops::Range<usize> = 36_352..36_356;

/// Changes the weights of a model, and nothing else.
fn change_weights(model: &Path) {
    let file = model.join(WEIGHTS);
    let mut weights = fs::read(&file).unwrap();
    weights[BIAS].copy_from_slice(&9.0_f32.to_le_bytes());
    fs::write(&file, weights).unwrap();
}

/// Answers are cached under this digest, also in a Redis that servers share.
#[tokio::test]
async fn weights_in_a_folder_are_part_of_the_models_digest() {
    let (one, same, other) = (external(), external(), external());
    change_weights(other.path());
    let mut found = Vec::new();
    for model in [&one, &same, &other] {
        let server = ServerProcess::start(model.path());
        let answer = server.post(&TEXTS.map(str::to_owned)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let digest = answer.headers["x-fastsentiment-model"].clone();
        found.push((digest, answer.body));
    }
    assert_eq!(found[0], found[1]);
    assert_ne!(found[0].0, found[2].0);
    assert_ne!(found[0].1, found[2].1);
}

#[test]
fn damaged_weights_are_named() {
    type Change = fn(&Path);
    let cases: [(Change, &[&str]); 4] = [
        (
            |file| fs::remove_file(file).unwrap(),
            &["does not exist, and the weights of model.onnx should be there"],
        ),
        (
            |file| fs::write(file, &fs::read(file).unwrap()[..1000]).unwrap(),
            &["is shorter than model.onnx says"],
        ),
        (
            |file| {
                let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2\n";
                fs::write(file, pointer).unwrap();
            },
            &["is a Git LFS pointer", "git lfs pull"],
        ),
        (
            |file| {
                fs::remove_file(file).unwrap();
                symlink("/nowhere", file).unwrap();
            },
            &["is a link to /nowhere, which cannot be followed"],
        ),
    ];
    for (change, words) in cases {
        let model = external();
        let file = model.path().join(WEIGHTS);
        change(&file);
        let told = refused(model.path());
        for word in words.iter().chain(&[&*file.to_string_lossy()]) {
            assert!(told.contains(word), "{word:?} is not in: {told}");
        }
    }
}
