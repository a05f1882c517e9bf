//! The servers that commands ask: how they are named, reached and trusted.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use reqwest::{Certificate, ClientBuilder, Identity, Url};

use super::endpoint::{Endpoint, UNIX, socket_path};
use super::exit::UsageError;

/// Time limit for connecting to a server.
pub(super) const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Whom to trust, and who asks.
#[derive(Args, Clone, Default)]
pub(super) struct TrustOptions {
    /// Authorities (PEM) to trust for servers with `https://`, instead of the system's
    #[arg(long, env = "FASTSENTIMENT_CA", value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Certificate (PEM) to show to a server that requires one, and those between it and its
    /// authority
    #[arg(long, env = "FASTSENTIMENT_CLIENT_CERT", value_name = "FILE")]
    client_cert: Option<PathBuf>,

    /// Private key of --client-cert [default: in the file of --client-cert]
    #[arg(
        long,
        env = "FASTSENTIMENT_CLIENT_KEY",
        value_name = "FILE",
        requires = "client_cert"
    )]
    client_key: Option<PathBuf>,
}

/// The address of a server's listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Server {
    /// What is asked; for a Unix socket, its host is `localhost`.
    url: Url,
    via: Via,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Via {
    /// What the URL names.
    Url,
    /// One of the addresses of the URL's host.
    Address(SocketAddr),
    Socket(PathBuf),
}

/// Parses the address of a server: a URL without credentials, or a Unix socket.
pub(super) fn server(text: &str) -> Result<Server, String> {
    if let Some(path) = socket_path(text) {
        return Ok(Server {
            url: Url::parse("http://localhost").map_err(|error| error.to_string())?,
            via: Via::Socket(path?),
        });
    }
    let url: Option<Url> = text.parse().ok();
    let url = url.filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    let url =
        url.ok_or("must start with `http://` or `https://` and a host, or be `unix:` and a path")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain credentials: see `--admin-token-file`".to_owned());
    }
    Ok(Server { url, via: Via::Url })
}

impl Server {
    /// One of the servers behind a URL's host.
    pub(super) fn at(url: Url, address: SocketAddr) -> Self {
        let via = Via::Address(address);
        Self { url, via }
    }

    /// The URL of its root.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Its name in a table.
    pub(super) fn authority(&self) -> String {
        match &self.via {
            Via::Url => self.url.authority().to_owned(),
            Via::Address(address) => address.to_string(),
            Via::Socket(_) => self.to_string(),
        }
    }

    /// Its endpoint, if that is on this machine.
    pub(super) fn local(&self) -> Option<Endpoint> {
        if let Via::Socket(path) = &self.via {
            return Some(Endpoint::Unix(path.clone()));
        }
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default()?;
        let ip: IpAddr = match host {
            "localhost" => Ipv4Addr::LOCALHOST.into(),
            _ => host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .parse()
                .ok()?,
        };
        // The unspecified address, on which a server may listen, connects to this machine.
        let is_local = ip.is_loopback() || ip.is_unspecified();
        is_local.then(|| Endpoint::Tcp((ip, port).into()))
    }

    /// Begins an HTTP client that reaches this server.
    ///
    /// # Errors
    ///
    /// If a file of the options cannot be used.
    pub(super) fn client(&self, trust: &TrustOptions) -> anyhow::Result<ClientBuilder> {
        let mut client = builder(self.url.scheme() == "https", trust)?;
        client = match &self.via {
            Via::Url => client,
            Via::Address(address) => {
                client.resolve(self.url.host_str().unwrap_or_default(), *address)
            }
            Via::Socket(path) => client.unix_socket(path.as_path()),
        };
        // A proxy from the environment cannot reach this machine.
        Ok(match self.local() {
            Some(_) => client.no_proxy(),
            None => client,
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.via {
            Via::Url => write!(f, "{}", self.url),
            Via::Address(address) => write!(f, "{}://{address}/", self.url.scheme()),
            Via::Socket(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Begins an HTTP client.
fn builder(is_tls: bool, trust: &TrustOptions) -> anyhow::Result<ClientBuilder> {
    ::tls::install_default();
    #[expect(clippy::disallowed_methods, reason = "this is what others use instead")]
    let mut client = reqwest::Client::builder();
    if !is_tls {
        // Reading the system's authorities takes longer than the request.
        return Ok(client.tls_certs_only([]));
    }
    if let Some(path) = &trust.ca {
        let pem = ::tls::read(path).context("--ca")?;
        let authorities = authorities(&pem).with_context(|| format!("--ca {}", path.display()))?;
        client = client.tls_certs_only(authorities);
    }
    if let Some(path) = &trust.client_cert {
        let identity = identity(path, trust.client_key.as_deref());
        client = client.identity(identity?);
    }
    Ok(client)
}

/// A client that trusts whatever server answers: for questions that reveal nothing, to this
/// machine, whose certificate is another host's.
pub(super) fn trusting(server: &Server) -> anyhow::Result<ClientBuilder> {
    let client = server.client(&TrustOptions::default())?;
    Ok(client.tls_danger_accept_invalid_certs(true))
}

fn authorities(pem: &[u8]) -> anyhow::Result<Vec<Certificate>> {
    let certificates = ::tls::certificates_in(pem)?;
    let certificates = certificates.iter();
    Ok(certificates
        .map(|certificate| Certificate::from_der(certificate))
        .collect::<Result<_, _>>()?)
}

fn identity(certificate: &Path, key: Option<&Path>) -> anyhow::Result<Identity> {
    let mut pem = ::tls::read(certificate).context("--client-cert")?;
    if let Some(key) = key {
        pem.push(b'\n');
        pem.extend(::tls::read(key).context("--client-key")?);
    }
    Identity::from_pem(&pem).map_err(|error| {
        UsageError(format!(
            "--client-cert {}: it needs a certificate and its private key, not encrypted, in PEM: {}",
            certificate.display(),
            reason(&error)
        ))
        .into()
    })
}

/// The innermost cause: the outer errors say only that the request failed.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let mut inner: &dyn Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_a_url_or_a_socket() {
        for (name, shown, authority, local) in [
            ("http://a:1", "http://a:1/", "a:1", None),
            ("https://a", "https://a/", "a", None),
            (
                "http://[::1]:5",
                "http://[::1]:5/",
                "[::1]:5",
                Some("[::1]:5"),
            ),
            (
                "https://localhost",
                "https://localhost/",
                "localhost",
                Some("127.0.0.1:443"),
            ),
            (
                "http://0.0.0.0:1",
                "http://0.0.0.0:1/",
                "0.0.0.0:1",
                Some("0.0.0.0:1"),
            ),
            (
                "http://10.1.2.3:1",
                "http://10.1.2.3:1/",
                "10.1.2.3:1",
                None,
            ),
            (
                "unix:/run/s",
                "unix:/run/s",
                "unix:/run/s",
                Some("unix:/run/s"),
            ),
        ] {
            let server = server(name).unwrap();
            assert_eq!(server.to_string(), shown);
            assert_eq!(server.authority(), authority);
            let found = server.local().map(|at| at.to_string());
            assert_eq!(found.as_deref(), local, "{name}");
        }
        for wrong in [
            "a:1",
            "ftp://a",
            "http://",
            "https://user@a",
            "unix:",
            "unix:s",
            "",
        ] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }
}
