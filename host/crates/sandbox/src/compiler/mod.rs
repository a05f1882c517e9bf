//! Compiling guests, in this process or in a child that ends with its work.
//!
//! A compiler is the part of a load that takes most time and memory, keeps some
//! of that memory, and reads what a stranger has written. So a server has it run
//! in a child process of the same binary: what it took goes back when it ends,
//! its limits are those of a process, and whatever a component does to it is
//! done to nobody else. In this process, for tests and benches, only sizes are
//! bounded.
//!
//! Nothing here must know what is compiled, or why: bytes go in, code comes out.

mod child;
mod parent;

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::error::LoadError;
use super::runtime::{preparing_code, serving_code};
use predictor::Digest;

pub(super) use child::lower_priority;
pub use child::{CompilerFailed, compile_for_parent};

/// The subcommand of the binary that calls [`compile_for_parent`].
pub const COMPILE_COMMAND: &str = "compile-guest";

/// What compiling a guest may take. The default guest, 3 MB of it, takes some 5 s
/// of a processor's time, less than 200 MB of memory and 19 MB of code.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CompileLimits {
    /// The largest component, in bytes.
    pub component: usize,
    /// The largest compiled component, in bytes. It holds a guest's memory as
    /// `prepare` left it.
    pub code: usize,
    /// The most memory of the compiler's process, in bytes.
    pub memory: u64,
    /// The most time on processors, for each of the two times that a guest is
    /// compiled: several times what the largest useful guests take.
    pub cpu: Duration,
    /// The longest that compiling may last. Beside live traffic a compiler gets
    /// little of a busy processor, so this is a multiple of `cpu`.
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
    /// The program of the child process, if there is to be one.
    program: Option<PathBuf>,
    limits: CompileLimits,
    is_reproducible: bool,
}

/// What code is compiled for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// To serve, by guests with so many bytes of memory.
    Serving { memory: usize },
    /// To run `prepare`, once.
    Preparing,
}

/// How much of the machine a load may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Pace {
    /// All of it: nothing is served yet.
    Now,
    /// What live traffic leaves.
    Aside,
}

/// What a child is asked for, as its argument.
#[derive(Serialize, Deserialize)]
struct Task {
    purpose: Purpose,
    pace: Pace,
    limits: CompileLimits,
}

impl Compiler {
    /// Compiles in this process. What engines keep of each compilation is never
    /// given back, and neither memory nor time are bounded.
    pub fn in_process(limits: CompileLimits) -> Self {
        Self {
            program: None,
            limits,
            is_reproducible: false,
        }
    }

    /// Compiles in a child process: `program` is this binary, which calls
    /// [`compile_for_parent`] for the subcommand [`COMPILE_COMMAND`].
    pub fn child(program: PathBuf, limits: CompileLimits) -> Self {
        Self {
            program: Some(program),
            limits,
            is_reproducible: false,
        }
    }

    /// The same, which makes the same code of the same guest and model every time:
    /// `prepare` gets random numbers that depend on nothing else. Who knows both then knows
    /// the seeds of the guest's hash maps, so this is for code that is given away, as in an
    /// image, where everybody could read them anyway.
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

    /// What compiling may take.
    pub fn limits(&self) -> &CompileLimits {
        &self.limits
    }

    /// Compiles a component to code for `engine`, which is that of `purpose`.
    pub(super) fn compile(
        &self,
        engine: &Engine,
        purpose: Purpose,
        pace: Pace,
        component: &[u8],
    ) -> Result<Vec<u8>, LoadError> {
        let limits = self.limits;
        match &self.program {
            Some(program) => {
                let task = Task {
                    purpose,
                    pace,
                    limits,
                };
                parent::compile(program, &task, &fingerprint(engine), component)
            }
            None => precompile(engine, &limits, component).map_err(LoadError::from),
        }
    }
}

impl Purpose {
    /// An engine that compiles for this purpose. It is not one to run guests in:
    /// the pool of instances, which changes no code, is left out.
    fn engine(self, pace: Pace) -> wasmtime::Result<Engine> {
        let mut config = match self {
            Self::Serving { memory } => serving_code(memory),
            Self::Preparing => preparing_code(),
        };
        // Priority alone would not do where a container's processor time is
        // rationed: what a second thread takes there, live traffic lacks.
        config.parallel_compilation(pace == Pace::Now);
        Engine::new(&config)
    }
}

/// Compiles in this process.
fn precompile(
    engine: &Engine,
    limits: &CompileLimits,
    component: &[u8],
) -> Result<Vec<u8>, CompilerFailed> {
    let code = engine
        .precompile_component(component)
        .map_err(|error| CompilerFailed::Invalid(format!("{error:#}")))?;
    if code.len() > limits.code {
        return Err(CompilerFailed::Limit(too_much_code(limits)));
    }
    Ok(code)
}

fn too_much_code(limits: &CompileLimits) -> String {
    format!(
        "its code and the memory it begins with take more than {} bytes",
        limits.code
    )
}

impl From<CompilerFailed> for LoadError {
    fn from(failed: CompilerFailed) -> Self {
        match failed {
            CompilerFailed::Invalid(reason) => Self::Compile(reason),
            CompilerFailed::Limit(reason) => Self::Compiler(reason),
            CompilerFailed::Host(reason) => Self::Host(reason),
        }
    }
}

/// Stands for a compiler and all its settings: code that was compiled under one
/// fingerprint runs in every engine that has the same.
pub(super) fn fingerprint(engine: &Engine) -> Digest {
    let mut hasher = ShaHasher(Sha256::new());
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    Digest(hasher.0.finalize().into())
}

/// Makes a component of code that was compiled just now.
pub(super) fn revive(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the code comes from `Compiler::compile`, so that this program has
    // compiled it: in this process, or in a child whose output has been checked
    // against its digest and the engine's fingerprint.
    #[expect(unsafe_code, reason = "compiled code can not be checked, only trusted")]
    unsafe {
        Component::deserialize(engine, code)
    }
}

/// Makes a component of code in a file of the artefact store, which is mapped
/// and not copied.
pub(super) fn revive_file(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the code was compiled by this program: the artefact store keeps
    // it where no one else can write, and has just compared its digest and the
    // key, which holds the engine's fingerprint. The store itself never writes
    // to a file that has its name.
    #[expect(unsafe_code, reason = "compiled code can not be checked, only trusted")]
    unsafe {
        Component::deserialize_file(engine, path)
    }
}

/// Feeds what implements `Hash` to SHA-256, since 64 bits would be too few for
/// a name that must never be taken twice.
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

    /// The pool, and the number of threads, change no code.
    #[test]
    fn the_engines_of_the_child_fit_those_that_guests_run_in() {
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
        for pace in [Pace::Now, Pace::Aside] {
            let memory = limits.memory;
            assert_eq!(of(Purpose::Serving { memory }.engine(pace)), serving);
            assert_eq!(of(Purpose::Preparing.engine(pace)), preparing);
        }
    }
}
