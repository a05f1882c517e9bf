//! The basis of the tests: guests, models, ONNX Runtime, and the layers of the host.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use inference::{Library, Model, SessionOptions};
use predictor::Configuration;
use prometheus::Registry;
use sandbox::{
    ArtifactStore, CompileLimits, Compiler, Graphs, Guest, Limits, LoadError, ModelFiles, Runtime,
    load,
};
use tempfile::TempDir;

/// Longer than any step of a test takes, even on a busy machine. A test that waits this long
/// has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// The models made for these tests; `fixtures/models/README.md` describes each.
pub(crate) const FIXTURES: [&str; 7] = [
    "tiny-bert",
    "tiny-roberta",
    "tiny-distilbert-5",
    "tiny-multilabel",
    "tiny-fp16",
    "tiny-int32",
    "tiny-f32",
];

/// The `fastsentiment` binary.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_fastsentiment");

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The model that ships with the product.
pub(crate) fn default_model() -> PathBuf {
    repository().join("model/default")
}

/// The directory of one of [`FIXTURES`].
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/models")
        .join(name)
}

/// A copy of a fixture that a test may change.
pub(crate) fn copy_of(name: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_files(&fixture(name), copy.path());
    copy
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&copy).unwrap();
            copy_files(&entry.path(), &copy);
        } else {
            std::fs::copy(entry.path(), copy).unwrap();
        }
    }
}

/// The default guest, built once per run of the tests.
pub(crate) fn guest_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build_guest("guest"))
}

/// A guest of `guest/examples/`, built if necessary.
pub(crate) fn example_path(name: &str) -> PathBuf {
    build_guest(name)
}

/// Builds one of this repository's guests, as the Makefile does. Returns its path.
pub(crate) fn build_guest(name: &str) -> PathBuf {
    // Cargo creates this directory inside the target directory.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(repository())
        .args(["build", "--quiet", "--profile", "guest"])
        .args(["--target", "wasm32-wasip2", "-p"])
        .arg(format!("fastsentiment-{name}"))
        .arg("--target-dir")
        .arg(target)
        .status()
        .expect("cargo can be run");
    assert!(status.success(), "the guest {name} cannot be built");
    let name = name.replace('-', "_");
    target.join(format!("wasm32-wasip2/guest/fastsentiment_{name}.wasm"))
}

/// The bytes of the default guest.
pub(crate) fn guest() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| std::fs::read(guest_path()).unwrap())
}

/// The ONNX Runtime library: `ORT_DYLIB_PATH`, or the one beside the binary.
pub(crate) fn onnxruntime() -> PathBuf {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH") {
        return path.into();
    }
    let name = if cfg!(target_os = "macos") {
        "libonnxruntime.dylib"
    } else {
        "libonnxruntime.so"
    };
    let path = Path::new(BINARY).with_file_name(name);
    assert!(
        path.is_file(),
        "{} does not exist: run `make onnxruntime`",
        path.display()
    );
    path
}

/// ONNX Runtime, which a process can open only once.
pub(crate) fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| Library::open(Some(&onnxruntime())).unwrap())
}

/// The directory for compiled guests, which later tests and runs use again: that saves most
/// of the time. Keys are digests of the contents, so no entry is ever out of date.
pub(crate) fn artifacts() -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let mut dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("artifacts");
        // Such as in a container, where root may build the sources of another user.
        if ArtifactStore::open(&dir).is_err() {
            dir = std::env::temp_dir().join("fastsentiment-tests");
        }
        prune(&dir);
        dir
    });
    dir.clone()
}

/// Deletes old compiled guests, which are about 12 MB each.
fn prune(dir: &Path) {
    const KEPT: usize = 40;
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    let mut files: Vec<_> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    for (_, path) in files.iter().rev().skip(KEPT) {
        // Another run may have deleted it.
        let _ = std::fs::remove_file(path);
    }
}

/// A lock to hold while a guest is loaded, so that no two tests compile the same guest at
/// the same time.
pub(crate) fn loading() -> MutexGuard<'static, ()> {
    static LOADING: Mutex<()> = Mutex::new(());
    LOADING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads the model of a directory.
pub(crate) fn model(dir: &Path) -> Model {
    let options = SessionOptions { threads: 1 };
    let metrics = inference::Metrics::new(&Registry::new()).unwrap();
    Model::load(library(), &dir.join("model.onnx"), options, metrics).unwrap()
}

/// Loads the model of a directory for guests.
pub(crate) fn graphs(dir: &Path) -> Graphs {
    let model = model(dir);
    Graphs::of(move || model.graph())
}

/// Limits that only a hostile guest exceeds. The memory limit is the binary's default, so
/// that both can use the same compiled guests.
pub(crate) const GENEROUS: Limits = Limits {
    memory: 512 << 20,
    call: PATIENCE,
    prepare: PATIENCE,
    instances: 4,
};

/// A runtime with the compiler of a server.
pub(crate) fn runtime(limits: Limits, graphs: Graphs) -> Arc<Runtime> {
    let compiler = Compiler::child(BINARY.into(), CompileLimits::default());
    runtime_with(limits, compiler, graphs)
}

/// A runtime with another compiler.
pub(crate) fn runtime_with(limits: Limits, compiler: Compiler, graphs: Graphs) -> Arc<Runtime> {
    let metrics = sandbox::Metrics::new(&Registry::new()).unwrap();
    Runtime::new(limits, compiler, graphs, metrics).unwrap()
}

/// Loads the default guest for a model directory, with `graphs` as its model.
pub(crate) fn load_default(dir: &Path, graphs: Graphs) -> Result<Guest, LoadError> {
    load_guest(guest(), dir, graphs)
}

/// Loads a guest for a model directory, with `graphs` as its model.
pub(crate) fn load_guest(component: &[u8], dir: &Path, graphs: Graphs) -> Result<Guest, LoadError> {
    load_configured(component, dir, graphs, &Configuration::NONE)
}

/// Loads a guest that reads a configuration.
pub(crate) fn load_configured(
    component: &[u8],
    dir: &Path,
    graphs: Graphs,
    configuration: &Configuration,
) -> Result<Guest, LoadError> {
    let _loading = loading();
    let store = ArtifactStore::open(&artifacts()).unwrap();
    let runtime = runtime(GENEROUS, graphs);
    let files = ModelFiles::read(dir, []).unwrap();
    load(&runtime, Some(&store), component, &files, configuration)
}

/// Runs a future on this thread, with the timer that guests need.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(PATIENCE, future).await.unwrap() })
}

pub(crate) use testing::Named;
