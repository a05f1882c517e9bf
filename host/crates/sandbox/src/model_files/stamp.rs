//! Whether a file is the same as before, judging by its metadata.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

/// What identifies the contents of a file without reading them. The change time
/// (`ctime`) cannot be set by programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// How old a change has to be for its time to be unique. File systems round times,
/// at worst to 2 s, so a second change soon after the first may have the same time.
const SETTLED: Duration = Duration::from_secs(3);

impl Stamp {
    /// `None` if the file changed too recently.
    pub(super) fn of(metadata: &Metadata) -> Option<Self> {
        let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).ok()?);
        let changed = SystemTime::UNIX_EPOCH.checked_add(seconds)?;
        let is_settled = changed.elapsed().is_ok_and(|age| age > SETTLED);
        is_settled.then(|| Self::at_once(metadata))
    }

    /// The stamp of a file however recently it changed: a later one may be equal all the
    /// same.
    pub(super) fn at_once(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Hashes all that it consists of.
    pub(super) fn update(&self, hash: &mut Sha256) {
        for number in [self.device, self.inode, self.size] {
            hash.update(number.to_le_bytes());
        }
        for time in [self.changed.0, self.changed.1] {
            hash.update(time.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use super::*;

    #[test]
    fn only_the_stamp_of_a_settled_file_is_evidence() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"1").expect("written");
        let metadata = file.as_file().metadata().expect("there");
        assert!(Stamp::of(&metadata).is_none());
        // Older than the build of this test.
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let stamp = || Stamp::of(&fs::metadata(&manifest).expect("there"));
        assert!(stamp().is_some() && stamp() == stamp());
    }
}
