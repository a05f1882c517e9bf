//! Runs a guest as a command.

use inference::{Library, Model};
use revisions::ConfigurationFileError;
use sandbox::Graphs;

use super::{AppError, Config, model_dir, new_runtime, read_guest, session};

/// Runs the configured guest as a command, with the model and with this process's
/// standard input and output. Returns its exit code.
///
/// # Errors
///
/// If something that it needs is missing, or if the guest is not a command or traps.
pub async fn run_guest(config: &Config, arguments: &[String]) -> Result<i32, RunGuestError> {
    let library = Library::open(config.onnxruntime.as_deref()).map_err(AppError::from)?;
    let graph = model_dir::check(&config.model).map_err(AppError::from)?;
    let registry = prometheus::Registry::new();
    let metrics = inference::Metrics::new(&registry).map_err(AppError::from)?;
    let model = Model::load(&library, &graph.path, session(config), metrics);
    let model = model.map_err(AppError::from)?;
    let metrics = sandbox::Metrics::new(&registry).map_err(AppError::from)?;
    let runtime = new_runtime(config, Graphs::of(move || model.graph()), metrics)?;
    let component = read_guest(&config.guest, config.compiler.limits().component)?;
    let configuration = config.versions.configuration.read()?;
    let run = sandbox::run_command(
        &runtime,
        &component,
        &config.model,
        &configuration,
        arguments,
    );
    Ok(run.await?)
}

/// Why a guest could not be run as a command.
#[derive(Debug, thiserror::Error)]
pub enum RunGuestError {
    /// Something that it needs is missing.
    #[error(transparent)]
    App(#[from] AppError),
    /// Its configuration cannot be read.
    #[error(transparent)]
    Configuration(#[from] ConfigurationFileError),
    /// The guest failed.
    #[error(transparent)]
    Command(#[from] sandbox::CommandError),
}
