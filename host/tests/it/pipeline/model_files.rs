//! A model directory that changes while a server loads it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, copy_of, fixture};
use crate::server_process::subcommand;

fn signal(child: &Child, signal: &str) {
    let mut kill = Command::new("kill");
    kill.args([signal, &child.id().to_string()]);
    assert!(kill.status().unwrap().success());
}

/// Waits until a process has read from a file.
fn wait_for_read(child: &mut Child, file: &Path) {
    let begun = Instant::now();
    let process = Path::new("/proc").join(child.id().to_string());
    let is_read = |number: OsString| {
        let is_it = fs::read_link(process.join("fd").join(&number)).is_ok_and(|path| path == file);
        // Its first line is the position.
        let info = fs::read_to_string(process.join("fdinfo").join(&number));
        is_it && info.is_ok_and(|info| !info.starts_with("pos:\t0\n"))
    };
    loop {
        let files = fs::read_dir(process.join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        if files.map(|entry| entry.file_name()).any(is_read) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE && child.try_wait().unwrap().is_none());
        sleep(Duration::from_millis(1));
    }
}

/// The last file of the directory is large, so the process is stopped while it takes the
/// digest of that, when it has those of all other files.
#[test]
fn a_model_that_is_replaced_after_its_digest_was_taken_is_refused() {
    let dir = copy_of("tiny-bert");
    let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
    // It takes no room: all of it is a hole.
    File::create(at("z")).unwrap().set_len(4 << 30).unwrap();
    let mut command = subcommand("predict", dir.path());
    command.arg("a text").stdout(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();

    wait_for_read(&mut child, &at("z"));
    signal(&child, "-STOP");
    fs::copy(fixture("tiny-roberta").join("model.onnx"), at(".new")).unwrap();
    fs::rename(at(".new"), at("model.onnx")).unwrap();
    fs::write(at("z"), "").unwrap();
    signal(&child, "-CONT");

    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "the model directory changed while it was loaded: {} is not the same as before",
        dir.path().join("model.onnx").display()
    );
    assert!(message.contains(&expected), "{message}");
}
