//! Commands that a command runs, and that end with it.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};

/// A command and all that it starts, which end when this is dropped.
pub(super) struct Process(pub(super) Child);

impl Process {
    /// Starts a command, which reads nothing.
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        let name = command.get_program().display();
        Ok(Self(
            child.with_context(|| format!("{name} cannot be run"))?,
        ))
    }

    fn group(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.0.id()).ok()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let (Ok(None), Some(group)) = (self.0.try_wait(), self.group()) {
            // It may have ended just now.
            let _ = kill_process_group(group, Signal::TERM);
            let _ = self.0.wait();
        }
    }
}

/// A command of this binary.
pub(super) fn own(name: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name);
    Ok(command)
}
