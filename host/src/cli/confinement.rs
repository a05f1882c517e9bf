//! Confines a server, as far as its kernel can do that.

use std::path::{Path, PathBuf};

use ::confinement::{Confined, ConfinementError};
use private_dir::PrivateDir;

use super::serve::ServeCommand;
use super::serve::listen::Passed;

/// What the kernel keeps a server from.
pub(super) struct Confinement {
    writable: Vec<PathBuf>,
    result: Result<Confined, ConfinementError>,
}

impl Confinement {
    /// Confines this process, which must not have other threads yet.
    ///
    /// # Errors
    ///
    /// If another process uses one of the server's addresses.
    pub(super) fn of_server(command: &ServeCommand, passed: &Passed) -> anyhow::Result<Self> {
        command.listen.check_free(passed)?;
        let dirs = [
            command.load.artifacts(),
            command.revisions.state().map(Path::to_owned),
            command
                .admin
                .run_dir(passed.has_admin_port(&command.listen)),
        ];
        let writable: Vec<PathBuf> = dirs.into_iter().flatten().collect();
        for dir in &writable {
            // Later it could not be created. Whoever opens it reports what is wrong with it.
            let _ = PrivateDir::create(dir);
        }
        let sockets = command.listen.socket_dirs(passed);
        let result = ::confinement::server(writable.iter().map(PathBuf::as_path), sockets);
        Ok(Self { writable, result })
    }

    /// Logs it.
    pub(super) fn log(&self) {
        let dirs = self.writable.iter().map(|dir| dir.display().to_string());
        let writable = dirs.collect::<Vec<_>>().join(", ");
        match &self.result {
            Ok(Confined::Fully) => tracing::info!(
                writable,
                "Landlock confines this server: it can write only to its own directories, and \
                 run only its own program"
            ),
            Ok(Confined::Partly) => tracing::info!(
                writable,
                "Landlock confines this server as far as this kernel can: it can create files \
                 only in its own directories, and run only its own program"
            ),
            Ok(Confined::Not) => tracing::info!(
                "this kernel has no Landlock: what this server can write to and run is limited \
                 by the rights of its user only"
            ),
            Err(error) => tracing::warn!(
                %error,
                "this server could not be confined: what it can write to and run is limited by \
                 the rights of its user only"
            ),
        }
    }
}
