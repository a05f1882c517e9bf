//! Restricts which files this process can open, by Landlock.
//!
//! Landlock stops a file from being opened, so files that are open already, such as standard
//! error, stay usable. It knows nothing of memory files, in which the host keeps snapshots.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::{fs, io};

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope, path_beneath_rules,
};

use super::{Confined, ConfinementError};

/// The kernel's interface whose restrictions a server asks for. Newer ones could also keep it
/// from a Redis on a Unix socket, and from its terminal.
const FOR_SERVERS: ABI = ABI::V3;

/// The one whose restrictions a compiler asks for.
const FOR_COMPILERS: ABI = ABI::V6;

/// Allows this process to write only below some directories, to make Unix sockets only below
/// others, and to run only itself.
pub(super) fn write_below<'a>(
    dirs: impl IntoIterator<Item = &'a Path>,
    sockets: impl IntoIterator<Item = &'a Path>,
) -> Result<Confined, ConfinementError> {
    // Also without Landlock: nothing that a server starts gains rights.
    rustix::thread::set_no_new_privs(true).map_err(io::Error::from)?;
    let write = AccessFs::from_write(FOR_SERVERS);
    let status = Ruleset::default()
        .handle_access(write | AccessFs::Execute)?
        .create()?
        .add_rules(path_beneath_rules(dirs, write))?
        // The file of a socket is removed when the server stops.
        .add_rules(path_beneath_rules(
            sockets,
            AccessFs::MakeSock | AccessFs::RemoveFile,
        ))?
        .add_rules(path_beneath_rules(own_program()?, AccessFs::Execute))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Confined::Fully,
        RulesetStatus::PartiallyEnforced => Confined::Partly,
        RulesetStatus::NotEnforced => Confined::Not,
    })
}

/// Takes all files from this process, except those in which Linux describes itself: how many
/// threads are worth starting depends on the processors and on the control group. Takes the
/// network and other processes, too.
pub(super) fn give_up() -> Result<(), ConfinementError> {
    rustix::thread::set_no_new_privs(true).map_err(io::Error::from)?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    Ruleset::default()
        .handle_access(AccessFs::from_all(FOR_COMPILERS))?
        .handle_access(AccessNet::from_all(FOR_COMPILERS))?
        .scope(Scope::from_all(FOR_COMPILERS))?
        .create()?
        .add_rules(path_beneath_rules(["/proc", "/sys"], read))?
        .restrict_self()?;
    Ok(())
}

/// The files that the kernel opens to run this program again: its own, and the loader of
/// shared libraries. The loader is not named anywhere, but it is mapped, as are the libraries;
/// these can be run no more than data can.
fn own_program() -> io::Result<Vec<PathBuf>> {
    // Leads to the file even if an upgrade has replaced it.
    let mut files = vec![PathBuf::from("/proc/self/exe")];
    for line in BufReader::new(fs::File::open("/proc/self/maps")?).lines() {
        let line = line?;
        // Addresses, rights, offset, device, number, and the path if there is one.
        let is_code = line
            .split(' ')
            .nth(1)
            .is_some_and(|rights| rights.contains('x'));
        if let (true, Some(at)) = (is_code, line.find('/')) {
            files.push(PathBuf::from(&line[at..]));
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}
