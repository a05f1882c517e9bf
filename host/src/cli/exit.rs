//! The exit codes: the same for all commands.

use std::process::ExitCode;

use super::client::ClientError;

/// The exit code if the command line, the environment or the configuration file
/// asks for what can not be; that of clap.
pub(super) const WRONG_USE: u8 = 2;

/// The exit code if a server refuses, or if rows were left out.
pub(super) const REFUSED: u8 = 3;

/// The exit code if whoever read standard output has gone: what a shell reports of a
/// command that was ended by SIGPIPE.
pub(super) const READER_GONE: u8 = 141;

/// What the help says at its end.
pub(super) const ALL: &str = "\
Exit codes:
    0         done; of `serve`: asked to stop, and all requests were answered
    1         failed: something is missing, does not work or can not be reached
    2         wrong use: command line, environment or configuration file
    3         refused by the server; of `predict --file`: bad rows were left out
    130, 143  interrupted by SIGINT or SIGTERM (`predict --file`)
    141       the reader of standard output has left, as `head` does";

/// What the help of a command says that loads something.
pub(super) const LOADS: &str = "\
Exit codes: 0 done, 1 something is missing or does not work, 2 wrong use of the
command line, the environment or the configuration file";

/// Options that are understood one by one, and make no sense together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct WrongUse(pub(super) String);

/// The exit code of a command that ends with this error.
pub(super) fn code(error: &anyhow::Error) -> ExitCode {
    if error.is::<WrongUse>() {
        return ExitCode::from(WRONG_USE);
    }
    match error.downcast_ref() {
        Some(ClientError::Refused(_)) => ExitCode::from(REFUSED),
        Some(ClientError::Unreachable { .. } | ClientError::Failed(_)) | None => ExitCode::FAILURE,
    }
}
