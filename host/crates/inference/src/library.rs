//! Finding and opening the ONNX Runtime library.
//!
//! The library is opened while the program runs and not linked, so that one
//! binary serves with whichever build of ONNX Runtime the machine has.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::environment::Environment;
use ort::logging::LogLevel;

/// The file name under which ONNX Runtime is looked for.
#[cfg(target_os = "macos")]
const FILE_NAME: &str = "libonnxruntime.dylib";
#[cfg(not(target_os = "macos"))]
const FILE_NAME: &str = "libonnxruntime.so";

/// The least version that is needed: ONNX Runtime promises its C API by this number.
pub const API_VERSION: u32 = ort::MINOR_VERSION;

/// Why ONNX Runtime can not be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// There is no library in any of the places where it is looked for.
    #[error(
        "ONNX Runtime was not found ({searched}). Run `make onnxruntime`, or download a release \
         of ONNX Runtime 1.24 or newer, and name its {FILE_NAME} by `--onnxruntime` or in \
         ORT_DYLIB_PATH"
    )]
    NotFound {
        /// Where it was looked for, as a person would say it.
        searched: String,
    },
    /// There is a file, but it can not be used.
    #[error("{path} can not be used as ONNX Runtime: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the loader or the library said.
        reason: String,
    },
}

/// ONNX Runtime, opened. One process opens it once.
pub struct Library {
    environment: Environment,
    path: PathBuf,
    version: String,
}

impl Library {
    /// Opens the library at `path`, or else the one beside the running binary.
    ///
    /// # Errors
    ///
    /// If there is no such file, or if it is not an ONNX Runtime that offers
    /// the C API this was built for.
    pub fn open(path: Option<&Path>) -> Result<Self, LibraryError> {
        let path = find(path)?;
        let unusable = |reason: String| LibraryError::Unusable {
            path: path.clone(),
            reason,
        };
        let environment = ort::init_from(&path)
            .map_err(|error| unusable(error.to_string()))?
            .with_name("fastsentiment")
            .with_telemetry(false)
            .with_logger(Arc::new(log))
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let version = version(&path).unwrap_or_else(|| "unknown".to_owned());
        Ok(Self {
            environment,
            path,
            version,
        })
    }

    /// The file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version, such as `1.24.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where the library would be opened: at `path`, or else beside the running binary.
    ///
    /// # Errors
    ///
    /// If there is no such file.
    pub fn find(path: Option<&Path>) -> Result<PathBuf, LibraryError> {
        find(path)
    }

    /// Where sessions are made. There is one for a process.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// The version of the library, which is open already: `ort` has asked for it, and
/// keeps it to itself.
fn version(path: &Path) -> Option<String> {
    type Base = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: the library was opened before and stays open, so that this runs nothing
    // of it anew. The function is the first that any ONNX Runtime offers; what it gives
    // is null or lives as long as the library, as does the string, which ends in a zero.
    #[expect(unsafe_code, reason = "asking ONNX Runtime for its version")]
    unsafe {
        let library = libloading::Library::new(path).ok()?;
        let base = library.get::<Base>(c"OrtGetApiBase").ok()?().as_ref()?;
        let version = (base.GetVersionString)();
        let version = (!version.is_null()).then(|| CStr::from_ptr(version))?;
        version.to_str().ok().map(str::to_owned)
    }
}

/// Passes on what ONNX Runtime has to say. A run that fails is the answer to
/// whoever asked for it, and what a guest sends must not fill the log; so only
/// what ends the process is more than a detail.
fn log(level: LogLevel, category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Fatal => tracing::error!(category, location, message),
        LogLevel::Error | LogLevel::Warning => tracing::debug!(category, location, message),
        LogLevel::Info | LogLevel::Verbose => tracing::trace!(category, location, message),
    }
}

fn find(named: Option<&Path>) -> Result<PathBuf, LibraryError> {
    if let Some(path) = named {
        // A name without a directory would be searched for by the loader, in
        // places that depend on the machine; a path is what was asked for.
        return std::path::absolute(path)
            .ok()
            .filter(|path| path.is_file())
            .ok_or_else(|| LibraryError::NotFound {
                searched: format!("{} is not a file", path.display()),
            });
    }
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.join(FILE_NAME)));
    match beside {
        Some(path) if path.is_file() => Ok(path),
        Some(path) => Err(LibraryError::NotFound {
            searched: format!("{} is not a file", path.display()),
        }),
        None => Err(LibraryError::NotFound {
            searched: "the place of this binary is unknown".to_owned(),
        }),
    }
}
