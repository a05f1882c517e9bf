//! Lets a guest read files of the model directory that are links out of it.
//!
//! WASI confines a guest to the directory that it is given, so that a link out of it leads
//! nowhere. But the hub's cache keeps a model as links to a store beside it. The links are
//! the operator's, not the guest's: the host follows those that the directory has when the
//! guest is prepared, to files and for reading only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{self, Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::{FsPerms, OpenMode, TrappableError};

use super::state::State;

/// The interface whose functions follow the links, as `wasmtime-wasi` names it.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// The links of a directory that lead out of it, and the files that they lead to.
#[derive(Default)]
pub(super) struct LinkedFiles {
    /// The device and inode of the directory.
    dir: Option<(u64, u64)>,
    files: BTreeMap<String, PathBuf>,
}

impl LinkedFiles {
    /// Finds the links in a directory.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let real = dir.canonicalize()?;
        let metadata = real.metadata()?;
        let mut files = BTreeMap::new();
        for entry in real.read_dir()? {
            let entry = entry?;
            let target = entry.path().canonicalize().ok();
            let target = target.filter(|target| target.is_file() && !target.starts_with(&real));
            if let (Some(target), Ok(name)) = (target, entry.file_name().into_string())
                && entry.file_type()?.is_symlink()
            {
                files.insert(name, target);
            }
        }
        Ok(Self {
            dir: Some((metadata.dev(), metadata.ino())),
            files,
        })
    }

    /// The file that `path` below the directory `from` is a link to.
    fn follow(&self, from: &Descriptor, path: &str) -> Option<&Path> {
        let Descriptor::Dir(from) = from else {
            return None;
        };
        if self.files.is_empty() {
            return None;
        }
        let from = from.dir.metadata().ok()?;
        let mut parts = Path::new(path).components();
        let parts = parts.by_ref().filter(|part| *part != Component::CurDir);
        let mut parts = parts.map(|part| part.as_os_str().to_str());
        let (name, rest) = (parts.next()??, parts.next());
        let is_here = rest.is_none() && self.dir == Some((from.dev(), from.ino()));
        self.files
            .get(name)
            .filter(|_| is_here)
            .map(PathBuf::as_path)
    }
}

/// What a function of WASI gives: a value or an error for the guest, unless it traps.
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

/// Replaces the functions of WASI that resolve a path for reading.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap_async(
        "[method]descriptor.open-at",
        |store: StoreContextMut<'_, State>, call| Box::new(open_at(store, call)),
    )?;
    types.func_wrap_async(
        "[method]descriptor.stat-at",
        |store: StoreContextMut<'_, State>, call| Box::new(stat_at(store, call)),
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

type Open = (
    Resource<Descriptor>,
    PathFlags,
    String,
    OpenFlags,
    DescriptorFlags,
);

async fn open_at(
    mut store: StoreContextMut<'_, State>,
    (from, path_flags, path, open_flags, flags): Open,
) -> Answer<Resource<Descriptor>> {
    let state = store.data_mut();
    let target = state.linked.follow(state.table.get(&from)?, &path);
    let reads = open_flags == OpenFlags::empty() && flags == DescriptorFlags::READ;
    if let Some(target) = target
        && reads
        && path_flags.contains(PathFlags::SYMLINK_FOLLOW)
    {
        let Ok(file) = File::open(target) else {
            return Ok((Err(ErrorCode::NoEntry),));
        };
        let file = filesystem::File::new(file, FsPerms::ReadOnly, OpenMode::READ, false);
        return Ok((Ok(state.table.push(Descriptor::File(file))?),));
    }
    let mut view = state.filesystem();
    answer(HostDescriptor::open_at(&mut view, from, path_flags, path, open_flags, flags).await)
}

async fn stat_at(
    mut store: StoreContextMut<'_, State>,
    (from, path_flags, path): (Resource<Descriptor>, PathFlags, String),
) -> Answer<DescriptorStat> {
    let state = store.data_mut();
    let target = state.linked.follow(state.table.get(&from)?, &path);
    if target.is_none() || !path_flags.contains(PathFlags::SYMLINK_FOLLOW) {
        let mut view = state.filesystem();
        return answer(HostDescriptor::stat_at(&mut view, from, path_flags, path).await);
    }
    // As for any file: of the descriptor.
    let open = (
        from,
        path_flags,
        path,
        OpenFlags::empty(),
        DescriptorFlags::READ,
    );
    let file = match open_at(StoreContextMut::from(&mut store), open).await? {
        (Ok(file),) => file,
        (Err(error),) => return Ok((Err(error),)),
    };
    let mut view = store.data_mut().filesystem();
    let stat = HostDescriptor::stat(&mut view, Resource::new_borrow(file.rep())).await;
    HostDescriptor::drop(&mut view, file)?;
    answer(stat)
}

fn answer<T>(result: Result<T, TrappableError<ErrorCode>>) -> Answer<T> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn opened(dir: &Path) -> Descriptor {
        let dir = File::open(dir).expect("opened");
        Descriptor::Dir(filesystem::Dir::new(
            dir,
            FsPerms::ReadOnly,
            OpenMode::READ,
            false,
        ))
    }

    #[test]
    fn only_links_out_of_the_directory_to_files_are_followed() {
        let hub = tempfile::tempdir().expect("a directory");
        let (blobs, dir) = (hub.path().join("blobs"), hub.path().join("snapshot"));
        fs::create_dir_all(dir.join("onnx")).expect("made");
        fs::create_dir(&blobs).expect("made");
        fs::write(blobs.join("1"), "{}").expect("written");
        fs::write(dir.join("inside"), "{}").expect("written");
        for (name, target) in [
            ("config.json", "../blobs/1"),
            ("blobs", "../blobs"),
            ("inner", "inside"),
            ("gone", "../blobs/2"),
            ("onnx/config.json", "../../blobs/1"),
        ] {
            symlink(target, dir.join(name)).expect("linked");
        }
        let linked = LinkedFiles::of(&dir).expect("read");
        let here = opened(&dir);
        let blob = blobs.join("1").canonicalize().expect("there");
        for path in ["config.json", "./config.json"] {
            assert_eq!(linked.follow(&here, path), Some(&*blob), "{path}");
        }
        for path in [
            "inside",
            "inner",
            "gone",
            "blobs",
            "blobs/1",
            "onnx/config.json",
            "../snapshot/config.json",
            "",
        ] {
            assert_eq!(linked.follow(&here, path), None, "{path}");
        }
        assert_eq!(linked.follow(&opened(&blobs), "config.json"), None);
    }
}
