//! What a path leads over.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The most symbolic links on a path, as for the system itself.
const LINKS: usize = 40;

/// The entries of directories that decide what an absolute path leads to: every
/// symbolic link on the way, and the file itself or what is missing. Each is given
/// by the real path of its directory and its name.
///
/// Kubernetes, for instance, mounts `guest.wasm -> ..data/guest.wasm` and
/// `..data -> ..2026_11_23`, and changes the second one only.
pub(super) fn entries(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut found = Vec::new();
    let mut links = 0;
    let mut at = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = parts(path).collect();
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match std::fs::read_link(&next) {
            Ok(target) => {
                found.push((at.clone(), part));
                links += 1;
                if links > LINKS {
                    break;
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                let mut target: VecDeque<OsString> = parts(&target).collect();
                target.append(&mut rest);
                rest = target;
            }
            Err(_) if rest.is_empty() || !next.is_dir() => {
                found.push((at, part));
                break;
            }
            Err(_) => at = next,
        }
    }
    found
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_link_on_the_way_and_the_file_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let new = dir.join("..new");
        std::fs::create_dir(&new).unwrap();
        symlink("..new", dir.join("..data")).unwrap();
        symlink("..data/guest.wasm", dir.join("guest.wasm")).unwrap();
        symlink(&dir, new.join("back")).unwrap();
        let entry = |dir: &Path, name: &str| (dir.to_owned(), OsString::from(name));
        let way = [
            entry(&dir, "guest.wasm"),
            entry(&dir, "..data"),
            entry(&new, "guest.wasm"),
        ];
        // Missing or not.
        assert_eq!(entries(&dir.join("guest.wasm")), way);
        std::fs::write(new.join("guest.wasm"), "").unwrap();
        assert_eq!(entries(&dir.join("guest.wasm")), way);
        let mut longer = vec![entry(&dir, "..data"), entry(&new, "back")];
        longer.extend(way);
        assert_eq!(entries(&dir.join("..data/back/./guest.wasm")), longer);
        // A directory that is missing is what is waited for.
        assert_eq!(
            entries(&dir.join("..new/../none/guest.wasm")),
            [entry(&dir, "none")]
        );
    }

    #[test]
    fn a_circle_is_left() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        assert_eq!(entries(&dir.path().join("a")).len(), LINKS + 1);
    }
}
