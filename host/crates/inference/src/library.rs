//! Finds and opens the ONNX Runtime library.
//!
//! The library is opened at run time and not linked, so that one binary works with
//! whichever build of ONNX Runtime a machine has.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ort::environment::Environment;
use ort::logging::LogLevel;

use prometheus::IntGauge;

use super::activity::Activity;
use super::model::Loaded;

/// The file name of ONNX Runtime.
#[cfg(target_os = "macos")]
const FILE_NAME: &str = "libonnxruntime.dylib";
#[cfg(not(target_os = "macos"))]
const FILE_NAME: &str = "libonnxruntime.so";

/// The oldest version of the C API that will do, which is the minor version of
/// ONNX Runtime.
pub const API_VERSION: u32 = ort::MINOR_VERSION;

/// Why ONNX Runtime cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// There is no library at the given path, or beside the binary.
    #[error(
        "ONNX Runtime was not found ({searched}). Run `make onnxruntime`, or download a release \
         of ONNX Runtime 1.24 or newer and set `--onnxruntime` or ORT_DYLIB_PATH to its \
         {FILE_NAME}"
    )]
    NotFound {
        /// Why it was not found, in words.
        searched: String,
    },
    /// There is a file, but it cannot be used.
    #[error("{path} cannot be used as ONNX Runtime: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The error of the loader or of the library.
        reason: String,
    },
}

/// The opened ONNX Runtime. A process opens it once.
pub struct Library {
    environment: Environment,
    path: PathBuf,
    version: String,
    activity: Arc<Activity>,
    models: Mutex<Vec<Weak<Loaded>>>,
}

impl Library {
    /// Opens the library at `path`, or else the one beside the running binary.
    ///
    /// # Errors
    ///
    /// If there is no such file, or if it does not offer the C API that this crate was
    /// built for.
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
            activity: Arc::default(),
            models: Mutex::default(),
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

    /// The file that [`Library::open`] would open.
    ///
    /// # Errors
    ///
    /// If there is no such file.
    pub fn find(path: Option<&Path>) -> Result<PathBuf, LibraryError> {
        find(path)
    }

    /// The environment of all sessions.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Takes into account how many threads have work: while more than one has, no run has
    /// several threads. The first gauge counts.
    pub fn watch(&self, busy: IntGauge) {
        self.activity.watch(busy);
    }

    /// Returns the memory that models have used for runs, and do not use now, to the system.
    /// The next runs take a little longer, since they have to ask for memory again.
    pub fn return_memory(&self) {
        let models: Vec<_> = self.with_models(|models| {
            models.retain(|model| model.strong_count() > 0);
            models.iter().filter_map(Weak::upgrade).collect()
        });
        for model in models {
            model.return_memory();
        }
    }

    /// Keeps a model in mind for as long as it lives.
    pub(super) fn add(&self, model: &Arc<Loaded>) {
        let model = Arc::downgrade(model);
        self.with_models(|models| models.push(model));
    }

    fn with_models<T>(&self, with: impl FnOnce(&mut Vec<Weak<Loaded>>) -> T) -> T {
        // Nothing panics while the lock is held.
        with(&mut self.models.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What uses models at the moment.
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

/// The version of the library, which is open already. `ort` knows the version but does
/// not expose it.
fn version(path: &Path) -> Option<String> {
    type Base = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: the library is open already and stays open, so that opening it again runs
    // no initialiser. Every ONNX Runtime exports this function with this type. It
    // returns null or a table that lives as long as the library, as does the version,
    // which ends with a zero.
    #[expect(unsafe_code, reason = "ort does not expose the version")]
    unsafe {
        let library = libloading::Library::new(path).ok()?;
        let base = library.get::<Base>(c"OrtGetApiBase").ok()?().as_ref()?;
        let version = (base.GetVersionString)();
        let version = (!version.is_null()).then(|| CStr::from_ptr(version))?;
        version.to_str().ok().map(str::to_owned)
    }
}

/// Forwards messages of ONNX Runtime to the log. The caller of a run gets its error
/// anyway, and a guest must not be able to fill the log with bad inputs. So everything
/// but fatal messages is logged at a low level.
fn log(level: LogLevel, category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Fatal => tracing::error!(category, location, message),
        LogLevel::Error | LogLevel::Warning => tracing::debug!(category, location, message),
        LogLevel::Info | LogLevel::Verbose => tracing::trace!(category, location, message),
    }
}

fn find(named: Option<&Path>) -> Result<PathBuf, LibraryError> {
    if let Some(path) = named {
        // The loader would search system directories for a name without a directory.
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
            searched: "the path of this binary is unknown".to_owned(),
        }),
    }
}
