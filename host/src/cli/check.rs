//! `fastsentiment check`.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use fastsentiment::app::{App, Config};
use http::admin::Access;
use sandbox::{ArtifactError, ArtifactStore};
use tokio::net::TcpListener;

use super::exit::WrongUse;
use super::serve::ServeCommand;
use super::settings::{Fault, Resolved};
use super::{exit, loaded, needs, output, predict, runtime, tell};

/// What would be served, and how far to go.
#[derive(Args)]
pub(super) struct CheckCommand {
    /// Load nothing: look at options and files only
    #[arg(long)]
    no_load: bool,

    #[command(flatten)]
    serve: ServeCommand,
}

impl CheckCommand {
    /// Tells all that is wrong, `faults` of options included; or else what was found,
    /// and what the options have come to.
    pub(super) fn run(
        self,
        mut faults: Vec<Fault>,
        resolved: &Resolved,
    ) -> anyhow::Result<ExitCode> {
        faults.extend(self.serve.contradictions().iter().map(Fault::of));
        let errors = [
            self.serve.load.cache().err(),
            self.serve.admin.token().err(),
        ];
        let errors: Vec<_> = errors.into_iter().flatten().collect();
        let wrong_use = !faults.is_empty() || errors.iter().any(anyhow::Error::is::<WrongUse>);
        let runtime = runtime()?;
        faults.extend(runtime.block_on(self.serve.unusable_addresses()));
        if let Some(closed) = self.serve.closed() {
            warn(&closed);
        }
        faults.extend(errors.iter().map(|error| Fault::of(format!("{error:#}"))));
        faults.extend(self.serve.unusable_files()?);
        if !faults.is_empty() {
            faults.iter().for_each(tell);
            return Ok(if wrong_use {
                ExitCode::from(exit::WRONG_USE)
            } else {
                ExitCode::FAILURE
            });
        }
        // Everything is a comment of the file that follows.
        let mut found = String::new();
        if !self.no_load {
            let mut config = self.serve.load.resolve()?;
            // How builds are asked for what is the same every time
            // (reproducible-builds.org): the image's compiled guest is made by this.
            if std::env::var_os("SOURCE_DATE_EPOCH").is_some() {
                config.compiler = config.compiler.reproducible();
            }
            for line in report(config, &runtime)?.lines() {
                found.extend(["# ", line, "\n"]);
            }
        }
        output::print(format_args!("{found}{}", resolved.toml()))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl ServeCommand {
    /// What can not be listened on. What is in use already may well be this server's
    /// own, so that it is only warned of.
    async fn unusable_addresses(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (option, address) in self.listen.each() {
            match TcpListener::bind(address).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::AddrInUse => warn(&format!(
                    "{option} {address} is in use: by this server, if it is running already"
                )),
                Err(error) => faults.push(Fault::of(format!(
                    "{option} {address} can not be listened on: {error}"
                ))),
            }
        }
        faults
    }

    /// What the admin listener is of no use for.
    fn closed(&self) -> Option<String> {
        let address = self.listen.admin_listen.0?;
        let token = self.admin.token().ok()?;
        let closed = Access::new(token.as_ref(), address.ip()).is_closed();
        closed.then(|| {
            format!(
                "--admin-listen {address} is no loopback address: versions can not be managed there \
                 without a token (--admin-token-file)"
            )
        })
    }

    /// What is missing, or can not be used, of all that options name.
    fn unusable_files(&self) -> anyhow::Result<Vec<Fault>> {
        let config = self.load.without_cache()?;
        let missing = needs::all_missing(&config).into_iter().map(Fault::of);
        let state = self.swaps.state().and_then(|dir| state(dir));
        let directories = artifacts(&config).into_iter().chain(state);
        Ok(missing.chain(directories).collect())
    }
}

/// Says what need not be wrong.
fn warn(words: &str) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(std::io::stderr(), "warning: {words}");
}

/// A server starts without an artefact directory that can not be made, and not with
/// one that others can write to.
fn artifacts(config: &Config) -> Option<Fault> {
    match ArtifactStore::open(config.artifacts.as_deref()?) {
        Err(error @ ArtifactError::Shared { .. }) => {
            Some(Fault::of(format!("{error}; --artifacts names another one")))
        }
        Ok(_) | Err(ArtifactError::Unusable { .. }) => None,
    }
}

fn state(dir: &Path) -> Option<Fault> {
    let is_else = dir.exists() && !dir.is_dir();
    is_else.then(|| Fault::of(format!("--state {} is not a directory", dir.display())))
}

/// Loads everything that `serve` would load, predicts once, and says what was found.
fn report(mut config: Config, runtime: &tokio::runtime::Runtime) -> anyhow::Result<String> {
    // Redis is tried by itself, and what is asked once is worth no cache.
    let redis = std::mem::take(&mut config.cache).redis;
    let redis = runtime.block_on(reach(redis));
    let app = App::load(&config, &prometheus::Registry::new(), runtime.handle())
        .map_err(|error| needs::explained(&config, error))?;
    let text = "What a wonderful day.".to_owned();
    let answer = runtime.block_on(predict::answer(app.service(), vec![text]))?;
    let revision = app.revision();
    Ok(format!(
        "onnxruntime  {} ({})\n\
         model        {} ({})\n\
         guest        {} ({}, {})\n\
         artefacts    {}\n\
         workers      {}, with {} thread(s) for each inference\n\
         compiler     at most {} MiB of memory\n\
         batches      {}; a short text takes {:.2} ms alone, {:.2} ms with others\n\
         redis        {redis}\n\
         answer       {answer}\n",
        app.onnxruntime().display(),
        app.onnxruntime_version(),
        config.model.display(),
        revision.model().short(),
        config.guest.display(),
        revision.guest().short(),
        loaded(app.compiled()),
        match &config.artifacts {
            Some(dir) => dir.display().to_string(),
            None => "not kept".to_owned(),
        },
        config.workers,
        config.threads,
        config.compiler.limits().memory >> 20,
        match app.batch_tokens() {
            1 => "of one text".to_owned(),
            tokens => format!("of up to {tokens} tokens"),
        },
        app.calibration().alone.as_secs_f64() * 1e3,
        app.calibration().together.as_secs_f64() * 1e3,
    ))
}

/// Whether Redis can be used, in words. A server starts without it.
pub(super) async fn reach(redis: Option<cache::RedisOptions>) -> String {
    let Some(redis) = redis else {
        return "not used".to_owned();
    };
    match redis.reach().await {
        Ok(()) => format!("{} answers", redis.address),
        Err(reason) => format!("{} can not be used: {reason}", redis.address),
    }
}
