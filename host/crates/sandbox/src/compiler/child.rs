//! The compiler process: it reads a component, writes sealed code, and exits.
//!
//! It sets its own limits and gives up its rights before it reads the first byte, because
//! from then on it processes untrusted input.

use std::io::{Read, Write};

use super::{CompileLimits, Pace, Task, fingerprint, precompile};

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The component is not valid.
    #[error("{0}")]
    Invalid(String),
    /// The component exceeds a limit.
    #[error("{0}")]
    Limit(String),
    /// The machine is to blame, not the component.
    #[error("{0}")]
    Host(String),
}

impl CompileError {
    /// The exit code that tells the parent which case it is.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Invalid(_) => INVALID,
            Self::Limit(_) => LIMIT,
            Self::Host(_) => HOST,
        }
    }
}

/// The exit code for an invalid component.
pub(super) const INVALID: u8 = 3;
/// The exit code for a component that exceeds a limit.
pub(super) const LIMIT: u8 = 4;
/// The exit code if the machine is to blame.
pub(super) const HOST: u8 = 5;

/// Serves one request of a [`Compiler`](super::Compiler) in a process of its own:
/// `task` is the only argument after the subcommand. The process limits its priority,
/// memory and processor time, and gives up its rights, for good, so it must do nothing else.
///
/// # Errors
///
/// If the component cannot be compiled within its limits. The caller prints the
/// reason to standard error and exits with [`CompileError::exit_code`].
pub fn compile_for_parent(
    task: &str,
    input: &mut dyn Read,
    output: &mut dyn Write,
) -> Result<(), CompileError> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| CompileError::Host(format!("{what}: {error}"));
    let task: Task = serde_json::from_str(task)
        .map_err(|error| failed("the compiler does not understand its task", &error))?;
    confine(&task.limits, task.pace)
        .map_err(|error| failed("the compiler cannot limit itself", &error))?;
    confinement::compiler()
        .map_err(|error| failed("the compiler cannot give up its rights", &error))?;
    // A server has already checked the size; this protects against other callers. A
    // prepared guest holds its memory, so it may be as large as compiled code.
    let bound = task.limits.component.max(task.limits.code);
    // Otherwise it would take up to twice its size.
    let mut component = Vec::with_capacity(task.size.min(bound));
    input
        .take(bound as u64 + 1)
        .read_to_end(&mut component)
        .map_err(|error| failed("the component cannot be read", &error))?;
    if component.len() > bound {
        return Err(CompileError::Limit("the component is too large".to_owned()));
    }
    let engine = task
        .purpose
        .engine(task.pace)
        .map_err(|error| failed("the compiler cannot be set up", &error))?;
    let code = precompile(&engine, &task.limits, &component)?;
    drop(component);
    code.seal(&fingerprint(&engine), output)
        .and_then(|()| output.flush())
        .map_err(|error| failed("the code cannot be written", &error))
}

/// Limits the resources of this process, and makes it end with its parent.
#[cfg(unix)]
fn confine(limits: &CompileLimits, pace: Pace) -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let bound = |resource, value: u64| {
        setrlimit(
            resource,
            Rlimit {
                current: Some(value),
                maximum: Some(value),
            },
        )
    };
    bound(Resource::Core, 0)?;
    // Writable memory only: wasmtime reserves much more address space.
    bound(Resource::Data, limits.memory)?;
    // The kernel counts whole seconds, and takes 0 for no limit.
    let seconds = limits.cpu.as_millis().div_ceil(1000).max(1);
    let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
    setrlimit(
        Resource::Cpu,
        Rlimit {
            // SIGXCPU at the soft limit tells the parent that it was this one.
            current: Some(seconds),
            maximum: Some(seconds.saturating_add(1)),
        },
    )?;
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if pace == Pace::Background {
        lower_priority();
    }
    Ok(())
}

#[cfg(not(unix))]
fn confine(_limits: &CompileLimits, _pace: Pace) -> std::io::Result<()> {
    Ok(())
}

/// The priority of loads beside live traffic. With 10, a thread gets a tenth of a
/// core that another thread keeps busy, so a guest is compiled in a minute or two
/// when every core is busy; with 19, the lowest priority, it would take ten minutes.
const NICE: i32 = 10;

/// Lowers the priority of this process, or on Linux of this thread, below that of
/// live traffic. It cannot be raised again, so the thread must end with its work.
pub(crate) fn lower_priority() {
    #[cfg(unix)]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        // It is lower already, or must not be changed; the work is the same.
        tracing::debug!(%error, "the priority cannot be lowered");
    }
}
