//! A model directory that changes while a server loads it.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::harness::{PATIENCE, copy_of, fixture};
use crate::server_process::subcommand;

/// The last file of the directory is a pipe, so the digests wait for the test when
/// they have been taken of all other files.
#[test]
fn a_model_that_is_replaced_after_its_digest_was_taken_is_refused() {
    let dir = copy_of("tiny-bert");
    let at = |name: &str| dir.path().join(name);
    let made = Command::new("mkfifo").arg(at("z")).status();
    assert!(made.unwrap().success());
    let mut command = subcommand("predict", dir.path());
    command.arg("a text").stdout(Stdio::null());
    let child = command.stderr(Stdio::piped()).spawn().unwrap();

    let (opened, writer) = mpsc::channel();
    let pipe = at("z");
    thread::spawn(move || opened.send(File::options().write(true).open(pipe)));
    let writer = writer.recv_timeout(PATIENCE).expect("the pipe is read");
    fs::copy(fixture("tiny-roberta").join("model.onnx"), at(".new")).unwrap();
    fs::rename(at(".new"), at("model.onnx")).unwrap();
    // An empty file has the digest of an empty pipe.
    fs::write(at(".new"), "").unwrap();
    fs::rename(at(".new"), at("z")).unwrap();
    drop(writer.unwrap());

    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "the model directory changed while it was loaded: {} is not the same as before",
        at("model.onnx").display()
    );
    assert!(message.contains(&expected), "{message}");
}
