//! The exit codes: the same for all commands.

use std::process::ExitCode;

use artifacts::ArtifactError;

use super::admin_client::ClientError;

/// The exit code for an invalid command line, environment or configuration file; the same
/// as clap's.
pub(super) const USAGE_ERROR: u8 = 2;

/// The exit code if the server rejects a request, or if bad rows were skipped.
pub(super) const REJECTED: u8 = 3;

/// The exit code if standard output was closed by its reader: what a shell reports for a
/// command that SIGPIPE ended.
pub(super) const READER_GONE: u8 = 141;

/// The end of the main help.
pub(super) const ALL: &str = "\
Exit codes:
    0         success; `serve`: stopped on request, with every request answered
    1         failure: something is missing, broken or unreachable; `test`: a
              case failed
    2         usage error in the command line, environment or configuration file
    3         rejected by the server; `predict --file`: bad rows were skipped
    130, 143  interrupted by SIGINT or SIGTERM (`predict --file`)
    141       standard output was closed by its reader, such as `head`";

/// The end of the help of a command that loads a model.
pub(super) const LOADS: &str = "\
Exit codes: 0 success, 1 failure, 2 usage error in the command line, environment
or configuration file";

/// The end of the help of a command that asks no server of others.
pub(super) const LOCAL: &str = "\
Exit codes: 0 success, 1 failure, 2 usage error in the command line";

/// The end of the help of a command at a registry.
pub(super) const REGISTRY: &str = "\
Exit codes: 0 success, 1 the registry is unreachable or has failed, 2 usage
error in the command line, 3 rejected by the registry";

/// Options that are valid one by one, and not together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct UsageError(pub(super) String);

/// The exit code of a command that fails with this error.
pub(super) fn code(error: &anyhow::Error) -> ExitCode {
    if error.is::<UsageError>() {
        return ExitCode::from(USAGE_ERROR);
    }
    if let Some(error) = error.downcast_ref() {
        return match error {
            ArtifactError::Denied { .. }
            | ArtifactError::NotFound { .. }
            | ArtifactError::Rejected { .. } => ExitCode::from(REJECTED),
            ArtifactError::Reference(_) => ExitCode::from(USAGE_ERROR),
            _ => ExitCode::FAILURE,
        };
    }
    match error.downcast_ref() {
        Some(ClientError::Rejected(_)) => ExitCode::from(REJECTED),
        Some(
            ClientError::Unreachable { .. } | ClientError::TooLarge { .. } | ClientError::Failed(_),
        )
        | None => ExitCode::FAILURE,
    }
}
