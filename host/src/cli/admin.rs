//! The admin listener of `fastsentiment serve`, and the token for it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use fastsentiment::app::Config;
use http::admin::{Access, Api, Token, Uploads};
use http::{HttpConfig, Readiness};
use prometheus::Registry;
use revisions::Revisions;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::listen::bind;
use super::values::secret;

/// The variable that may hold the token itself.
const TOKEN: &str = "FASTSENTIMENT_ADMIN_TOKEN";

/// How long a component may take to arrive, also over a slow link.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(60);

/// Who may change versions at the admin listener.
#[derive(Args)]
pub(super) struct AdminOptions {
    #[command(flatten)]
    token: TokenOptions,
}

/// Where the token is.
#[derive(Args)]
#[command(next_help_heading = "Access")]
pub(super) struct TokenOptions {
    /// A file with the token for managing versions
    ///
    /// A token has at least 16 bytes that can be in a header. Without this, the
    /// environment variable `FASTSENTIMENT_ADMIN_TOKEN` or the key `admin-token` of the
    /// configuration file may hold the token itself. A server without a token has its
    /// versions managed over loopback addresses only; metrics and health never ask for
    /// one.
    #[arg(long, env = "FASTSENTIMENT_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,

    /// The token itself, in the environment or in the configuration file; the command
    /// lines of processes are for everyone to see, so that it is refused there
    #[arg(
        long,
        env = TOKEN,
        value_name = "TOKEN",
        value_parser = secret(),
        hide = true,
        hide_env_values = true
    )]
    admin_token: Option<OsString>,
}

impl TokenOptions {
    /// The token, if there is one.
    pub(super) fn resolve(&self) -> anyhow::Result<Option<Token>> {
        if let Some(path) = &self.admin_token_file {
            let token =
                read(path).with_context(|| format!("--admin-token-file {}", path.display()))?;
            return Ok(Some(token));
        }
        // One that is empty is an error: something went wrong where it was to be
        // filled in, and the server would be open to everyone on this machine.
        let token = self.admin_token.as_ref();
        let token = token.map(|token| Token::parse(token.as_encoded_bytes()));
        token
            .transpose()
            .with_context(|| format!("{TOKEN}, or admin-token in the configuration file"))
    }
}

/// Reads a token; of a file that is something else, no more than is needed to
/// tell.
fn read(path: &Path) -> anyhow::Result<Token> {
    const MOST: u64 = 16 * 1024;
    let mut text = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut text)?;
    Ok(Token::parse(&text)?)
}

impl AdminOptions {
    /// The token, if there is one.
    pub(super) fn token(&self) -> anyhow::Result<Option<Token>> {
        self.token.resolve()
    }

    /// Opens the listener at an address, if there is one: with the bounds of what is to
    /// be loaded, and with a log like that of the `main` listener.
    pub(super) async fn start(
        &self,
        address: Option<SocketAddr>,
        config: &Config,
        main: &HttpConfig,
        registry: &Registry,
        readiness: &Readiness,
    ) -> anyhow::Result<Option<Admin>> {
        let Some(address) = address else {
            return Ok(None);
        };
        let token = self.token()?;
        let listener = bind(address, "--admin-listen").await?;
        let access = Access::new(token.as_ref(), listener.local_addr()?.ip());
        if access.is_closed() {
            tracing::info!(
                "versions can not be managed over {address}, which is no loopback address, \
                 without a token: see --admin-token-file"
            );
        }
        let api = Api::new(
            registry.clone(),
            readiness.clone(),
            access,
            Uploads::new(config.compiler.limits().component, UPLOAD_PATIENCE),
        );
        Admin::start(listener, Arc::new(api), main.log_requests).map(Some)
    }
}

/// The admin listener, which is there for longer than the other one.
pub(super) struct Admin {
    address: SocketAddr,
    api: Arc<Api>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Admin {
    fn start(listener: TcpListener, api: Arc<Api>, log_requests: bool) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        tracing::debug!("metrics and health are at http://{address}");
        let (stop, stopped) = oneshot::channel::<()>();
        let config = HttpConfig {
            max_connections: 64,
            drain: Duration::from_secs(1),
            // The kubelet and Prometheus ask again.
            close_grace: Duration::ZERO,
            log_requests,
            ..HttpConfig::default()
        };
        let serve = http::serve(listener, Arc::clone(&api), config, async {
            // Without the sender there is nobody left to wait for either.
            let _ = stopped.await;
        });
        let task = tokio::spawn(serve);
        Ok(Self {
            address,
            api,
            stop,
            task,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has these versions managed from now on.
    pub(super) fn manage(&self, versions: &Arc<Revisions>) {
        self.api.manage(Arc::clone(versions));
    }

    pub(super) async fn stop(self) {
        // It may have ended in a panic, which has been logged.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}
