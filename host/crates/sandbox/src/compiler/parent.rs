//! Running the compiler's process: what goes in, what may come out, and its end.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::child::{HEADER, HOST, INVALID, MAGIC};
use super::{COMPILE_COMMAND, Task, too_much_code};
use crate::error::LoadError;
use predictor::Digest;

/// What the system says when it has no more threads or memory for now (EAGAIN, ENOMEM).
const PASSING: [&str; 2] = ["Resource temporarily unavailable", "Cannot allocate memory"];

/// The most that a child may say of its failure, in bytes.
const MAX_SAID: u64 = 4096;

/// Compiles a component in a process of its own, which is gone when this
/// returns, for code that an engine of this fingerprint can run.
pub(super) fn compile(
    program: &Path,
    task: &Task,
    fingerprint: &Digest,
    component: &[u8],
) -> Result<Vec<u8>, LoadError> {
    let ended = start(program, task)
        .and_then(|mut process| process.feed(task, component))
        .map_err(|error| {
            LoadError::Host(format!(
                "the compiler's process {} can not be run: {error}",
                program.display()
            ))
        })?;
    let mut output = ended.code(task)?;
    match output.split_at_checked(HEADER) {
        Some((header, code)) if is_ours(header, fingerprint, code) => {
            output.drain(..HEADER);
            Ok(output)
        }
        _ => Err(LoadError::Host(format!(
            "{} gave code that does not fit this process; is it another version?",
            program.display()
        ))),
    }
}

fn is_ours(header: &[u8], fingerprint: &Digest, code: &[u8]) -> bool {
    let (magic, digests) = header.split_at(MAGIC.len());
    let (compiled_for, digest) = digests.split_at(size_of::<Digest>());
    magic == MAGIC && compiled_for == fingerprint.0 && digest == Sha256::digest(code).as_slice()
}

/// A child process that does not outlive this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended long ago; either way there is nothing left of it.
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
        // No setting and no secret of this process is any of its business.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Process)
}

/// What became of a child.
struct Ended {
    /// `None` if it was killed for not ending in time.
    status: Option<ExitStatus>,
    output: Vec<u8>,
    said: String,
}

impl Process {
    /// Gives the child its component, and waits for its end.
    fn feed(&mut self, task: &Task, component: &[u8]) -> std::io::Result<Ended> {
        let until = Instant::now() + task.limits.wall;
        let pipes = (
            self.0.stdin.take(),
            self.0.stdout.take(),
            self.0.stderr.take(),
        );
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(std::io::Error::other("it has no pipes"));
        };
        // One byte more than there may be, to see that there are too many.
        let bound = (task.limits.code + HEADER + 1) as u64;
        thread::scope(|scope| {
            let thread = || thread::Builder::new().name("compiler".to_owned());
            // A child that ends early says why itself.
            thread().spawn_scoped(scope, move || stdin.write_all(component))?;
            let said = thread().spawn_scoped(scope, move || read(stderr, MAX_SAID))?;
            let (done, all_read) = mpsc::channel();
            let output = thread().spawn_scoped(scope, move || {
                let output = read(stdout, bound);
                // Nobody listens after the time is up.
                let _ = done.send(());
                output
            })?;
            let in_time = all_read.recv_timeout(task.limits.wall).is_ok();
            let status = if in_time { self.wait(until)? } else { None };
            // One that is late would keep the threads waiting, too.
            let _ = self.0.kill();
            let joined = |thread: thread::ScopedJoinHandle<Vec<u8>>| {
                thread
                    .join()
                    .map_err(|_| std::io::Error::other("reading failed"))
            };
            Ok(Ended {
                status,
                output: joined(output)?,
                said: one_line(&joined(said)?),
            })
        })
    }

    /// Waits for the end of a child that has nothing more to write.
    fn wait(&mut self, until: Instant) -> std::io::Result<Option<ExitStatus>> {
        loop {
            match self.0.try_wait()? {
                None if Instant::now() < until => thread::sleep(Duration::from_millis(1)),
                ended => return Ok(ended),
            }
        }
    }
}

impl Ended {
    /// What the child wrote, if it has succeeded.
    fn code(self, task: &Task) -> Result<Vec<u8>, LoadError> {
        let limits = &task.limits;
        let failed = |reason: String| Err(LoadError::Compiler(reason));
        let host = |reason: String| Err(LoadError::Host(reason));
        if self.output.len() > limits.code + HEADER {
            return failed(too_much_code(limits));
        }
        let Some(status) = self.status else {
            // What it may compute is bounded otherwise: the machine was too busy.
            return host(format!("the compiler was not done after {:?}", limits.wall));
        };
        if status.success() {
            return Ok(self.output);
        }
        // What the standard library says before it ends the process.
        if self.said.starts_with("memory allocation of ") {
            return failed(format!(
                "the compiler needs more than its {} bytes of memory",
                limits.memory
            ));
        }
        match (status.code(), signal(status)) {
            (Some(code), _) if code == i32::from(INVALID) => Err(LoadError::Compile(self.said)),
            (Some(code), _) if code == i32::from(HOST) => host(self.said),
            // By nothing of ours: the system has too little memory.
            (_, Some(signal)) if is_killed(signal) => {
                host(format!("the compiler was killed ({status})"))
            }
            // A panic of the pool of threads that compiles.
            _ if PASSING.iter().any(|passing| self.said.contains(passing)) => host(self.said),
            (_, Some(signal)) if is_time_up(signal) => failed(format!(
                "the compiler needs more than its {:?} of processor time",
                limits.cpu
            )),
            _ if self.said.is_empty() => failed(format!("the compiler has failed ({status})")),
            (Some(_), _) => failed(self.said),
            (None, _) => failed(format!("the compiler has failed ({status}): {}", self.said)),
        }
    }
}

/// Reads what a pipe gives, up to a bound; what it gave before it failed counts.
fn read(from: impl Read, bound: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.take(bound).read_to_end(&mut bytes);
    bytes
}

/// Some text in one line, less what a terminal would obey.
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

fn is_time_up(signal: i32) -> bool {
    #[cfg(unix)]
    return signal == rustix::process::Signal::XCPU.as_raw();
    #[cfg(not(unix))]
    return false;
}
