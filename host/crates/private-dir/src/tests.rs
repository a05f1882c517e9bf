//! Whatever another user could change is refused. Only root can give files to others, so
//! some of these tests do less for other users, and say so.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::Command;

use tempfile::TempDir;

use super::*;

/// A user who is neither this one nor root.
const OTHER: u32 = 65_534;

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Gives a file, directory or link to another user. Returns whether that was possible.
fn is_given_away(path: &Path) -> bool {
    let given = std::os::unix::fs::lchown(path, Some(OTHER), None).is_ok();
    if !given {
        eprintln!("*** SKIPPED: only root can give {} away", path.display());
    }
    given
}

/// What is at fault if a directory is opened, or `None`.
fn fault(path: &Path) -> Option<(PathBuf, Fault)> {
    shared_of(PrivateDir::open(path))
}

fn shared_of<T>(opened: Result<T, PrivateDirError>) -> Option<(PathBuf, Fault)> {
    match opened {
        Ok(_) => None,
        Err(PrivateDirError::Shared { path, fault }) => Some((path, fault)),
        Err(PrivateDirError::Io(error)) => panic!("{error}"),
    }
}

#[test]
fn only_its_user_and_root_can_write_to_a_private_directory() {
    let dir = dir();
    let path = dir.path().join("a/b");
    assert!(matches!(
        PrivateDir::open(&path),
        Err(PrivateDirError::Io(_))
    ));
    assert_eq!(PrivateDir::create(&path).unwrap().path(), path);
    for part in [&path, path.parent().unwrap()] {
        assert_eq!(fs::metadata(part).unwrap().mode() & 0o777, 0o700);
    }
    // In a sticky directory, others can still create files.
    for (mode, is_private) in [
        (0o755, true),
        (0o720, false),
        (0o702, false),
        (0o1777, false),
    ] {
        set_mode(&path, mode);
        let expected = (!is_private).then(|| (path.clone(), Fault::Mode(mode)));
        assert_eq!(fault(&path), expected, "{mode:o}");
        assert_eq!(shared_of(PrivateDir::create(&path)), expected, "{mode:o}");
    }
}

#[test]
fn a_file_is_not_a_private_directory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path().to_owned(), file.path().join("in it")] {
        for opened in [PrivateDir::open(&path), PrivateDir::create(&path)] {
            assert!(matches!(opened, Err(PrivateDirError::Io(_))), "{path:?}");
        }
    }
    assert!(matches!(
        PrivateDir::create(Path::new("")),
        Err(PrivateDirError::Io(_))
    ));
}

#[test]
fn a_relative_path_begins_in_the_current_directory() {
    // Cargo runs tests in the directory of the package, which may be anybody's.
    let relative = PrivateDir::open(Path::new("./src/../src"));
    let absolute = PrivateDir::open(&std::env::current_dir().unwrap().join("src"));
    match (relative, absolute) {
        (Ok(_), Ok(_)) => {}
        (relative, absolute) => assert_eq!(shared_of(relative), shared_of(absolute)),
    }
}

#[test]
fn a_directory_of_another_user_is_not_private() {
    let dir = dir();
    if is_given_away(dir.path()) {
        let path = dir.path().canonicalize().unwrap();
        assert_eq!(fault(dir.path()), Some((path, Fault::Owner(OTHER))));
    }
}

#[test]
fn nobody_else_may_rename_a_directory_on_the_way() {
    let dir = dir();
    let root = dir.path().canonicalize().unwrap();
    let (above, path) = (root.join("above"), root.join("above/between/it"));
    PrivateDir::create(&path).unwrap();
    for (mode, is_private) in [
        (0o755, true),
        // Others can enter, and know the names, but cannot rename what is there.
        (0o1777, true),
        (0o1770, true),
        (0o777, false),
        (0o775, false),
        (0o2770, false),
    ] {
        set_mode(&above, mode);
        let expected = (!is_private).then(|| (above.clone(), Fault::Mode(mode)));
        assert_eq!(fault(&path), expected, "{mode:o}");
    }
    // Nothing is created where others can exchange it.
    let new = root.join("above/new");
    assert!(PrivateDir::create(&new).is_err() && !new.exists());
    for mode in [0o755, 0o1777] {
        set_mode(&above, mode);
        if is_given_away(&above) {
            assert_eq!(fault(&path), Some((above.clone(), Fault::Owner(OTHER))));
        }
    }
}

#[test]
fn a_link_on_the_way_is_followed_if_nobody_else_can_replace_it() {
    let dir = dir();
    let root = dir.path().canonicalize().unwrap();
    let at = |name: &str| root.join(name);
    PrivateDir::create(&at("real/it")).unwrap();
    fs::create_dir(at("links")).unwrap();
    symlink(at("real"), at("links/absolute")).unwrap();
    symlink("../links/absolute/./it", at("links/relative")).unwrap();
    symlink("circle", at("links/circle")).unwrap();
    for name in [
        "links/absolute/it",
        "links/relative",
        "links/absolute/../real/it",
    ] {
        assert_eq!(fault(&at(name)), None, "{name}");
    }
    assert!(matches!(
        PrivateDir::open(&at("links/circle")),
        Err(PrivateDirError::Io(_))
    ));
    // What a link leads through is on the way as well.
    set_mode(&at("real"), 0o777);
    let expected = Some((at("real"), Fault::Mode(0o777)));
    assert_eq!(fault(&at("links/relative")), expected);
    set_mode(&at("real"), 0o755);
    // As an attacker makes one in /tmp.
    set_mode(&at("links"), 0o1777);
    assert_eq!(fault(&at("links/relative")), None);
    if is_given_away(&at("links/relative")) {
        let expected = Some((at("links/relative"), Fault::Owner(OTHER)));
        assert_eq!(fault(&at("links/relative")), expected);
    }
}

/// A volume that everybody can write to, as a container finds an `emptyDir`. Unmounted
/// when dropped.
struct Volume(TempDir);

impl Volume {
    fn mount() -> Option<Self> {
        let volume = Self(dir());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "mode=0777", "none"]);
        let mounted = mount.arg(volume.0.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(volume);
        }
        eprintln!("*** SKIPPED: this user cannot mount a volume");
        std::mem::forget(volume);
        None
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.unwrap().success());
    }
}

#[test]
fn own_directories_in_a_volume_are_private_even_if_its_root_is_not() {
    let Some(volume) = Volume::mount() else {
        return;
    };
    let root = volume.0.path().canonicalize().unwrap();
    let at = |name: &str| root.join(name);
    PrivateDir::create(&at("it")).unwrap();
    PrivateDir::create(&at("between/it")).unwrap();
    assert_eq!(fault(&root), Some((root.clone(), Fault::Mode(0o777))));
    // Only the root is an exception.
    set_mode(&at("between"), 0o777);
    let expected = Some((at("between"), Fault::Mode(0o777)));
    assert_eq!(fault(&at("between/it")), expected);
    // Others could replace a link.
    symlink(at("it"), at("link")).unwrap();
    assert_eq!(fault(&at("link")), Some((at("link"), Fault::Link)));
    chown(at("it"), Some(OTHER), None).unwrap();
    assert_eq!(fault(&at("it")), Some((at("it"), Fault::Owner(OTHER))));
}

#[test]
fn only_a_file_that_nobody_else_can_change_is_read() {
    let dir = dir();
    let root = dir.path().canonicalize().unwrap();
    let private = PrivateDir::open(&root).unwrap();
    let write = |bytes: &'static [u8]| private.write("file", ".new-", |file| file.write_all(bytes));
    write(b"first").unwrap();
    write(b"content").unwrap();
    let file = private.file("file").unwrap();
    assert_eq!(file.read(7).unwrap(), b"content");
    let path = root.join("file");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let too_large = private.file("file").unwrap().read(6).unwrap_err();
    assert_eq!(too_large.kind(), io::ErrorKind::FileTooLarge);
    for mode in [0o620, 0o602] {
        set_mode(&path, mode);
        let expected = Some((path.clone(), Fault::Mode(mode)));
        assert_eq!(shared_of(private.file("file")), expected);
    }
    set_mode(&path, 0o644);
    assert_eq!(shared_of(private.file("file")), None);
    // The directory counts as well, whenever a file is opened.
    set_mode(&root, 0o777);
    let expected = Some((root.clone(), Fault::Mode(0o777)));
    assert_eq!(shared_of(private.file("file")), expected);
    set_mode(&root, 0o700);
    if is_given_away(&path) {
        let expected = Some((path, Fault::Owner(OTHER)));
        assert_eq!(shared_of(private.file("file")), expected);
    }
}

#[test]
fn only_a_regular_file_is_opened_and_no_other_is_waited_for() {
    let dir = dir();
    let private = PrivateDir::open(dir.path()).unwrap();
    private.write("file", ".new-", |_| Ok(())).unwrap();
    symlink("file", dir.path().join("link")).unwrap();
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    let kind = |opened: Result<PrivateFile, PrivateDirError>| match opened {
        Err(PrivateDirError::Io(error)) => error.kind(),
        opened => panic!("{opened:?}"),
    };
    for name in ["link", "pipe"] {
        let opened = private.file(name);
        assert_eq!(kind(opened), io::ErrorKind::InvalidData, "{name}");
        let locked = private.lock_file(name).unwrap_err();
        assert_eq!(locked.kind(), io::ErrorKind::InvalidData, "{name}");
    }
    fs::create_dir(dir.path().join("directory")).unwrap();
    assert_eq!(kind(private.file("directory")), io::ErrorKind::InvalidData);
    assert_eq!(kind(private.file("absent")), io::ErrorKind::NotFound);
    assert!(private.lock_file("lock").unwrap().try_lock().is_ok());
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing() {
    let dir = dir();
    let private = PrivateDir::open(dir.path()).unwrap();
    let failed = private.write("file", ".new-", |_| Err(io::Error::other("full")));
    assert_eq!(failed.unwrap_err().to_string(), "full");
    assert_eq!(private.names().unwrap(), [""; 0]);
}

#[test]
fn files_stay_in_the_directory_that_was_checked() {
    let dir = dir();
    let at = |name: &str| dir.path().join(name);
    let private = PrivateDir::create(&at("it")).unwrap();
    let write = |name: &str| private.write(name, ".new-", |file| file.write_all(b"ours"));
    write("file").unwrap();
    fs::rename(at("it"), at("away")).unwrap();
    fs::create_dir(at("it")).unwrap();
    fs::write(at("it/file"), "theirs").unwrap();
    assert_eq!(private.file("file").unwrap().read(9).unwrap(), b"ours");
    write("other").unwrap();
    private.rename("other", "renamed").unwrap();
    assert!(private.metadata("renamed").unwrap().is_file());
    private.remove("file").unwrap();
    assert_eq!(private.names().unwrap(), ["renamed"]);
    assert_eq!(fs::read(at("it/file")).unwrap(), b"theirs");
    assert!(at("away/renamed").exists());
}
