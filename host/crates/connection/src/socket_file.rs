//! The file of a Unix socket: made with the right permissions, and removed in the end.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// How many connections may wait to be accepted, as for TCP.
const BACKLOG: i32 = 1024;

/// The file of a Unix socket. It is removed when this is dropped, unless another file has taken
/// its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// The device and the number of the file.
    id: (u64, u64),
}

/// Why a path cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum SocketFileError {
    /// A process listens there.
    #[error("a process listens on it already")]
    InUse,
    /// There is something else, which must not be removed.
    #[error("there is a file that is not a socket")]
    NotASocket,
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl SocketFile {
    /// Whether [`listen`](Self::listen) has a chance: an error if a process listens there, or if
    /// there is another kind of file.
    ///
    /// # Errors
    ///
    /// As said, or if the file cannot be looked at.
    pub fn check(path: &Path) -> Result<(), SocketFileError> {
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            metadata => metadata?,
        };
        if !metadata.file_type().is_socket() {
            return Err(SocketFileError::NotASocket);
        }
        match UnixStream::connect(path) {
            // Nobody has it open: a server that was killed has left it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            // Gone just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(_) => Err(SocketFileError::InUse),
            // Its queue is full, or it is somebody else's.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SocketFileError::InUse),
            Err(error) => Err(error.into()),
        }
    }

    /// Listens on a path, with these permissions from the beginning on. A socket that a server
    /// has left behind is replaced.
    ///
    /// # Errors
    ///
    /// If a process listens there, if there is another kind of file, or if the system refuses.
    pub fn listen(path: &Path, mode: u32) -> Result<(UnixListener, Self), SocketFileError> {
        Self::check(path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let metadata = fs::symlink_metadata(path)?;
        let file = Self {
            path: path.to_owned(),
            id: (metadata.dev(), metadata.ino()),
        };
        // Nobody can connect before it listens.
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok((listener, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.id) {
            // It stays, and the next server replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_has_its_permissions_and_goes_with_its_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        for permissions in [0o600, 0o666] {
            let (listener, file) = SocketFile::listen(&path, permissions).unwrap();
            assert_eq!(mode(&path), permissions);
            assert!(matches!(
                SocketFile::listen(&path, permissions),
                Err(SocketFileError::InUse)
            ));
            assert!(path.exists());
            drop(listener);
            drop(file);
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn what_a_killed_server_has_left_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let (listener, file) = SocketFile::listen(&path, 0o600).unwrap();
        drop(listener);
        std::mem::forget(file);
        SocketFile::check(&path).unwrap();
        let (_listener, file) = SocketFile::listen(&path, 0o600).unwrap();
        // Another server's, by now.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "text").unwrap();
        drop(file);
        assert!(matches!(
            SocketFile::listen(&path, 0o600),
            Err(SocketFileError::NotASocket)
        ));
        assert_eq!(fs::read(&path).unwrap(), b"text");
    }
}
