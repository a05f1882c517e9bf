//! The token that a server makes for itself: where it is kept, and how commands find it.
//!
//! It lets the server's user change versions, and nobody else on the machine: the file can be
//! read by this user only, and is in a directory that only this user can write to. It is as old
//! as the server, and is removed with it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use http::admin::Token;
use private_dir::PrivateDir;

use crate::cli::endpoint::Endpoint;
use crate::cli::random_bytes;

/// What the names of unfinished files begin with.
const UNFINISHED: &str = ".token-";

/// The most bytes of a file that are read.
const MOST: u64 = 1024;

/// The directories where a token may be kept, best first: the one that was `chosen`, or else
/// that of the user's session, or one below the directory for temporary files.
pub(in crate::cli) fn candidates(chosen: Option<PathBuf>) -> Vec<PathBuf> {
    if let Some(chosen) = chosen {
        return vec![chosen];
    }
    let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let session = session.filter(|dir| dir.is_absolute());
    let user = rustix::process::geteuid().as_raw();
    let temporary = std::env::temp_dir().join(format!("fastsentiment-{user}"));
    session
        .map(|dir| dir.join("fastsentiment"))
        .into_iter()
        .chain([temporary])
        .collect()
}

/// The name of the file for a server with this admin port.
fn name(port: u16) -> String {
    format!("admin-{port}.token")
}

/// A token's file, which is removed when this is dropped, unless another server has replaced it.
pub(in crate::cli) struct TokenFile {
    dir: PrivateDir,
    name: String,
    token: Token,
}

impl TokenFile {
    /// Makes a token for a server with this admin port, in the first directory that will do.
    pub(in crate::cli) fn create(candidates: &[PathBuf], port: u16) -> anyhow::Result<Self> {
        let token = Token::of_random(&random_bytes()?);
        let mut faults = Vec::new();
        for path in candidates {
            match Self::create_in(path, port, &token) {
                Ok(file) => return Ok(file),
                Err(error) => faults.push(format!("{}: {error}", path.display())),
            }
        }
        anyhow::bail!(faults.join("; "))
    }

    fn create_in(path: &Path, port: u16, token: &Token) -> io::Result<Self> {
        let dir = PrivateDir::create(path)?;
        let name = name(port);
        dir.write(&name, UNFINISHED, |file| {
            writeln!(file, "{}", token.expose())
        })?;
        let token = token.clone();
        Ok(Self { dir, name, token })
    }

    pub(in crate::cli) fn token(&self) -> &Token {
        &self.token
    }

    pub(in crate::cli) fn path(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        if read(&self.dir, &self.name).as_ref() == Some(&self.token) {
            // A token without its server opens nothing.
            let _ = self.dir.remove(&self.name);
        }
    }
}

/// The token of the server with this admin endpoint on this machine, if this user has one: the
/// newest, in case a server that was killed has left another one.
pub(in crate::cli) fn find(candidates: &[PathBuf], server: &Endpoint) -> Option<Token> {
    let Endpoint::Tcp(address) = server else {
        return None;
    };
    let name = name(address.port());
    let found = candidates.iter().filter_map(|path| {
        let dir = PrivateDir::open(path).ok()?;
        let made = dir.metadata(&name).ok()?.modified().ok()?;
        Some((made, read(&dir, &name)?))
    });
    let newest = found.max_by_key(|(made, _)| *made);
    newest.map(|(_, token)| token)
}

fn read(dir: &PrivateDir, name: &str) -> Option<Token> {
    let bytes = dir.file(name).ok()?.read(MOST).ok()?;
    Token::parse(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn at(port: u16) -> Endpoint {
        Endpoint::Tcp(([127, 0, 0, 1], port).into())
    }

    #[test]
    fn a_token_is_found_by_its_port_and_goes_with_its_server() {
        let dir = tempfile::tempdir().unwrap();
        let places = [dir.path().join("a/b"), dir.path().join("c")];
        let one = TokenFile::create(&places, 1).unwrap();
        let other = TokenFile::create(&places, 2).unwrap();
        assert_eq!(one.path(), dir.path().join("a/b/admin-1.token"));
        let mode = fs::metadata(one.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(find(&places, &at(1)), Some(one.token().clone()));
        assert_eq!(find(&places, &at(2)), Some(other.token().clone()));
        assert_ne!(one.token(), other.token());
        assert_eq!(find(&places, &at(3)), None);
        assert_eq!(find(&places[1..], &at(1)), None);
        let path = one.path();
        drop(one);
        assert!(!path.exists());
        assert_eq!(find(&places, &at(1)), None);
        assert!(other.path().exists());
    }

    #[test]
    fn the_file_of_the_next_server_stays() {
        let dir = tempfile::tempdir().unwrap();
        let places = [dir.path().to_owned()];
        let before = TokenFile::create(&places, 1).unwrap();
        let after = TokenFile::create(&places, 1).unwrap();
        drop(before);
        assert_eq!(find(&places, &at(1)), Some(after.token().clone()));
    }

    #[test]
    fn a_directory_that_others_can_change_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let places = [dir.path().join("open"), dir.path().join("private")];
        fs::create_dir(&places[0]).unwrap();
        fs::set_permissions(&places[0], fs::Permissions::from_mode(0o777)).unwrap();
        let file = TokenFile::create(&places, 1).unwrap();
        assert_eq!(file.path(), places[1].join("admin-1.token"));
        // What others have put there is not sent to anybody.
        fs::write(places[0].join("admin-1.token"), "0".repeat(64)).unwrap();
        assert_eq!(find(&places, &at(1)), Some(file.token().clone()));
        let refused = TokenFile::create(&places[..1], 1).err().unwrap();
        assert!(
            refused.to_string().contains("written by other users"),
            "{refused}"
        );
    }

    #[test]
    fn a_file_that_others_can_change_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let places = [dir.path().to_owned()];
        let file = TokenFile::create(&places, 1).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(find(&places, &at(1)), None);
    }
}
