//! `fastsentiment check`: validates the options of `serve`, and loads what it would load.

use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use connection::{SocketFile, SocketFileError};
use fastsentiment::app::{App, Config};
use http::admin::Access;
use sandbox::{ArtifactError, ArtifactStore};
use tokio::net::TcpListener;

use super::endpoint::Endpoint;
use super::exit::UsageError;
use super::serve::ServeCommand;
use super::serve::admin::Wanted;
use super::serve::listen::user_of;
use super::settings::{Fault, Resolved};
use super::{compilation, exit, hints, output, predict, runtime, terminal};

/// The options of `serve`, and how far to check them.
#[derive(Args)]
pub(super) struct CheckCommand {
    /// Check options and files only, and load nothing
    #[arg(long)]
    no_load: bool,

    #[command(flatten)]
    serve: ServeCommand,
}

impl CheckCommand {
    /// Prints all errors, including those found while the options were parsed (`faults`). If
    /// there are none, prints what was loaded, and the resulting configuration.
    pub(super) fn run(
        self,
        mut faults: Vec<Fault>,
        resolved: &Resolved,
    ) -> anyhow::Result<ExitCode> {
        faults.extend(self.serve.conflicts().iter().map(Fault::of));
        let errors = [
            self.serve.load.cache().err(),
            self.serve.admin.resolve().err(),
            self.serve.api_keys.fault(),
        ];
        let errors: Vec<_> = errors.into_iter().flatten().collect();
        let is_usage_error =
            !faults.is_empty() || errors.iter().any(anyhow::Error::is::<UsageError>);
        let runtime = runtime()?;
        faults.extend(runtime.block_on(self.serve.unusable_addresses()));
        if let Some(warning) = self.serve.closed_admin_listener() {
            warn(&warning);
        }
        faults.extend(errors.iter().map(|error| Fault::of(format!("{error:#}"))));
        faults.extend(self.serve.unusable_files()?);
        faults.extend(self.serve.unusable_certificates());
        if !faults.is_empty() {
            faults.iter().for_each(super::report);
            return Ok(if is_usage_error {
                ExitCode::from(exit::USAGE_ERROR)
            } else {
                ExitCode::FAILURE
            });
        }
        // Comments of the configuration file that follows.
        let mut found = String::new();
        if !self.no_load {
            let mut config = self.serve.load.resolve()?;
            // Set by reproducible builds (reproducible-builds.org), such as that of the image,
            // which contains a guest compiled by this command.
            if std::env::var_os("SOURCE_DATE_EPOCH").is_some() {
                config.compiler = config.compiler.reproducible();
            }
            for line in report(config, &runtime)?.lines() {
                found.extend(["# ", line, "\n"]);
            }
        }
        output::print(&format!("{found}{}", resolved.toml()))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl ServeCommand {
    /// The addresses that cannot be listened on. One that is in use is only a warning, since
    /// the server itself may be using it.
    async fn unusable_addresses(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (option, at) in self.listen.each() {
            let address = match at {
                Endpoint::Tcp(address) => *address,
                Endpoint::Unix(path) => {
                    match SocketFile::check(path) {
                        Ok(()) => {}
                        Err(SocketFileError::InUse) => warn(&format!(
                            "{option}: a process uses {at}, maybe the server itself"
                        )),
                        Err(error) => faults.push(Fault::of(format!(
                            "{option}: cannot listen on {at}: {error}"
                        ))),
                    }
                    continue;
                }
            };
            match TcpListener::bind(address).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    let user = user_of(address);
                    let user = user.as_deref().unwrap_or("a process");
                    warn(&format!(
                        "{option}: {user} uses {address}, maybe the server itself"
                    ));
                }
                Err(error) => faults.push(Fault::of(format!(
                    "{option}: cannot listen on {address}: {error}"
                ))),
            }
        }
        faults
    }

    /// A warning if versions cannot be managed at the admin listener.
    fn closed_admin_listener(&self) -> Option<String> {
        let Endpoint::Tcp(address) = self.listen.admin_listen.0.as_ref()? else {
            return None;
        };
        let is_open = matches!(self.admin.resolve(), Ok(Wanted::Open));
        let closed = is_open && Access::new(None, address.ip()).why_closed().is_some();
        closed.then(|| {
            format!(
                "--admin-listen {address} is not a loopback address: versions cannot be managed \
                 there without a token (--admin-token-file)"
            )
        })
    }

    /// The faults of the listeners' certificates and keys.
    fn unusable_certificates(&self) -> Vec<Fault> {
        let listeners = self.tls.each().filter_map(|(option, files)| {
            let read = files.read().and_then(|content| files.settings(&content));
            Some(Fault::of(format!("{option}: {}", read.err()?)))
        });
        listeners.collect()
    }

    /// The files and directories that are missing or cannot be used.
    fn unusable_files(&self) -> anyhow::Result<Vec<Fault>> {
        let config = self.load.without_cache()?;
        let missing = hints::all_missing(&config).into_iter().map(Fault::of);
        let state = self.revisions.state().and_then(state);
        let directories = artifacts(&config).into_iter().chain(state);
        let rollout = self.revisions.rollout().and_then(|file| {
            let read = super::rollout::read(file);
            read.err().map(|error| Fault::of(format!("{error:#}")))
        });
        Ok(missing.chain(directories).chain(rollout).collect())
    }
}

/// Prints a warning.
fn warn(warning: &str) {
    super::log::print(&format!("warning: {warning}\n"));
}

/// An error if another user could change what is in the artefact directory. One that cannot
/// be created is no error, and neither is the default: the server starts without it.
fn artifacts(config: &Config) -> Option<Fault> {
    let dir = config
        .artifacts
        .as_deref()
        .filter(|_| config.artifacts_chosen)?;
    match ArtifactStore::open(dir) {
        Err(error @ ArtifactError::Shared { .. }) => Some(Fault::of(format!(
            "{error}; set another directory with --artifacts"
        ))),
        Ok(_) | Err(ArtifactError::Unusable { .. }) => None,
    }
}

fn state(dir: &Path) -> Option<Fault> {
    if dir.exists() && !dir.is_dir() {
        return Some(Fault::of(format!(
            "--state {} is not a directory",
            dir.display()
        )));
    }
    revisions::check_state_dir(dir).err().map(Fault::of)
}

/// Loads everything that `serve` would load, predicts a text, and describes the result.
fn report(mut config: Config, runtime: &tokio::runtime::Runtime) -> anyhow::Result<String> {
    // Redis is tried separately, and a single prediction needs no cache.
    let redis = std::mem::take(&mut config.cache).redis;
    let redis = runtime.block_on(redis_status(redis));
    let app = App::load(&config, &prometheus::Registry::new(), runtime.handle())
        .map_err(|error| hints::explain(&config, error))?;
    let text = "What a wonderful day.".to_owned();
    let answer = runtime.block_on(predict::answer(app.service(), vec![text]))?;
    let revision = app.revision();
    Ok(format!(
        "onnxruntime  {} ({})\n\
         model        {} ({})\n\
         guest        {} ({}, {})\n\
         artefacts    {}\n\
         workers      {}, with {} thread(s) per inference{}\n\
         compiler     at most {} MiB of memory\n\
         batches      {}; a short text takes {:.2} ms alone, {:.2} ms in a batch\n\
         redis        {redis}\n\
         answer       {answer}\n",
        app.onnxruntime().display(),
        app.onnxruntime_version(),
        config.model.display(),
        revision.model().short(),
        config.guest.display(),
        revision.guest().short(),
        compilation(app.compiled()),
        match &config.artifacts {
            Some(dir) => dir.display().to_string(),
            None => "not kept".to_owned(),
        },
        config.workers,
        config.threads.map_or(1, NonZeroUsize::get),
        match app.wide_threads() {
            Some(threads) => format!(", {threads} for a text alone"),
            None => String::new(),
        },
        config.compiler.limits().memory >> 20,
        match app.batch_tokens() {
            1 => "off".to_owned(),
            tokens => format!("up to {tokens} tokens"),
        },
        app.calibration().alone.as_secs_f64() * 1e3,
        app.calibration().together.as_secs_f64() * 1e3,
    ))
}

/// Whether Redis is available, in words. A server starts without it.
pub(super) async fn redis_status(redis: Option<cache::RedisOptions>) -> String {
    let Some(redis) = redis else {
        return "not used".to_owned();
    };
    match redis.reach().await {
        Ok(()) => format!("{} answers", redis.address),
        Err(reason) => {
            let reason = terminal::escape(&reason);
            format!("{} is unavailable: {reason}", redis.address)
        }
    }
}
