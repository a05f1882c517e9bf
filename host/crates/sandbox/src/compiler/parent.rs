//! Runs a compiler process: writes the component to it, reads the code, and waits
//! for its exit, all within limits.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use predictor::Digest;

use super::child::{HOST, INVALID};
use super::{COMPILE_COMMAND, Source, Task, too_much_code};
use crate::error::LoadError;
use crate::trusted::{SEAL, TrustedCode};

/// The messages of EAGAIN and ENOMEM: the system has no threads or memory left for
/// now.
const TRANSIENT: [&str; 2] = ["Resource temporarily unavailable", "Cannot allocate memory"];

/// The most that is read of a compiler's standard error, in bytes.
const MAX_MESSAGE: u64 = 4096;

/// What a compiler process of this binary has written.
pub(crate) struct CompilerOutput(Vec<u8>);

impl CompilerOutput {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
impl From<Vec<u8>> for CompilerOutput {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// Compiles a component, for an engine with this fingerprint, in a child process
/// that has ended when this returns.
pub(super) fn compile(
    program: &Path,
    task: &Task,
    fingerprint: &Digest,
    component: impl Source,
) -> Result<TrustedCode, LoadError> {
    let exited = start(program, task)
        .and_then(|mut process| process.feed(task, component))
        .map_err(|error| {
            LoadError::Host(format!(
                "the compiler process {} cannot be run: {error}{}",
                program.display(),
                hint(&error)
            ))
        })?;
    TrustedCode::unseal(exited.output(task)?, fingerprint).ok_or_else(|| {
        LoadError::Host(format!(
            "{} wrote code that does not fit this process; is it another version?",
            program.display()
        ))
    })
}

/// A child process that does not outlive this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have exited already; either way it is reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &Path, task: &Task) -> std::io::Result<Process> {
    let mut command = Command::new(program);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::arg0(&mut command, "fastsentiment");
    command
        .arg(COMPILE_COMMAND)
        .arg(serde_json::to_string(task)?)
        // It needs none of this process's settings and secrets.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Process)
}

/// What may have happened, in words.
fn hint(error: &std::io::Error) -> &'static str {
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        // Its file is another one then, which a confined server must not run.
        return " (if the system's C library was upgraded since this server started, restart it)";
    }
    ""
}

/// The result of a child process.
struct Exited {
    /// `None` if it was killed because it did not exit in time.
    status: Option<ExitStatus>,
    output: CompilerOutput,
    /// The beginning of its standard error, in one line.
    message: String,
}

impl Process {
    /// Writes the component to the child, and waits until it exits.
    fn feed(&mut self, task: &Task, component: impl Source) -> std::io::Result<Exited> {
        let until = Instant::now() + task.limits.wall;
        let pipes = (
            self.0.stdin.take(),
            self.0.stdout.take(),
            self.0.stderr.take(),
        );
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(std::io::Error::other("it has no pipes"));
        };
        // One byte more than is allowed, to detect that there are too many.
        let bound = (task.limits.code + SEAL + 1) as u64;
        thread::scope(|scope| {
            let thread = || thread::Builder::new().name("compiler".to_owned());
            // A child that exits early reports why itself.
            thread().spawn_scoped(scope, move || component.write(&mut stdin))?;
            let message = thread().spawn_scoped(scope, move || read(stderr, MAX_MESSAGE))?;
            let (done, all_read) = mpsc::channel();
            let output = thread().spawn_scoped(scope, move || {
                let output = read(stdout, bound);
                // Fails if the time is up.
                let _ = done.send(());
                output
            })?;
            let in_time = all_read.recv_timeout(task.limits.wall).is_ok();
            let status = if in_time { self.wait(until)? } else { None };
            // A late child would keep the reading threads waiting, too.
            let _ = self.0.kill();
            let joined = |thread: thread::ScopedJoinHandle<Vec<u8>>| {
                thread
                    .join()
                    .map_err(|_| std::io::Error::other("reading failed"))
            };
            Ok(Exited {
                status,
                output: CompilerOutput(joined(output)?),
                message: one_line(&joined(message)?),
            })
        })
    }

    /// Waits until a child that has closed its output exits.
    fn wait(&mut self, until: Instant) -> std::io::Result<Option<ExitStatus>> {
        loop {
            match self.0.try_wait()? {
                None if Instant::now() < until => thread::sleep(Duration::from_millis(1)),
                ended => return Ok(ended),
            }
        }
    }
}

impl Exited {
    /// The output of a child that has succeeded.
    fn output(self, task: &Task) -> Result<CompilerOutput, LoadError> {
        let limits = &task.limits;
        let failed = |reason: String| Err(LoadError::Compiler(reason));
        let host = |reason: String| Err(LoadError::Host(reason));
        if self.output.0.len() > limits.code + SEAL {
            return failed(too_much_code(limits));
        }
        let Some(status) = self.status else {
            // Its processor time has a limit of its own, so the machine was too busy.
            return host(format!(
                "the compiler did not finish within {:?}",
                limits.wall
            ));
        };
        if status.success() {
            return Ok(self.output);
        }
        // The standard library's message before it aborts.
        if self.message.starts_with("memory allocation of ") {
            return failed(format!(
                "compiling it needs more than the allowed {} bytes of memory",
                limits.memory
            ));
        }
        match (status.code(), signal(status)) {
            (Some(code), _) if code == i32::from(INVALID) => Err(LoadError::Compile(self.message)),
            (Some(code), _) if code == i32::from(HOST) => host(self.message),
            // Nothing here sends SIGKILL before the time is up: the system is out of
            // memory.
            (_, Some(signal)) if is_killed(signal) => {
                host(format!("the compiler was killed ({status})"))
            }
            // A panic of the compiler's thread pool.
            _ if TRANSIENT.iter().any(|text| self.message.contains(text)) => host(self.message),
            (_, Some(signal)) if is_time_up(signal) => failed(format!(
                "compiling it needs more than the allowed {:?} of processor time",
                limits.cpu
            )),
            (_, Some(signal)) if is_forbidden_call(signal) => failed(format!(
                "the compiler made a system call that it must not make, as if something in the \
                 guest had taken it over, and was ended ({status})"
            )),
            _ if self.message.is_empty() => failed(format!("the compiler failed ({status})")),
            (Some(_), _) => failed(self.message),
            (None, _) => failed(format!("the compiler failed ({status}): {}", self.message)),
        }
    }
}

/// Reads a pipe up to a bound, or until it fails.
fn read(from: impl Read, bound: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.take(bound).read_to_end(&mut bytes);
    bytes
}

/// Text as one line, without control characters.
fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace(char::is_control, "?")
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_status: ExitStatus) -> Option<i32> {
    None
}

fn is_killed(signal: i32) -> bool {
    #[cfg(unix)]
    return signal == rustix::process::Signal::KILL.as_raw();
    #[cfg(not(unix))]
    return false;
}

fn is_forbidden_call(signal: i32) -> bool {
    #[cfg(target_os = "linux")]
    return signal == confinement::FORBIDDEN_CALL;
    #[cfg(not(target_os = "linux"))]
    return {
        let _ = signal;
        false
    };
}

fn is_time_up(signal: i32) -> bool {
    #[cfg(unix)]
    return signal == rustix::process::Signal::XCPU.as_raw();
    #[cfg(not(unix))]
    return false;
}
