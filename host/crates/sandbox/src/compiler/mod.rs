//! Compiles guests, in this process or in a child process.
//!
//! Compiling takes most of the time and memory of a load, leaks some of that
//! memory, and processes untrusted input. A server therefore compiles in a child
//! process of the same binary: its memory is returned when it exits, it has
//! resource limits of its own, and a malicious component can harm nothing else.
//! Compiling in this process, as tests and benches do, limits sizes only.
//!
//! This module must not know what is compiled, or why: bytes go in, code comes out.

mod child;
mod parent;

use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use predictor::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;

use super::error::LoadError;
use super::runtime::{preparing_code, serving_code};
use super::trusted::TrustedCode;

pub(super) use child::lower_priority;
pub use child::{CompileError, compile_for_parent};
pub(super) use parent::CompilerOutput;

/// The subcommand of the binary that calls [`compile_for_parent`].
pub const COMPILE_COMMAND: &str = "compile-guest";

/// Limits on compiling a guest. The default guest (3 MB) takes about 5 s of
/// processor time and less than 200 MB of memory, and compiles to 19 MB of code.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CompileLimits {
    /// The largest component, in bytes.
    pub component: usize,
    /// The largest compiled component, in bytes. It includes the guest's memory as
    /// `prepare` left it.
    pub code: usize,
    /// The most memory of the compiler process, in bytes.
    pub memory: u64,
    /// The most processor time, for each of the two compilations of a guest. The
    /// default is several times what the largest useful guests take.
    pub cpu: Duration,
    /// The most wall-clock time of a compilation. Beside live traffic a compiler
    /// gets a small share of a busy processor, so this is a multiple of `cpu`.
    pub wall: Duration,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            component: 64 << 20,
            code: 256 << 20,
            memory: 2 << 30,
            cpu: Duration::from_secs(60),
            wall: Duration::from_secs(600),
        }
    }
}

/// Compiles guests.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// The program to run as the child process; `None` to compile in this process.
    program: Option<PathBuf>,
    limits: CompileLimits,
    is_reproducible: bool,
}

/// What code is compiled for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// To serve requests, in instances with up to `memory` bytes of memory.
    Serving { memory: usize },
    /// To run `prepare`, once.
    Preparing,
}

/// How much of the machine a load may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Pace {
    /// All of it: nothing is served yet.
    Foreground,
    /// What live traffic leaves.
    Background,
}

/// The argument of a compiler process, as JSON.
#[derive(Serialize, Deserialize)]
struct Task {
    purpose: Purpose,
    pace: Pace,
    limits: CompileLimits,
    /// The size of the component, in bytes.
    size: usize,
}

/// A component that is compiled. It is given up as soon as the compiler has it, so that it
/// does not take memory twice.
pub(super) trait Source: Send {
    /// Its size, in bytes.
    fn size(&self) -> usize;

    /// Writes it.
    ///
    /// # Errors
    ///
    /// If `to` fails.
    fn write(self, to: &mut dyn Write) -> io::Result<()>;
}

impl<Bytes: AsRef<[u8]> + Send> Source for Bytes {
    fn size(&self) -> usize {
        self.as_ref().len()
    }

    fn write(self, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(self.as_ref())
    }
}

impl Compiler {
    /// Compiles in this process. Some memory of each compilation is never freed, and
    /// neither memory nor time is limited.
    pub fn in_process(limits: CompileLimits) -> Self {
        Self {
            program: None,
            limits,
            is_reproducible: false,
        }
    }

    /// Compiles in a child process. `program` must be this binary, which calls
    /// [`compile_for_parent`] for the subcommand [`COMPILE_COMMAND`]: the code that
    /// it writes is run in this process.
    pub fn child(program: PathBuf, limits: CompileLimits) -> Self {
        Self {
            program: Some(program),
            limits,
            is_reproducible: false,
        }
    }

    /// Compiles the same guest and model to the same code every time: the random
    /// numbers that `prepare` gets depend on these two only. Whoever has both then
    /// knows the seeds of the guest's hash maps, so use this for code that is
    /// published, as in an image, where the seeds can be read anyway.
    #[must_use]
    pub fn reproducible(self) -> Self {
        Self {
            is_reproducible: true,
            ..self
        }
    }

    pub(super) fn is_reproducible(&self) -> bool {
        self.is_reproducible
    }

    /// The limits on compiling a guest.
    pub fn limits(&self) -> &CompileLimits {
        &self.limits
    }

    /// Compiles a component for `engine`, which must be the engine of `purpose`.
    pub(super) fn compile(
        &self,
        engine: &Engine,
        purpose: Purpose,
        pace: Pace,
        component: impl Source,
    ) -> Result<TrustedCode, LoadError> {
        let (limits, size) = (self.limits, component.size());
        match &self.program {
            Some(program) => {
                let task = Task {
                    purpose,
                    pace,
                    limits,
                    size,
                };
                parent::compile(program, &task, &fingerprint(engine), component)
            }
            None => {
                let mut bytes = Vec::with_capacity(size);
                let written = component.write(&mut bytes);
                written.map_err(|error| LoadError::Host(error.to_string()))?;
                precompile(engine, &limits, &bytes).map_err(LoadError::from)
            }
        }
    }
}

impl Purpose {
    /// An engine that compiles for this purpose. It cannot run guests: it has no pool
    /// of instances, which does not affect the code.
    fn engine(self, pace: Pace) -> wasmtime::Result<Engine> {
        let mut config = match self {
            Self::Serving { memory } => serving_code(memory),
            Self::Preparing => preparing_code(),
        };
        // A low priority is not enough where a container has a quota of processor
        // time: there a second thread takes from the share of live traffic.
        config.parallel_compilation(pace == Pace::Foreground);
        Engine::new(&config)
    }
}

/// Compiles in this process.
fn precompile(
    engine: &Engine,
    limits: &CompileLimits,
    component: &[u8],
) -> Result<TrustedCode, CompileError> {
    let code = TrustedCode::compile(engine, component)
        .map_err(|error| CompileError::Invalid(format!("{error:#}")))?;
    if code.len() > limits.code {
        return Err(CompileError::Limit(too_much_code(limits)));
    }
    Ok(code)
}

fn too_much_code(limits: &CompileLimits) -> String {
    format!(
        "its code and its initial memory take more than {} bytes",
        limits.code
    )
}

impl From<CompileError> for LoadError {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Invalid(reason) => Self::Compile(reason),
            CompileError::Limit(reason) => Self::Compiler(reason),
            CompileError::Host(reason) => Self::Host(reason),
        }
    }
}

/// Identifies a compiler and all its settings: code runs in every engine with the
/// fingerprint of the one that compiled it.
pub(super) fn fingerprint(engine: &Engine) -> Digest {
    let mut hasher = ShaHasher(Sha256::new());
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    Digest(hasher.0.finalize().into())
}

/// Feeds a value that implements `Hash` to SHA-256, since 64 bits would be too few
/// for a key that must be unique.
struct ShaHasher(Sha256);

impl Hasher for ShaHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        u64::from_le_bytes(*digest.first_chunk().unwrap_or(&[0; 8]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Limits, serving_config};

    /// Neither the pool of instances nor the number of threads affects the code.
    #[test]
    fn the_child_compiles_for_the_engines_that_guests_run_in() {
        let limits = Limits {
            memory: 64 << 20,
            call: Duration::from_secs(1),
            prepare: Duration::from_secs(1),
            instances: 2,
        };
        let of = |engine: wasmtime::Result<Engine>| fingerprint(&engine.expect("an engine"));
        let serving = of(Engine::new(&serving_config(&limits)));
        let preparing = of(Engine::new(&preparing_code()));
        assert_ne!(serving, preparing);
        for pace in [Pace::Foreground, Pace::Background] {
            let memory = limits.memory;
            assert_eq!(of(Purpose::Serving { memory }.engine(pace)), serving);
            assert_eq!(of(Purpose::Preparing.engine(pace)), preparing);
        }
    }
}
