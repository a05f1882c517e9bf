//! `fastsentiment serve`: the listener, the signals, and the way out.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use fastsentiment::app::App;
use fastsentiment::http::{self, HttpConfig};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::options::LoadOptions;

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

    /// The largest request body, in bytes
    #[arg(
        long,
        env = "FASTSENTIMENT_MAX_BODY_BYTES",
        value_name = "BYTES",
        default_value_t = HttpConfig::default().max_body_bytes
    )]
    max_body_bytes: usize,

    /// How long requests in flight may go on after SIGTERM, in milliseconds
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

impl ServeCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        super::runtime()?.block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<ExitCode> {
        let config = self.load.resolve()?;
        // Taken before the load, so that a port in use is reported at once.
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("can not listen on {}", self.listen))?;
        let runtime = Handle::current();
        let app = tokio::task::spawn_blocking(move || App::load(&config, &runtime)).await??;
        let version = app.version();
        writeln!(
            std::io::stdout(),
            "FastSentiment {} serves http://{}/predict\n\
             guest {} ({}), model {}",
            env!("CARGO_PKG_VERSION"),
            listener.local_addr()?,
            version.guest.short(),
            super::loaded(app.loaded_from()),
            version.model.short(),
        )?;
        let http = HttpConfig {
            max_body_bytes: self.max_body_bytes,
            drain: Duration::from_millis(self.drain_ms),
            ..HttpConfig::default()
        };
        http::serve(listener, Arc::clone(app.service()), http, asked_to_stop()?).await;
        Ok(ExitCode::SUCCESS)
    }
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
