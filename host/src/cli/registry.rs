//! How the commands reach OCI registries.

use std::path::PathBuf;

use artifacts::{Options, Registry};
use clap::Args;
use revisions::Pull;

/// Credentials, certificates, and what is reached without TLS.
#[derive(Args)]
#[command(next_help_heading = "Registry")]
pub(super) struct RegistryOptions {
    /// Credentials of registries, as in Docker's `config.json`
    ///
    /// Entries of `auths` are used: a user and a password, or an identity token. Credential
    /// helpers are not run. Without this option, registries are used anonymously.
    #[arg(
        long = "registry-credentials",
        env = "FASTSENTIMENT_REGISTRY_CREDENTIALS",
        value_name = "FILE"
    )]
    credentials: Option<PathBuf>,

    /// Certificates (PEM) to trust in addition to the system's
    #[arg(
        long = "registry-ca",
        env = "FASTSENTIMENT_REGISTRY_CA",
        value_name = "FILE"
    )]
    ca: Option<PathBuf>,

    /// Registry to use over plain HTTP, such as `localhost:5000`
    ///
    /// Repeat it, or separate hosts by commas. All others are used over HTTPS, through the
    /// proxy that `HTTPS_PROXY` and `NO_PROXY` set.
    #[arg(
        long = "registry-plain-http",
        env = "FASTSENTIMENT_REGISTRY_PLAIN_HTTP",
        value_name = "HOST",
        value_delimiter = ','
    )]
    plain_http: Vec<String>,
}

impl RegistryOptions {
    /// How a server pulls.
    pub(super) fn pull(&self) -> Pull {
        let mut pull = Pull::default();
        pull.credentials.clone_from(&self.credentials);
        pull.ca.clone_from(&self.ca);
        pull.plain_http.clone_from(&self.plain_http);
        pull
    }

    /// A client for registries. What it pulls is kept in `store`.
    pub(super) fn connect(self, store: PathBuf) -> anyhow::Result<Registry> {
        let mut options = Options::new(store);
        options.credentials = self.credentials;
        options.ca = self.ca;
        options.plain_http = self.plain_http;
        Ok(Registry::new(options)?)
    }
}
