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
use http::Readiness;
use http::admin::{self, Access, Managed, Token, Uploads};
use prometheus::Registry;
use revisions::Revisions;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::listen::bind;
use super::values::secret;

/// The environment variable that may hold the token itself.
const TOKEN: &str = "FASTSENTIMENT_ADMIN_TOKEN";

/// Time limit for receiving a component, even over a slow link.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the admin token comes from.
#[derive(Args)]
#[command(next_help_heading = "Admin access")]
pub(super) struct TokenOptions {
    /// File with the token for managing versions
    ///
    /// A token has at least 16 characters that are valid in an HTTP header. Alternatively,
    /// the environment variable `FASTSENTIMENT_ADMIN_TOKEN` or the key `admin-token` of the
    /// configuration file holds the token itself. Without a token, versions can be managed
    /// over loopback addresses only. Metrics and health never need one.
    #[arg(long, env = "FASTSENTIMENT_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,

    /// The token itself, in the environment or the configuration file; rejected on the
    /// command line, which other users can see
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
        // An empty token is an error: where it should have been filled in, something went
        // wrong, and the server would be open to every user of this machine.
        let token = self.admin_token.as_ref();
        let token = token.map(|token| Token::parse(token.as_encoded_bytes()));
        token
            .transpose()
            .with_context(|| format!("{TOKEN} or admin-token in the configuration file"))
    }

    /// Starts the admin listener, if there is an address for it.
    pub(super) async fn start(
        &self,
        address: Option<SocketAddr>,
        config: &Config,
        log_requests: bool,
        registry: &Registry,
        readiness: &Readiness,
    ) -> anyhow::Result<Option<Admin>> {
        let Some(address) = address else {
            return Ok(None);
        };
        let token = self.resolve()?;
        let listener = bind(address, "--admin-listen").await?;
        let access = Access::new(token.as_ref(), listener.local_addr()?.ip());
        if access.is_closed() {
            tracing::info!(
                "versions cannot be managed at {address}, which is not a loopback address, \
                 without a token: see --admin-token-file"
            );
        }
        let api = admin::Admin {
            registry: registry.clone(),
            readiness: readiness.clone(),
            access,
            uploads: Uploads::new(config.compiler.limits().component, UPLOAD_TIMEOUT),
            desired: config.versions.rollout.clone(),
            log_requests,
        };
        Admin::start(listener, api).map(Some)
    }
}

/// Reads a token. A file that is too large for one is not read in full.
fn read(path: &Path) -> anyhow::Result<Token> {
    const MAX_BYTES: u64 = 16 * 1024;
    let mut text = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut text)?;
    Ok(Token::parse(&text)?)
}

/// The running admin listener. It opens before the main listener, and closes after it.
pub(super) struct Admin {
    address: SocketAddr,
    managed: Managed,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Admin {
    fn start(listener: TcpListener, api: admin::Admin) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        tracing::debug!("metrics and health are at http://{address}");
        let (stop, stopped) = oneshot::channel::<()>();
        let config = connection::Config {
            max_connections: 64,
            body_timeout: Duration::from_secs(5),
            drain: Duration::from_secs(1),
            // The kubelet and Prometheus ask again.
            close_grace: Duration::ZERO,
            ..connection::Config::default()
        };
        let managed = Managed::default();
        let router = api.router(&managed);
        let task = tokio::spawn(connection::serve(listener, router, config, |_| {}, async {
            // A dropped sender also means to stop.
            let _ = stopped.await;
        }));
        Ok(Self {
            address,
            managed,
            stop,
            task,
        })
    }

    /// The address it listens on.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets requests manage these versions from now on.
    pub(super) fn manage(&self, versions: &Arc<Revisions>) {
        self.managed.set(Arc::clone(versions));
    }

    /// Stops the listener, and waits until it has ended.
    pub(super) async fn stop(self) {
        // A panic of the task has been logged.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}
