//! Gives up rights that a process does not need, so that whoever takes the process over
//! does not have them either.
//!
//! What is given up stays so, for the process and for its children. A [`server`] writes only
//! below its own directories and runs no program but its own. A [`compiler`] of guests reads
//! a component from a pipe and writes code to another, and can do little else.
//!
//! Only Linux can do this. Its Landlock is needed for a server, and helps with a compiler; a
//! kernel may lack it or have an old version of it, so both take what there is. A compiler's
//! system calls are restricted by every kernel that the host supports.
//!
//! This crate must not know what the processes do.

#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod system_calls;

use std::path::Path;

/// How far the kernel restricts which files a server can write to and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confined {
    /// In every way that was asked for.
    Fully,
    /// In the ways that its version of Landlock knows.
    Partly,
    /// It does not: it has no Landlock.
    Not,
}

/// Why a process could not give up its rights.
#[derive(Debug, thiserror::Error)]
pub enum ConfinementError {
    /// The system refused.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// Landlock is there, and could not be used.
    #[cfg(target_os = "linux")]
    #[error("Landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// The system calls could not be restricted.
    #[cfg(target_os = "linux")]
    #[error("seccomp: {0}")]
    SystemCalls(#[from] seccompiler::Error),
}

/// Confines a server: from now on it can write only below `writable`, make and remove the files
/// of Unix sockets only below `sockets`, and run only its own program. What it can read, and its network, stay as they are. A directory that does not
/// exist is ignored.
///
/// This restricts the calling thread and the threads that it starts later, so it has to be
/// called before there are others.
///
/// # Errors
///
/// If the kernel has Landlock, and it cannot be used. The process is then as it was.
pub fn server<'a>(
    writable: impl IntoIterator<Item = &'a Path>,
    sockets: impl IntoIterator<Item = &'a Path>,
) -> Result<Confined, ConfinementError> {
    #[cfg(target_os = "linux")]
    return files::write_below(writable, sockets);
    #[cfg(not(target_os = "linux"))]
    {
        drop((writable.into_iter(), sockets.into_iter()));
        Ok(Confined::Not)
    }
}

/// Confines a compiler of guests: from now on it can use memory, threads and the files that
/// are open, and read what Linux says about the machine. It cannot open a socket or other
/// files, start a program, or reach another process.
///
/// A system call that only somebody makes who has taken the process over ends it with the
/// signal [`FORBIDDEN_CALL`]; any other that it does not need looks as if the kernel did not
/// have it.
///
/// This restricts the calling thread and the threads that it starts later, so it has to be
/// called before there are others.
///
/// # Errors
///
/// If the system refuses. The process must end then.
pub fn compiler() -> Result<(), ConfinementError> {
    #[cfg(target_os = "linux")]
    {
        files::give_up()?;
        system_calls::restrict()?;
    }
    Ok(())
}

/// The number of the signal that ends a compiler for a forbidden system call: SIGSYS.
#[cfg(target_os = "linux")]
pub const FORBIDDEN_CALL: i32 = libc::SIGSYS;
