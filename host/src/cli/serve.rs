//! `fastsentiment serve`: the listeners, the signals, and the way out.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use fastsentiment::app::App;
use futures_util::FutureExt;
use http::{Condition, Health, HttpConfig, Readiness};
use prometheus::Registry;
use tokio::runtime::Handle;

use super::admin::{Admin, AdminOptions};
use super::check::reach;
use super::greeting::Greeting;
use super::listen::{ListenOptions, bind};
use super::observe::ObserveOptions;
use super::options::LoadOptions;
use super::settings::ConfigOption;
use super::triggers::{self, TriggerOptions};
use super::values::{AT_LEAST_ONE, AT_LEAST_ONE_32, OptionalOrigin, optional_origin, whole};
use super::{exit, log, needs, output, process};

/// What is served, where, and until when.
#[derive(Args)]
#[command(after_help = exit::LOADS)]
pub(super) struct ServeCommand {
    #[command(flatten)]
    pub(super) listen: ListenOptions,

    #[command(flatten)]
    pub(super) load: LoadOptions,

    #[command(flatten)]
    pub(super) admin: AdminOptions,

    #[command(flatten)]
    clients: ClientOptions,

    #[command(flatten)]
    observe: ObserveOptions,

    #[command(flatten)]
    pub(super) swaps: TriggerOptions,

    #[command(flatten)]
    stop: StopOptions,

    #[command(flatten)]
    file: ConfigOption,
}

/// How a server ends.
#[derive(Args)]
#[command(next_help_heading = "Stop")]
struct StopOptions {
    /// How long to go on as before after SIGTERM, in milliseconds
    ///
    /// But for `/health/ready`, which says 503 at once; for load balancers that need
    /// time to notice.
    #[arg(
        long,
        env = "FASTSENTIMENT_DRAIN_DELAY_MS",
        value_name = "MS",
        default_value_t = 0,
        value_parser = whole::<u64>(0..=u64::MAX),
        hide_short_help = true
    )]
    drain_delay_ms: u64,

    /// How long requests in flight may go on after that, in milliseconds
    ///
    /// From then on, no new connections are accepted.
    #[arg(
        long,
        env = "FASTSENTIMENT_DRAIN_MS",
        value_name = "MS",
        default_value_t = 25_000,
        value_parser = whole::<u64>(0..=u64::MAX),
        hide_short_help = true
    )]
    drain_ms: u64,
}

/// What clients may hold of the server.
#[derive(Args)]
#[command(next_help_heading = "Bounds on clients")]
struct ClientOptions {
    /// The largest request body, in bytes
    #[arg(
        long,
        env = "FASTSENTIMENT_MAX_BODY_BYTES",
        value_name = "BYTES",
        default_value_t = HttpConfig::default().max_body_bytes,
        value_parser = whole::<usize>(0..=u64::MAX),
        hide_short_help = true
    )]
    max_body_bytes: usize,

    /// The memory for the bodies of all requests in flight, in MiB
    ///
    /// Requests beyond that are refused with 503.
    #[arg(
        long,
        env = "FASTSENTIMENT_BODY_MEMORY_MIB",
        value_name = "MIB",
        default_value_t = 256,
        value_parser = whole::<u32>(AT_LEAST_ONE_32),
        hide_short_help = true
    )]
    body_memory_mib: u32,

    /// The most connections at a time
    ///
    /// More wait until others are closed.
    #[arg(
        long,
        env = "FASTSENTIMENT_MAX_CONNECTIONS",
        value_name = "N",
        default_value = "4096",
        value_parser = whole::<NonZeroUsize>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    max_connections: NonZeroUsize,

    /// How long the head of a connection's first request may take, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_HEADER_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 10_000,
        value_parser = whole::<u64>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    header_timeout_ms: u64,

    /// How long the body of a request may take to arrive, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_BODY_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 30_000,
        value_parser = whole::<u64>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    body_timeout_ms: u64,

    /// How long a connection may be without a request, in milliseconds
    ///
    /// Then it is closed. It should be more than a load balancer before it keeps one.
    #[arg(
        long,
        env = "FASTSENTIMENT_IDLE_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 75_000,
        value_parser = whole::<u64>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    idle_timeout_ms: u64,

    /// The origins whose pages may ask from a browser (CORS) [default: none]
    ///
    /// Such as `https://example.org`, or `*` for all; several are parted by commas.
    #[arg(
        long,
        env = "FASTSENTIMENT_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = optional_origin,
        hide_short_help = true
    )]
    cors_origin: Vec<OptionalOrigin>,
}

impl ClientOptions {
    fn resolve(&self) -> HttpConfig {
        let origins = self
            .cors_origin
            .iter()
            .filter_map(|origin| origin.0.clone());
        HttpConfig {
            max_body_bytes: self.max_body_bytes,
            body_memory: (self.body_memory_mib as usize).saturating_mul(1024 * 1024),
            header_timeout: Duration::from_millis(self.header_timeout_ms),
            body_timeout: Duration::from_millis(self.body_timeout_ms),
            idle_timeout: Duration::from_millis(self.idle_timeout_ms),
            max_connections: self.max_connections.get(),
            cors_origins: origins.collect(),
            ..HttpConfig::default()
        }
    }

    /// Bounds that leave no room for each other.
    fn contradiction(&self) -> Option<String> {
        let http = self.resolve();
        // A request takes a little beside its body.
        let has_room = http.max_body_bytes < http.body_memory;
        (!has_room).then(|| {
            format!(
                "--body-memory-mib {} has no room for a body of --max-body-bytes {}",
                self.body_memory_mib, self.max_body_bytes,
            )
        })
    }
}

/// How long what goes on beside requests may take once all are answered: writing
/// the state is a matter of milliseconds.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(2);

impl ServeCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = super::runtime()?;
        let ended = runtime.block_on(self.serve());
        // A candidate that is being compiled is not waited for: its compiler ends
        // with this process.
        runtime.shutdown_timeout(PATIENCE_AT_THE_END);
        ended
    }

    /// What is right by itself, and not together.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let found = [self.clients.contradiction(), self.listen.contradiction()];
        found.into_iter().flatten().collect()
    }

    async fn serve(self) -> anyhow::Result<ExitCode> {
        log::log_panics();
        if let Some(contradiction) = self.contradictions().into_iter().next() {
            return Err(exit::WrongUse(contradiction).into());
        }
        let mut config = self.load.resolve()?;
        self.swaps.apply(&mut config.versions)?;
        let http = HttpConfig {
            log_requests: self.observe.log_requests,
            drain_delay: Duration::from_millis(self.stop.drain_delay_ms),
            drain: Duration::from_millis(self.stop.drain_ms),
            ..self.clients.resolve()
        };
        survive_full_files()?;
        let mut stop = pin!(asked_to_stop()?);
        // Taken before the load too: by itself, the signal ends a process.
        let hangups = triggers::hangups()?;
        // Taken before the load, so that a port in use is reported at once.
        let listener = bind(self.listen.listen, "--listen").await?;
        let readiness = Readiness::default();
        let registry = Registry::new();
        process::register(&registry)?;
        log::register(&registry)?;
        // Open before the load, so that probes are told that it goes on.
        let admin = self
            .admin
            .start(
                self.listen.admin_listen.0,
                &config,
                &http,
                &registry,
                &readiness,
            )
            .await?;
        // It is tried while everything else is loaded, and not waited for.
        let redis = tokio::spawn(reach(config.cache.redis.clone()));
        let mut load = tokio::task::spawn_blocking({
            let (registry, runtime) = (registry.clone(), Handle::current());
            let (config, readiness) = (config.clone(), readiness.clone());
            let model_is_loaded = move || readiness.set_model_loaded();
            move || App::load_with(&config, &registry, &runtime, model_is_loaded)
        });
        let app = tokio::select! {
            app = &mut load => app?.map_err(|error| needs::explained(&config, error))?,
            () = &mut stop => {
                readiness.set_draining();
                // Ending the process under ONNX Runtime can crash it, and there
                // is no interrupting it. What comes of the load is of no use.
                let _ = load.await;
                return Ok(ExitCode::SUCCESS);
            }
        };
        let metrics = http::Metrics::new(&registry)?;
        let service = Arc::clone(app.service());
        process::tell_build(&registry, app.onnxruntime_version())?;
        let mut api = http::Api::new(service, app.served(), readiness.clone(), metrics, &http);
        if self.observe.public_metrics {
            api = api.publish(registry.clone());
        }
        let reloads = triggers::reload_at(hangups, app.versions());
        if let Some(admin) = &admin {
            admin.manage(app.versions());
        }
        readiness.check_by(checkup(&app));
        // Whoever reads the next lines may ask at once.
        readiness.set_ready();
        let redis = redis.now_or_never().and_then(Result::ok);
        let greeting = Greeting {
            app: &app,
            config: &config,
            main: listener.local_addr()?,
            admin: admin.as_ref().map(Admin::address),
            redis: redis.as_deref().unwrap_or("no answer yet"),
            file: self.file.path().map(PathBuf::as_path),
        };
        output::print_aside(greeting.to_string());
        let shutdown = async {
            stop.await;
            readiness.set_draining();
        };
        http::serve(listener, Arc::new(api), http, shutdown).await;
        reloads.abort();
        if let Some(admin) = admin {
            admin.stop().await;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What tells how a server does that is ready.
fn checkup(app: &App) -> impl Fn() -> Health + Send + Sync + 'static {
    let (service, versions) = (Arc::clone(app.service()), Arc::downgrade(app.versions()));
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

/// Has a write beyond the largest file that this process may have (`ulimit -f`) fail, as
/// one to a full disk does: by itself, the signal ends the process.
fn survive_full_files() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let beyond = rustix::process::Signal::XFSZ.as_raw();
    // It stays caught when this is dropped.
    drop(signal(SignalKind::from_raw(beyond))?);
    Ok(())
}

/// Resolves at the first SIGTERM or SIGINT; the second ends the process.
fn asked_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: requests in flight are finished first");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("stopping at once: asked a second time");
            log::flush();
            std::process::exit(1);
        });
    })
}
