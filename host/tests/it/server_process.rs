//! Runs the binary: as a command, or as a server that is killed with its test.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::harness::{BINARY, PATIENCE, artifacts, guest_path, loading, onnxruntime};
use testing::metric;
pub(crate) use testing::{Answer, answer};

/// The binary, without the developer's own settings.
pub(crate) fn bare() -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FASTSENTIMENT_") {
            command.env_remove(name);
        }
    }
    command.env_remove("ORT_DYLIB_PATH");
    // Most tests are about guests without a fallback.
    command.env("FASTSENTIMENT_FALLBACK_GUEST", "");
    // Tests run in parallel.
    command.env("FASTSENTIMENT_LISTEN", "127.0.0.1:0");
    command.env("FASTSENTIMENT_ADMIN_LISTEN", "127.0.0.1:0");
    // Tests call the admin listener themselves, too.
    command.env("FASTSENTIMENT_ADMIN_TOKEN_FILE", "none");
    command.stdin(Stdio::null());
    command
}

/// A subcommand with options for everything it needs.
pub(crate) fn subcommand(name: &str, model: &Path) -> Command {
    subcommand_with(name, model, guest_path(), &onnxruntime())
}

/// A subcommand with options for the files to use.
pub(crate) fn subcommand_with(
    name: &str,
    model: &Path,
    guest: &Path,
    onnxruntime: &Path,
) -> Command {
    let mut command = bare();
    command.arg(name).arg("--model").arg(model);
    command.arg("--guest").arg(guest);
    command.arg("--onnxruntime").arg(onnxruntime);
    command.arg("--artifacts").arg(artifacts());
    // Tests run in parallel, on machines that may be busy.
    for limit in [
        "--guest-timeout-ms",
        "--prepare-timeout-ms",
        "--deadline-ms",
    ] {
        command.args([limit, "240000"]);
    }
    command.args(["--workers", "2"]);
    command
}

/// Runs a command that loads a guest.
pub(crate) fn run(command: &mut Command) -> Output {
    let _loading = loading();
    command.output().unwrap()
}

/// Runs a command with `input` as its standard input.
pub(crate) fn run_with_input(command: &mut Command, input: impl AsRef<[u8]>) -> Output {
    let _loading = loading();
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_ref())
        .unwrap();
    child.wait_with_output().unwrap()
}

/// A server process, which is killed when this is dropped.
pub(crate) struct ServerProcess {
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: NamedTempFile,
    /// The startup banner.
    pub(crate) greeting: String,
    url: String,
    admin_url: String,
    client: reqwest::Client,
}

impl ServerProcess {
    /// Starts a server with the default guest.
    pub(crate) fn start(model: &Path) -> Self {
        Self::with(model, &[])
    }

    /// Starts a server with the default guest and further options.
    pub(crate) fn with(model: &Path, options: &[&str]) -> Self {
        let mut command = subcommand("serve", model);
        command.args(options);
        Self::spawn(&mut command)
    }

    /// Starts a server with another guest and further options.
    pub(crate) fn of_guest(model: &Path, guest: &Path, options: &[&str]) -> Self {
        let mut command = subcommand_with("serve", model, guest, &onnxruntime());
        command.args(options);
        Self::spawn(&mut command)
    }

    /// Starts a server by its whole command.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let log = NamedTempFile::new().unwrap();
        let stderr = Stdio::from(log.reopen().unwrap());
        Self::launch(command, stderr, log)
    }

    /// Starts a server that logs to `stderr`, so that [`log`](Self::log) is empty.
    pub(crate) fn spawn_with_log(command: &mut Command, stderr: Stdio) -> Self {
        Self::launch(command, stderr, NamedTempFile::new().unwrap())
    }

    fn launch(command: &mut Command, stderr: Stdio, log: NamedTempFile) -> Self {
        let _loading = loading();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        // The last line of the banner is the one with the configuration file.
        while !greeting.contains("\n  config ") || !greeting.ends_with('\n') {
            if stdout.read_line(&mut greeting).unwrap() == 0 {
                break;
            }
        }
        let url = |path: &str| {
            let mut words = greeting.split_whitespace();
            words.find_map(|word| Some(word.strip_suffix(path)?.to_owned()))
        };
        let (url, admin_url) = (url("/predict"), url("/metrics"));
        let mut server = Self {
            child,
            stdout,
            log,
            greeting,
            url: String::new(),
            admin_url: admin_url.unwrap_or_default(),
            client: testing::client().timeout(PATIENCE).build().unwrap(),
        };
        server.url = url.unwrap_or_else(|| panic!("the server did not start: {}", server.log()));
        server
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The URL of a path of the admin listener.
    pub(crate) fn admin_url(&self, path: &str) -> String {
        format!("{}{path}", self.admin_url)
    }

    /// The value of a metric, named with its labels as in the text format, or 0 if it does not
    /// exist.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let answer = answer(self.client.get(self.admin_url("/metrics"))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        metric(&answer.body, name).unwrap_or(0.0)
    }

    /// The host and port.
    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// `POST /predict`.
    pub(crate) async fn post(&self, texts: &[String]) -> Answer {
        let request = self.client.post(self.url("/predict"));
        answer(request.json(&json!({ "text": texts }))).await
    }

    /// The predictions of `POST /predict`, which must succeed.
    pub(crate) async fn predict(&self, texts: &[String]) -> Vec<Value> {
        let answer = self.post(texts).await;
        assert_eq!(answer.status, 200, "{}\n{}", answer.body, self.log());
        let predictions = answer.json()["predictions"].take();
        predictions.as_array().unwrap().clone()
    }

    /// Sends it SIGTERM, as Kubernetes does to stop it.
    pub(crate) fn terminate(&self) {
        terminate(&self.child);
    }

    /// Sends it a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "the server goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The rest of standard output after the banner. Waits until the process has ended.
    pub(crate) fn rest_of_output(&mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        rest
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends SIGTERM.
pub(crate) fn terminate(child: &Child) {
    signal(child, "TERM");
}

pub(crate) fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let mut kill = Command::new("kill");
    let status = kill.args([format!("-{name}"), id]).status().unwrap();
    assert!(status.success());
}
