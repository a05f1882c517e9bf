//! `fastsentiment serve`: starts a server, and runs it until a signal stops it.

pub(super) mod admin;
pub(super) mod api_keys;
mod banner;
mod clients;
mod follower;
pub(super) mod listen;
mod observability;
mod revisions;
mod run_dir;
mod shutdown;
pub(super) mod tls;

use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use fastsentiment::app::App;
use futures_util::FutureExt;
use http::public::Public;
use http::{Condition, Health, HttpConfig, Readiness};
use prometheus::Registry;
use tokio::runtime::Handle;

use crate::cli::check::redis_status;
use crate::cli::options::LoadOptions;
use crate::cli::settings::ConfigOption;
use crate::cli::{Prepared, exit, heap, hints, log, output, process, signals};
use admin::{Admin, TokenOptions};
use api_keys::ApiKeyOptions;
use banner::Banner;
use clients::ClientLimits;
use listen::{ListenOptions, Passed};
use observability::ObservabilityOptions;
use revisions::RevisionOptions;
use shutdown::ShutdownOptions;
use tls::{ServerTls, TlsOptions};

/// The options of a server.
#[derive(Args)]
#[command(after_help = exit::LOADS)]
pub(super) struct ServeCommand {
    #[command(flatten)]
    pub(super) listen: ListenOptions,

    #[command(flatten)]
    pub(super) load: LoadOptions,

    #[command(flatten)]
    pub(super) admin: TokenOptions,

    #[command(flatten)]
    pub(super) tls: TlsOptions,

    #[command(flatten)]
    pub(super) api_keys: ApiKeyOptions,

    #[command(flatten)]
    clients: ClientLimits,

    #[command(flatten)]
    observability: ObservabilityOptions,

    #[command(flatten)]
    pub(super) revisions: RevisionOptions,

    #[command(flatten)]
    shutdown: ShutdownOptions,

    #[command(flatten)]
    file: ConfigOption,
}

/// How long background tasks may take once all requests are answered. Writing the state
/// takes milliseconds.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(2);

impl ServeCommand {
    /// Serves, in a process that was prepared for it.
    pub(super) fn run(self, prepared: Option<Prepared>) -> anyhow::Result<ExitCode> {
        let runtime = super::runtime()?;
        let ended = runtime.block_on(self.serve(prepared));
        // A candidate that is being compiled is abandoned: its compiler ends with this process.
        runtime.shutdown_timeout(BACKGROUND_TIMEOUT);
        ended
    }

    /// Options that are valid one by one, but conflict with each other.
    pub(super) fn conflicts(&self) -> Vec<String> {
        let artifacts = self.load.artifacts_of_registries();
        let found = [
            self.clients.conflict(),
            self.listen.conflict(),
            self.tls.conflict(&self.listen),
            self.revisions.conflict(artifacts.as_ref()),
        ];
        found.into_iter().flatten().collect()
    }

    fn connections(&self) -> connection::Config {
        connection::Config {
            drain_delay: Duration::from_millis(self.shutdown.drain_delay_ms),
            drain: Duration::from_millis(self.shutdown.drain_ms),
            max_connections: process::connections_within_file_limit(
                self.clients.max_connections.get(),
            ),
            ..self.clients.connections()
        }
    }

    async fn serve(self, prepared: Option<Prepared>) -> anyhow::Result<ExitCode> {
        let (mut passed, confinement) = match prepared {
            Some(prepared) => (prepared.passed, Some(prepared.confinement)),
            None => (Passed::default(), None),
        };
        log::log_panics();
        if let Some(conflict) = self.conflicts().into_iter().next() {
            return Err(exit::UsageError(conflict).into());
        }
        let mut config = self.load.resolve()?;
        let artifacts = self.load.artifacts_of_registries();
        self.revisions.apply(&mut config.versions, artifacts)?;
        let http = HttpConfig {
            log_requests: self.observability.log_requests,
            ..self.clients.http()
        };
        let connections = self.connections();
        signals::ignore_file_size_limit()?;
        let mut stop = pin!(signals::shutdown()?);
        // Before the load, during which SIGHUP would otherwise end the process.
        let hangups = signals::hangups()?;
        let readiness = Readiness::default();
        let registry = Registry::new();
        let tls = ServerTls::start(&self.tls, &registry)?;
        let (api_keys, _follower) = self.api_keys.start(&registry)?.unzip();
        // Before the load, so that a port in use is reported at once.
        let listener = passed.main(&self.listen, tls.main.clone()).await?;
        process::register(&registry)?;
        log::register(&registry)?;
        // Open before the load, so that probes can follow it.
        let admin = passed.admin(&self.listen, tls.admin.clone()).await?;
        let admin = admin.map(|bound| {
            let log = http.log_requests;
            self.admin.start(bound, &config, log, &registry, &readiness)
        });
        let admin = admin.transpose()?;
        // Tried while everything else is loaded, and not waited for.
        let redis = tokio::spawn(redis_status(config.cache.redis.clone()));
        let mut load = tokio::task::spawn_blocking({
            let (registry, runtime) = (registry.clone(), Handle::current());
            let (config, readiness) = (config.clone(), readiness.clone());
            let model_is_loaded = move || readiness.set_model_loaded();
            move || App::load_with(&config, &registry, &runtime, model_is_loaded)
        });
        let app = tokio::select! {
            app = &mut load => app?.map_err(|error| hints::explain(&config, error))?,
            () = &mut stop => {
                readiness.set_draining();
                // The process could crash if it ended while ONNX Runtime works, which
                // cannot be interrupted. The result of the load is not needed.
                let _ = load.await;
                return Ok(ExitCode::SUCCESS);
            }
        };
        tokio::spawn(heap::return_memory(app.models_memory()));
        let metrics = Arc::new(http::Metrics::new(&registry)?);
        process::register_build_info(&registry, app.onnxruntime_version())?;
        let public = Public {
            service: Arc::clone(app.service()),
            served: app.served().clone(),
            readiness: readiness.clone(),
            metrics: Arc::clone(&metrics),
            published: self.observability.public_metrics.then(|| registry.clone()),
            api_keys,
            config: http,
        };
        let reloads = signals::reload_at(hangups, app.revisions());
        if let Some(admin) = &admin {
            admin.manage(app.revisions());
        }
        readiness.check_by(checkup(&app));
        if let Some(confinement) = confinement {
            confinement.log();
        }
        // Programs that read the banner may send requests at once.
        readiness.set_ready();
        let redis = redis.now_or_never().and_then(Result::ok);
        let banner = Banner {
            app: &app,
            config: &config,
            main: &listener.place,
            admin: admin.as_ref().map(Admin::place),
            token: admin.as_ref().and_then(Admin::token_file),
            redis: redis.as_deref().unwrap_or("no answer yet"),
            file: self.file.path().map(PathBuf::as_path),
        };
        output::print_in_background(banner.to_string());
        let shutdown = async {
            stop.await;
            readiness.set_draining();
        };
        let report_open = |open| metrics.set_connections(open);
        let router = public.router();
        let listener = listener.listener;
        connection::serve(listener, router, connections, report_open, shutdown).await;
        reloads.abort();
        if let Some(admin) = admin {
            admin.stop().await;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Checks the health of a server that is ready.
fn checkup(app: &App) -> impl Fn() -> Health + Send + Sync + 'static {
    let (service, versions) = (Arc::clone(app.service()), Arc::downgrade(app.revisions()));
    move || {
        let fault = versions
            .upgrade()
            .and_then(|versions| versions.configured_fault());
        let conditions = fault.map(|_| Condition::ConfiguredGuestNotServed);
        Health {
            is_failing: service.is_failing(),
            conditions: conditions.into_iter().collect(),
        }
    }
}
