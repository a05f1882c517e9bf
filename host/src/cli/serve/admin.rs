//! The admin listener of `fastsentiment serve`, and the token for it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
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
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::listen::{Bound, Place, permissions_for_others};
use super::run_dir::{TokenFile, candidates, find};
use crate::cli::endpoint::Endpoint;
use crate::cli::exit::UsageError;
use crate::cli::values::{path_or_none, secret};

/// The environment variable that may hold the token itself.
const TOKEN: &str = "FASTSENTIMENT_ADMIN_TOKEN";

/// The value of `--admin-token-file` of an operator who wants no token.
const NONE: &str = "none";

/// Time limit for receiving a component, even over a slow link.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the admin token comes from.
#[derive(Args)]
#[command(next_help_heading = "Admin access")]
pub(in crate::cli) struct TokenOptions {
    /// File with the token for managing versions [default: one that the server makes]
    ///
    /// A token has at least 16 characters that are valid in an HTTP header. Alternatively,
    /// the environment variable `FASTSENTIMENT_ADMIN_TOKEN` or the key `admin-token` of the
    /// configuration file holds the token itself. Without either, a server makes a token at its
    /// start, which only its user can read, and commands of that user on that machine find it.
    /// A Unix socket needs none. `none` opens a loopback address to every user of the machine.
    /// Metrics, status and health never need a token.
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

    /// Directory for the token that a server makes [default: fastsentiment in
    /// the directory of the user's session, or else one in that for temporary files]
    ///
    /// The session's is that of `XDG_RUNTIME_DIR`. Nobody but this user and root may be able to
    /// write to the directory, or to replace it. Commands look there for the token.
    #[arg(
        long,
        env = "FASTSENTIMENT_RUN_DIR",
        value_name = "DIR",
        value_parser = path_or_none(),
        hide_short_help = true
    )]
    run_dir: Option<PathBuf>,
}

/// What the options say about a token.
pub(in crate::cli) enum Wanted {
    /// This one, and where it comes from.
    Token(Token, String),
    /// None: every user of this machine may change versions.
    Open,
    /// Nothing: the server makes one.
    OwnToken,
}

impl TokenOptions {
    /// The token of the options, if they name one.
    pub(in crate::cli) fn resolve(&self) -> anyhow::Result<Wanted> {
        // An empty token is an error: where it should have been filled in, something went
        // wrong.
        let token = self.admin_token.as_ref();
        let token = token.map(|token| Token::parse(token.as_encoded_bytes()));
        match &self.admin_token_file {
            Some(path) if path == Path::new(NONE) => {
                if token.is_some() {
                    let why = format!(
                        "--admin-token-file is {NONE}, but there is an admin token ({TOKEN})"
                    );
                    return Err(UsageError(why).into());
                }
                Ok(Wanted::Open)
            }
            Some(path) => {
                let option = format!("--admin-token-file {}", path.display());
                let token = read(path).with_context(|| option.clone())?;
                Ok(Wanted::Token(
                    token,
                    "the file of --admin-token-file".to_owned(),
                ))
            }
            None => match token {
                Some(token) => {
                    let place = format!("{TOKEN} or admin-token in the configuration file");
                    let token = token.with_context(|| place.clone())?;
                    Ok(Wanted::Token(token, place))
                }
                None => Ok(Wanted::OwnToken),
            },
        }
    }

    /// The token for a server: that of the options, or the one that a server of this user has
    /// made, if it is on this machine.
    pub(in crate::cli) fn for_server(
        &self,
        local: Option<&Endpoint>,
    ) -> anyhow::Result<Option<Token>> {
        Ok(match self.resolve()? {
            Wanted::Token(token, _) => Some(token),
            Wanted::Open => None,
            Wanted::OwnToken => local.and_then(|at| find(&self.candidates(), at)),
        })
    }

    /// Why there is no token for a server, for whoever has been asked for one.
    pub(in crate::cli) fn why_none(&self, local: Option<&Endpoint>) -> String {
        if local.is_none() {
            return "no token is given: see --admin-token-file".to_owned();
        }
        let looked = self.candidates().into_iter();
        let looked = looked.map(|dir| dir.display().to_string());
        format!(
            "no token is given (--admin-token-file), and this user has none in {}",
            looked.collect::<Vec<_>>().join(" or ")
        )
    }

    fn candidates(&self) -> Vec<PathBuf> {
        let chosen = self.run_dir.clone();
        candidates(chosen.filter(|dir| !dir.as_os_str().is_empty()))
    }

    /// The directory of the token that a server makes, if it makes one.
    pub(in crate::cli) fn run_dir(&self, has_admin_port: bool) -> Option<PathBuf> {
        let makes_one = has_admin_port && matches!(self.resolve(), Ok(Wanted::OwnToken));
        let mut candidates = self.candidates().into_iter().filter(|_| makes_one);
        candidates.find(|dir| private_dir::PrivateDir::create(dir).is_ok())
    }

    /// What requests at an endpoint must show; and the file of the token, if one was made.
    fn access(&self, at: &Endpoint) -> anyhow::Result<(Access, Option<TokenFile>)> {
        let wanted = self.resolve()?;
        let token = match &wanted {
            Wanted::Token(token, _) => Some(token),
            Wanted::Open | Wanted::OwnToken => None,
        };
        let access = match (at, &wanted) {
            (Endpoint::Unix(path), Wanted::OwnToken) => match permissions_for_others(path)? {
                None => Access::of_own_socket(None),
                Some(mode) => Access::closed(format!(
                    "other users can connect to the admin socket (mode {mode:o}), so versions \
                     cannot be managed without a token: see `--admin-token-file`"
                )),
            },
            (Endpoint::Unix(_), _) => Access::of_own_socket(token),
            (Endpoint::Tcp(address), Wanted::OwnToken) => {
                match TokenFile::create(&self.candidates(), address.port()) {
                    Ok(file) => {
                        let access = Access::new(Some(file.token()), address.ip());
                        let access = access.found_in(file.path().display().to_string());
                        return Ok((access, Some(file)));
                    }
                    Err(error) => Access::closed(format!(
                        "there is no admin token, and no directory for one ({error}), so versions \
                         cannot be managed: see `--run-dir` and `--admin-token-file`"
                    )),
                }
            }
            (Endpoint::Tcp(address), _) => Access::new(token, address.ip()),
        };
        Ok(match wanted {
            Wanted::Token(_, place) => (access.found_in(place), None),
            _ => (access, None),
        })
    }

    /// Starts the admin listener.
    pub(in crate::cli) fn start(
        &self,
        bound: Bound,
        config: &Config,
        log_requests: bool,
        registry: &Registry,
        readiness: &Readiness,
    ) -> anyhow::Result<Admin> {
        let (access, token) = self.access(&bound.place.at)?;
        if let Some(why) = access.why_closed() {
            tracing::warn!("{}: {why}", bound.place.at);
        }
        let api = admin::Admin {
            registry: registry.clone(),
            readiness: readiness.clone(),
            access,
            uploads: Uploads::new(config.compiler.limits().component, UPLOAD_TIMEOUT),
            desired: config.versions.rollout.clone(),
            log_requests,
        };
        Ok(Admin::start(bound, api, token))
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
pub(in crate::cli) struct Admin {
    place: Place,
    managed: Managed,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    /// Removed with the listener.
    token: Option<TokenFile>,
}

impl Admin {
    fn start(bound: Bound, api: admin::Admin, token: Option<TokenFile>) -> Self {
        let Bound { listener, place } = bound;
        tracing::debug!("metrics and health are at {}", place.url(""));
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
        Self {
            place,
            managed,
            stop,
            task,
            token,
        }
    }

    /// Where it listens.
    pub(in crate::cli) fn place(&self) -> &Place {
        &self.place
    }

    /// The file of the token that was made.
    pub(in crate::cli) fn token_file(&self) -> Option<PathBuf> {
        self.token.as_ref().map(TokenFile::path)
    }

    /// Lets requests manage these versions from now on.
    pub(in crate::cli) fn manage(&self, versions: &Arc<Revisions>) {
        self.managed.set(Arc::clone(versions));
    }

    /// Stops the listener, and waits until it has ended.
    pub(in crate::cli) async fn stop(self) {
        // A panic of the task has been logged.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}
