//! `fastsentiment dev`: a project is built, tested and served anew when it changes.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::{NamedTempFile, TempDir, tempdir};
use testing::answer;

use crate::harness::{PATIENCE, artifacts, example_path, onnxruntime};
use crate::hostile::no_golden;
use crate::server_process::{bare, terminate};

/// A project whose build copies a guest, and puts a section behind it that means nothing.
fn project() -> TempDir {
    let dir = tempdir().unwrap();
    let lexicon = example_path("lexicon");
    let build = format!(
        "#!/bin/sh\nset -e\ncp '{}' guest.wasm\nprintf '\\000\\002\\001v' >> guest.wasm\n",
        lexicon.display()
    );
    fs::write(dir.path().join("build.sh"), build).unwrap();
    let mut command = std::process::Command::new("chmod");
    let status = command.arg("+x").arg(dir.path().join("build.sh")).status();
    assert!(status.unwrap().success());
    write_case(dir.path(), "POSITIVE");
    dir
}

fn write_case(project: &Path, label: &str) {
    let case = json!({ "text": "great", "label": label });
    fs::write(project.join("cases.jsonl"), case.to_string()).unwrap();
}

/// The command, which is ended with its test.
struct Dev {
    child: Child,
    log: NamedTempFile,
}

impl Dev {
    fn start(project: &Path) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut command = bare();
        command.arg("dev").arg(project);
        command.env("FASTSENTIMENT_MODEL", no_golden());
        command.env("FASTSENTIMENT_ARTIFACTS", artifacts());
        command.env("ORT_DYLIB_PATH", onnxruntime());
        command.stdout(log.reopen().unwrap());
        command.stderr(log.reopen().unwrap());
        let child = command.spawn().unwrap();
        Self { child, log }
    }

    fn printed(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap()
    }

    /// Waits until it has printed this so many times.
    fn wait_for(&mut self, words: &str, times: usize) {
        let begin = Instant::now();
        while self.printed().matches(words).count() < times {
            let printed = self.printed();
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{words}: {printed}");
            assert!(begin.elapsed() < PATIENCE, "{words}: {printed}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It ends its server before it ends itself.
        if self.child.try_wait().unwrap().is_none() {
            terminate(&self.child);
            let _ = self.child.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_built_tested_and_served_anew_at_each_change() {
    let project = project();
    let mut dev = Dev::start(project.path());
    dev.wait_for("1 passed, 0 failed", 1);
    dev.wait_for("FastSentiment ", 1);
    dev.wait_for("  config ", 1);
    let printed = dev.printed();
    let url = printed.split_whitespace();
    let url = url.clone().find(|word| word.ends_with("/predict")).unwrap();
    let url = url.to_owned();
    let ask = async || {
        let texts = json!({ "text": ["great"] });
        answer(testing::client().build().unwrap().post(&url).json(&texts)).await
    };
    assert_eq!(ask().await.status, 200);
    // A build that fails, and a guest that fails a case, are reported and change nothing.
    let build = project.path().join("build.sh");
    let good = fs::read_to_string(&build).unwrap();
    fs::write(&build, "#!/bin/sh\necho 'out of luck' >&2\nexit 1\n").unwrap();
    dev.wait_for("the build has failed", 1);
    assert!(dev.printed().contains("out of luck"), "{}", dev.printed());
    write_case(project.path(), "NEGATIVE");
    fs::write(&build, good.replace("001v", "001w")).unwrap();
    dev.wait_for("0 passed, 1 failed", 1);
    assert!(!dev.printed().contains("live: "), "{}", dev.printed());
    write_case(project.path(), "POSITIVE");
    dev.wait_for("live: ", 1);
    assert_eq!(ask().await.status, 200);
    terminate(&dev.child);
    assert!(dev.child.wait().unwrap().success());
    let gone = testing::client().build().unwrap().get(&url).send().await;
    assert!(gone.is_err(), "the server goes on: {}", dev.printed());
}

#[test]
fn a_directory_that_is_no_project_is_refused() {
    let dir = tempdir().unwrap();
    let output = bare().arg("dev").arg(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("has no build.sh"), "{error}");
}
