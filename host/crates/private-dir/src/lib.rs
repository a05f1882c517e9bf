//! Directories that hold what is trusted because nobody else can have put it there.
//!
//! This module must not know what they hold.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// Makes a directory that only this user can use, if it is not there.
pub fn make(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

/// Whether another user than this one and root can write to a directory, or could
/// at any time: who owns it can change who may.
pub fn is_shared(dir: &Path) -> io::Result<bool> {
    let user = rustix::process::geteuid().as_raw();
    Ok(is_writable_beside(user, &fs::metadata(dir)?))
}

fn is_writable_beside(user: u32, dir: &Metadata) -> bool {
    dir.mode() & 0o022 != 0 || ![0, user].contains(&dir.uid())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_is_private_if_only_its_user_and_root_can_write_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        make(&path).unwrap();
        assert!(!is_shared(&path).unwrap());
        for (mode, shared) in [(0o755, false), (0o720, true), (0o702, true)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_shared(&path).unwrap(), shared, "{mode:o}");
        }
        assert!(is_shared(&path.join("c")).is_err());
    }

    #[test]
    fn a_directory_of_another_user_is_not_private() {
        let dir = tempfile::tempdir().unwrap();
        let metadata = || fs::metadata(dir.path()).unwrap();
        let owner = metadata().uid();
        assert!(!is_writable_beside(owner, &metadata()));
        if owner != 0 {
            assert!(is_writable_beside(owner + 1, &metadata()));
            return;
        }
        // What root owns is private for everybody; only root can give it away.
        assert!(!is_writable_beside(1000, &metadata()));
        std::os::unix::fs::chown(dir.path(), Some(1000), None).unwrap();
        assert!(!is_writable_beside(1000, &metadata()));
        assert!(is_writable_beside(1001, &metadata()));
        assert!(is_shared(dir.path()).unwrap());
    }
}
