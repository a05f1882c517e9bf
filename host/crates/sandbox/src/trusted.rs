//! Compiled code that this process may run.
//!
//! wasmtime runs precompiled code as it is: no check can prove that machine code
//! keeps to the sandbox, so its origin has to be trusted. [`TrustedCode`] is the
//! evidence of that origin, and the only value that can be turned into a component:
//! it was compiled just now, or earlier and kept in a file that nobody else can write
//! to ([`PrivateFile`]).
//!
//! Code that crosses a process boundary is *sealed*: a trailer names the key that
//! the code was made for and holds a digest of the code. The seal detects damage
//! and code for another engine. It does not authenticate: that is what the pipe of
//! a child process and a private file are for.

use std::io::{self, Write};

use predictor::Digest;
use private_dir::PrivateFile;
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::compiler::CompilerOutput;

/// Begins a seal; the number is the version of this layout: code, magic, key, and
/// the SHA-256 of the code.
const MAGIC: &[u8; 16] = b"fastsentiment 02";

/// The size of a seal, in bytes.
pub(super) const SEAL: usize = MAGIC.len() + 2 * size_of::<Digest>();

/// The largest file of code that is read, in bytes: more than the compiler may write
/// ([`CompileLimits::code`](super::compiler::CompileLimits)).
const MOST: u64 = 512 << 20;

/// Code that this program has compiled: this process, a child of it, or an earlier one
/// that kept it in a private file.
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
        Self::checked(output.into_bytes(), key)
    }

    /// Reads a file of code that was sealed with `key`. What is checked here is what
    /// will run, whatever happens to the file from now on: the code is copied, and not
    /// mapped, since the file may still be open to somebody who could write to it before.
    ///
    /// # Errors
    ///
    /// If it cannot be read; [`io::ErrorKind::InvalidData`] if the seal is broken or
    /// names another key.
    pub(super) fn read(file: &PrivateFile, key: &Digest) -> io::Result<Self> {
        let code = Self::checked(file.read(MOST)?, key);
        code.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is damaged"))
    }

    /// Removes an intact seal with `key`.
    fn checked(mut bytes: Vec<u8>, key: &Digest) -> Option<Self> {
        let length = bytes.len().checked_sub(SEAL)?;
        let (code, seal) = bytes.split_at(length);
        if *seal != seal_of(code, key) {
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
        output.write_all(&seal_of(&self.0, key))
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
        // has just made them, or `checked` has compared them with the digest that a
        // process of this program has made of them. That process was started by this
        // one, or it wrote a file that only this user and root could write to.
        #[expect(unsafe_code, reason = "compiled code cannot be checked, only trusted")]
        unsafe {
            Component::deserialize(engine, &self.0)
        }
    }
}

/// The seal of code for `key`.
fn seal_of(code: &[u8], key: &Digest) -> [u8; SEAL] {
    let mut seal = [0; SEAL];
    let (magic, digests) = seal.split_at_mut(MAGIC.len());
    let (sealed_with, digest) = digests.split_at_mut(size_of::<Digest>());
    magic.copy_from_slice(MAGIC);
    sealed_with.copy_from_slice(&key.0);
    digest.copy_from_slice(&Sha256::digest(code));
    seal
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use private_dir::PrivateDir;

    use super::*;

    const KEY: Digest = Digest([7; 32]);

    /// Bytes in the place of code, for tests that never run it.
    pub(crate) fn fake(code: &[u8]) -> TrustedCode {
        TrustedCode(code.to_vec())
    }

    pub(crate) fn bytes(code: &TrustedCode) -> &[u8] {
        &code.0
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
        let file = dir.file("code").expect("private");
        let file = TrustedCode::read(&file, &KEY).is_ok();
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
