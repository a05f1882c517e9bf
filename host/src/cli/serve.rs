//! `fastsentiment serve`: the listeners, the signals, and the way out.

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use fastsentiment::app::App;
use fastsentiment::http::{self, HttpConfig, Readiness};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::admin::AdminOptions;
use super::log;
use super::observe::ObserveOptions;
use super::options::LoadOptions;
use super::process;
use super::triggers::{self, TriggerOptions};

/// Serves predictions over HTTP.
#[derive(Args)]
pub(super) struct ServeCommand {
    /// The address to listen on
    #[arg(
        long,
        env = "FASTSENTIMENT_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8000"
    )]
    listen: SocketAddr,

    #[command(flatten)]
    admin: AdminOptions,

    #[command(flatten)]
    clients: ClientOptions,

    #[command(flatten)]
    observe: ObserveOptions,

    #[command(flatten)]
    swaps: TriggerOptions,

    /// How long to go on as before after SIGTERM, but for `/health/ready`,
    /// which says 503 at once; for load balancers that need time to notice, in
    /// milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_DRAIN_DELAY_MS",
        value_name = "MS",
        default_value_t = 0
    )]
    drain_delay_ms: u64,

    /// How long requests in flight may go on once no new connections are
    /// accepted, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_DRAIN_MS",
        value_name = "MS",
        default_value_t = 25_000
    )]
    drain_ms: u64,

    #[command(flatten)]
    load: LoadOptions,
}

/// What clients may hold of the server.
#[derive(Args)]
struct ClientOptions {
    /// The largest request body, in bytes
    #[arg(
        long,
        env = "FASTSENTIMENT_MAX_BODY_BYTES",
        value_name = "BYTES",
        default_value_t = HttpConfig::default().max_body_bytes
    )]
    max_body_bytes: usize,

    /// The memory for the bodies of all requests in flight, in MiB; requests
    /// beyond that are refused with 503
    #[arg(
        long,
        env = "FASTSENTIMENT_BODY_MEMORY_MIB",
        value_name = "MIB",
        default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    body_memory_mib: u32,

    /// The most connections at a time; more wait until others are closed
    #[arg(
        long,
        env = "FASTSENTIMENT_MAX_CONNECTIONS",
        value_name = "N",
        default_value = "4096"
    )]
    max_connections: NonZeroUsize,

    /// How long a new connection may take for the head of its first request,
    /// in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_HEADER_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    header_timeout_ms: u64,

    /// How long the body of a request may take to arrive, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_BODY_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 30_000,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    body_timeout_ms: u64,

    /// How long a connection may be without a request before it is closed, in
    /// milliseconds; more than a load balancer before it keeps one
    #[arg(
        long,
        env = "FASTSENTIMENT_IDLE_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 75_000,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    idle_timeout_ms: u64,

    /// The origins whose pages may ask from a browser (CORS), such as
    /// `https://example.org`, or `*` for all; several are parted by commas
    /// [default: none]
    #[arg(
        long,
        env = "FASTSENTIMENT_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    cors_origin: Vec<String>,
}

impl ClientOptions {
    fn resolve(&self) -> anyhow::Result<HttpConfig> {
        // Empty, as in a file of settings that leaves it out, it names none.
        let origins = self.cors_origin.iter().map(|origin| origin.trim());
        let origins = origins.filter(|origin| !origin.is_empty()).map(|origin| {
            let origin: Result<http::Origin, _> = origin.parse();
            origin.with_context(|| format!("--cors-origin {}", self.cors_origin.join(",")))
        });
        let config = HttpConfig {
            max_body_bytes: self.max_body_bytes,
            body_memory: (self.body_memory_mib as usize).saturating_mul(1024 * 1024),
            header_timeout: Duration::from_millis(self.header_timeout_ms),
            body_timeout: Duration::from_millis(self.body_timeout_ms),
            idle_timeout: Duration::from_millis(self.idle_timeout_ms),
            max_connections: self.max_connections.get(),
            cors_origins: origins.collect::<anyhow::Result<_>>()?,
            ..HttpConfig::default()
        };
        // A request takes a little beside its body.
        anyhow::ensure!(
            config.max_body_bytes < config.body_memory,
            "--body-memory-mib {} has no room for a body of --max-body-bytes {}",
            self.body_memory_mib,
            self.max_body_bytes,
        );
        Ok(config)
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

    async fn serve(self) -> anyhow::Result<ExitCode> {
        log::log_panics();
        let mut config = self.load.resolve()?;
        self.swaps.apply(&mut config.versions);
        let http = HttpConfig {
            drain: Duration::from_millis(self.drain_ms),
            log_requests: self.observe.log_requests,
            ..self.clients.resolve()?
        };
        let mut stop = pin!(asked_to_stop()?);
        // Taken before the load too: by itself, the signal ends a process.
        let hangups = triggers::hangups()?;
        // Taken before the load, so that a port in use is reported at once.
        let listener = bind(self.listen, "--listen").await?;
        let readiness = Readiness::default();
        let registry = Registry::new();
        process::register(&registry)?;
        // Open before the load, so that probes are told that it goes on.
        let admin = self
            .admin
            .start(&config, &http, &registry, &readiness)
            .await?;
        let mut load = tokio::task::spawn_blocking({
            let (registry, runtime) = (registry.clone(), Handle::current());
            let readiness = readiness.clone();
            let model_is_loaded = move || readiness.set_model_loaded();
            move || App::load_and_tell(&config, &registry, &runtime, model_is_loaded)
        });
        let app = tokio::select! {
            app = &mut load => app??,
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
        let version = app.version();
        let reloads = triggers::reload_at(hangups, app.versions());
        if let Some(admin) = &admin {
            admin.manage(app.versions());
        }
        // Whoever reads the next lines may ask at once.
        readiness.set_ready();
        writeln!(
            std::io::stdout(),
            "FastSentiment {} serves http://{}/predict\n\
             guest {} ({}), model {}\n\
             admin {}",
            env!("CARGO_PKG_VERSION"),
            listener.local_addr()?,
            version.guest.short(),
            super::loaded(app.compiled()),
            version.model.short(),
            match &admin {
                Some(admin) => format!("http://{}/metrics", admin.address()),
                None => "off".to_owned(),
            },
        )?;
        let delay = Duration::from_millis(self.drain_delay_ms);
        let shutdown = async {
            stop.await;
            readiness.set_draining();
            tokio::time::sleep(delay).await;
        };
        http::serve(listener, Arc::new(api), http, shutdown).await;
        reloads.abort();
        if let Some(admin) = admin {
            admin.stop().await;
        }
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) async fn bind(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("can not listen on {address}; {option} says where to listen"))
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
            std::process::exit(1);
        });
    })
}
