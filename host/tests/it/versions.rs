//! The versions that there are: over a loader that only pretends, and in a real
//! server.

mod changes;
mod fake;
mod file;
mod process;
mod quarantine;
mod restart;
