//! The compiler's own process: it reads a component, writes code, and ends.
//!
//! It holds itself to its limits before it reads the first byte, since from then
//! on a component that was made to hurt is at work in it.

use std::io::{Read, Write};

use sha2::{Digest as _, Sha256};

use super::{CompileLimits, Pace, Task, fingerprint, precompile};
use predictor::Digest;

/// Begins what a child writes; the number is the version of this layout.
pub(super) const MAGIC: &[u8; 16] = b"fastsentiment c1";
/// What stands before the code: the magic, the engine's fingerprint and the
/// digest of the code.
pub(super) const HEADER: usize = MAGIC.len() + 2 * size_of::<Digest>();

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub enum CompilerFailed {
    /// The component is to blame: it is not valid.
    #[error("{0}")]
    Invalid(String),
    /// The component is to blame: it takes more than it may.
    #[error("{0}")]
    Limit(String),
    /// The machine has failed.
    #[error("{0}")]
    Host(String),
}

impl CompilerFailed {
    /// The exit code by which the parent tells the cases apart.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Invalid(_) => INVALID,
            Self::Limit(_) => LIMIT,
            Self::Host(_) => HOST,
        }
    }
}

/// The exit code for a component that is not valid.
pub(super) const INVALID: u8 = 3;
/// The exit code for a component that takes more than it may.
pub(super) const LIMIT: u8 = 4;
/// The exit code for a failure of the machine.
pub(super) const HOST: u8 = 5;

/// Does in a process of its own what a [`Compiler`](super::Compiler) has asked
/// for: `task` is the process's only argument after the subcommand. The process
/// gives up its priority and most of its rights to memory and time, so it is
/// good for nothing else.
///
/// # Errors
///
/// If the component can not be compiled within its limits. The parent expects
/// the reason on standard error, and [`CompilerFailed::exit_code`].
pub fn compile_for_parent(
    task: &str,
    input: &mut dyn Read,
    output: &mut dyn Write,
) -> Result<(), CompilerFailed> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        CompilerFailed::Host(format!("{what}: {error}"))
    };
    let task: Task = serde_json::from_str(task)
        .map_err(|error| failed("the compiler was given no task that it knows", &error))?;
    confine(&task.limits, task.pace)
        .map_err(|error| failed("the compiler can not be confined", &error))?;
    let mut component = Vec::new();
    // Its size has been looked at; this bounds whoever else asks. What a prepared
    // guest has become is bounded like the code that is made of it.
    let bound = task.limits.component.max(task.limits.code);
    input
        .take(bound as u64 + 1)
        .read_to_end(&mut component)
        .map_err(|error| failed("the component can not be read", &error))?;
    if component.len() > bound {
        return Err(CompilerFailed::Limit(
            "the component is too large".to_owned(),
        ));
    }
    let engine = task
        .purpose
        .engine(task.pace)
        .map_err(|error| failed("the compiler can not be set up", &error))?;
    let code = precompile(&engine, &task.limits, &component)?;
    let mut header = MAGIC.to_vec();
    header.extend(fingerprint(&engine).0);
    header.extend(Sha256::digest(&code));
    output
        .write_all(&header)
        .and_then(|()| output.write_all(&code))
        .and_then(|()| output.flush())
        .map_err(|error| failed("the code can not be handed over", &error))
}

/// Bounds what this process may take, and has it end with its parent.
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
    // What can be written to, and not all that is mapped: much address space is
    // only reserved.
    bound(Resource::Data, limits.memory)?;
    // The kernel counts whole seconds, and takes none for no limit at all.
    let seconds = limits.cpu.as_millis().div_ceil(1000).max(1);
    let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
    setrlimit(
        Resource::Cpu,
        Rlimit {
            // The signal that comes first says which limit it was.
            current: Some(seconds),
            maximum: Some(seconds.saturating_add(1)),
        },
    )?;
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if pace == Pace::Aside {
        lower_priority();
    }
    Ok(())
}

#[cfg(not(unix))]
fn confine(_limits: &CompileLimits, _pace: Pace) -> std::io::Result<()> {
    Ok(())
}

/// How far what goes on beside live traffic stands back behind it. A thread of
/// 10 gets a tenth of a core that another one wants for itself: a guest is still
/// compiled in a minute or two when every core is busy, which with the lowest
/// priority, 19, would take ten minutes.
const NICE: i32 = 10;

/// Lets this process, or on Linux this thread, stand back behind live traffic.
/// There is no way back, so it must be one that ends with its work.
pub(crate) fn lower_priority() {
    #[cfg(unix)]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        // It is already lower, or may not be changed; the work is the same.
        tracing::debug!(%error, "the priority can not be lowered");
    }
}
