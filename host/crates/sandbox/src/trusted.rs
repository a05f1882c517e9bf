//! Compiled code that this process may run.
//!
//! wasmtime runs precompiled code as it is: no check can prove that machine code
//! keeps to the sandbox, so its origin has to be trusted. The two types here are
//! the evidence of that origin, and the only values that can be turned into a
//! component: [`TrustedCode`] was compiled just now, [`TrustedFile`] was compiled
//! earlier and kept in a directory that nobody else can write to.
//!
//! Code that crosses a process boundary is *sealed*: a trailer names the key that
//! the code was made for and holds a digest of the code. The seal detects damage
//! and code for another engine. It does not authenticate: that is what the pipe of
//! a child process and a private directory are for.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use predictor::Digest;
use private_dir::PrivateDir;
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::compiler::CompilerOutput;

/// Begins a seal; the number is the version of this layout: code, magic, key, and
/// the SHA-256 of the code.
const MAGIC: &[u8; 16] = b"fastsentiment 02";

/// The size of a seal, in bytes.
pub(super) const SEAL: usize = MAGIC.len() + 2 * size_of::<Digest>();

/// Code that was compiled just now, by this process or by a child of it.
pub(super) struct TrustedCode(Vec<u8>);

impl TrustedCode {
    /// Compiles a component in this process.
    ///
    /// # Errors
    ///
    /// If the component is not valid.
    pub(super) fn compile(engine: &Engine, component: &[u8]) -> wasmtime::Result<Self> {
        engine.precompile_component(component).map(Self)
    }

    /// Takes the code that a compiler process has sealed with `key`; `None` if the
    /// seal is broken or names another key.
    pub(super) fn unseal(output: CompilerOutput, key: &Digest) -> Option<Self> {
        let mut bytes = output.into_bytes();
        let length = bytes.len().checked_sub(SEAL)?;
        // Reading from memory does not fail.
        if !is_sealed(&mut &*bytes, length as u64, key).unwrap_or(false) {
            return None;
        }
        bytes.truncate(length);
        Some(Self(bytes))
    }

    /// Writes the code and a seal with `key`.
    ///
    /// # Errors
    ///
    /// If `output` fails.
    pub(super) fn seal(&self, key: &Digest, output: &mut dyn Write) -> io::Result<()> {
        output.write_all(&self.0)?;
        output.write_all(MAGIC)?;
        output.write_all(&key.0)?;
        output.write_all(&Sha256::digest(&self.0))
    }

    /// The size of the code, in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Loads the code into an engine.
    ///
    /// # Errors
    ///
    /// If it was compiled for another engine, or if memory is short.
    pub(super) fn component(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: the bytes are unchanged output of wasmtime's compiler: `compile`
        // has just made them, or `unseal` has checked what a process that this
        // one started, of the same binary, has made.
        #[expect(unsafe_code, reason = "compiled code cannot be checked, only trusted")]
        unsafe {
            Component::deserialize(engine, &self.0)
        }
    }
}

/// A file of sealed code in a directory that nobody else can write to.
#[derive(Debug)]
pub(super) struct TrustedFile {
    path: PathBuf,
    file: File,
}

impl TrustedFile {
    /// Opens the file `name` in `dir`, and compares its contents with its seal.
    ///
    /// # Errors
    ///
    /// If it cannot be read; [`io::ErrorKind::InvalidData`] if the seal is broken
    /// or names another key.
    pub(super) fn open(dir: &PrivateDir, name: &str, key: &Digest) -> io::Result<Self> {
        let path = dir.path().join(name);
        let mut file = File::open(&path)?;
        let length = file.metadata()?.len().checked_sub(SEAL as u64);
        let is_intact = match length {
            Some(length) => is_sealed(&mut file, length, key)?,
            None => false,
        };
        if !is_intact {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { path, file })
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Maps the code into memory and loads it into an engine.
    ///
    /// # Errors
    ///
    /// If the file is gone, if it was compiled for another engine, or if memory is
    /// short.
    pub(super) fn component(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: only this user and root can write to the directory, so that this
        // program wrote the file, and its seal shows that the code is unchanged.
        // It stays so while it is mapped: the store replaces and deletes files by
        // name, and never writes to one that has its final name.
        #[expect(unsafe_code, reason = "compiled code cannot be checked, only trusted")]
        unsafe {
            Component::deserialize_file(engine, &self.path)
        }
    }
}

/// Whether `length` bytes of code are followed by an intact seal with `key`.
fn is_sealed(sealed: &mut dyn Read, length: u64, key: &Digest) -> io::Result<bool> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut code = sealed.take(length);
    loop {
        match code.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let mut seal = [0; SEAL];
    code.into_inner().read_exact(&mut seal)?;
    let (magic, digests) = seal.split_at(MAGIC.len());
    let (sealed_with, digest) = digests.split_at(size_of::<Digest>());
    Ok(magic == MAGIC && sealed_with == key.0 && digest == hasher.finalize().as_slice())
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;

    const KEY: Digest = Digest([7; 32]);

    /// Bytes in the place of code, for tests that never run it.
    pub(crate) fn fake(code: &[u8]) -> TrustedCode {
        TrustedCode(code.to_vec())
    }

    fn sealed(code: &[u8], key: &Digest) -> Vec<u8> {
        let mut sealed = Vec::new();
        fake(code).seal(key, &mut sealed).expect("written");
        sealed
    }

    /// Whether a compiler's output and a file of these bytes are both trusted.
    fn is_trusted(bytes: &[u8]) -> bool {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("code"), bytes).expect("written");
        let dir = PrivateDir::open(dir.path()).expect("private");
        let file = TrustedFile::open(&dir, "code", &KEY).is_ok();
        let output = CompilerOutput::from(bytes.to_vec());
        assert_eq!(TrustedCode::unseal(output, &KEY).is_some(), file);
        file
    }

    #[test]
    fn code_that_is_unchanged_is_trusted() {
        assert!(is_trusted(&sealed(b"code", &KEY)));
        assert!(is_trusted(&sealed(b"", &KEY)));
        let output = CompilerOutput::from(sealed(b"code", &KEY));
        let code = TrustedCode::unseal(output, &KEY).expect("unchanged");
        assert_eq!(code.0, b"code");
    }

    #[test]
    fn code_that_was_changed_in_any_place_is_not() {
        let whole = sealed(b"code", &KEY);
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(!is_trusted(&damaged), "byte {at}");
            assert!(!is_trusted(&whole[..at]), "cut at {at}");
            assert!(!is_trusted(&whole[at + 1..]), "without the first {at}");
        }
        assert!(!is_trusted(&[&whole[..], b"x"].concat()));
    }

    #[test]
    fn code_for_another_key_is_not_trusted() {
        assert!(!is_trusted(&sealed(b"code", &Digest([8; 32]))));
    }
}
