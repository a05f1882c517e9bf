//! TLS of the listeners: their options, and following their files.

use std::path::PathBuf;

use ::tls::{ServerFiles, TlsError};
use anyhow::Context;
use clap::Args;
use connection::{HandshakeFailure, Tls};
use prometheus::{IntCounterVec, Registry, register_int_counter_vec_with_registry};

use super::follower::Follower;
use super::listen::ListenOptions;
use crate::cli::endpoint::Endpoint;
use crate::cli::values::path_or_none;

/// Certificates and keys of the listeners.
#[derive(Args)]
#[command(next_help_heading = "TLS")]
pub(in crate::cli) struct TlsOptions {
    /// Certificate of the main listener, in PEM, with those between it and its authority
    /// [default: none, for no TLS]
    ///
    /// The listener then speaks TLS only: HTTP/2 or HTTP/1.1, by ALPN. The files are read again
    /// when they change. A new pair that cannot be used is logged, and the old one stays.
    #[arg(long, env = "FASTSENTIMENT_TLS_CERT", value_name = "FILE", value_parser = path_or_none())]
    tls_cert: Option<PathBuf>,

    /// Private key of --tls-cert, in PEM and not encrypted [default: in the file of --tls-cert]
    #[arg(
        long,
        env = "FASTSENTIMENT_TLS_KEY",
        value_name = "FILE",
        value_parser = path_or_none(),
        hide_short_help = true
    )]
    tls_key: Option<PathBuf>,

    /// Certificate of the admin listener, as --tls-cert [default: none, for no TLS]
    ///
    /// Probes and Prometheus must use HTTPS then.
    #[arg(
        long,
        env = "FASTSENTIMENT_ADMIN_TLS_CERT",
        value_name = "FILE",
        value_parser = path_or_none(),
        hide_short_help = true
    )]
    admin_tls_cert: Option<PathBuf>,

    /// Private key of --admin-tls-cert [default: in the file of --admin-tls-cert]
    #[arg(
        long,
        env = "FASTSENTIMENT_ADMIN_TLS_KEY",
        value_name = "FILE",
        value_parser = path_or_none(),
        hide_short_help = true
    )]
    admin_tls_key: Option<PathBuf>,

    /// Authorities (PEM) of clients of the admin listener: it then serves only those with a
    /// certificate of one of them [default: none, for all clients]
    ///
    /// There is no exception: probes without a certificate, such as the kubelet's, have to ask
    /// for the health of the main listener. A token is required as well, as ever.
    #[arg(
        long,
        env = "FASTSENTIMENT_ADMIN_CLIENT_CA",
        value_name = "FILE",
        value_parser = path_or_none(),
        hide_short_help = true
    )]
    admin_client_ca: Option<PathBuf>,
}

/// An option that is set, and not to nothing.
fn set(option: Option<&PathBuf>) -> Option<&PathBuf> {
    option.filter(|path| !path.as_os_str().is_empty())
}

fn files(
    certificate: Option<&PathBuf>,
    key: Option<&PathBuf>,
    authorities: Option<&PathBuf>,
) -> Option<ServerFiles> {
    let certificate = set(certificate)?;
    Some(ServerFiles {
        certificate: certificate.clone(),
        key: set(key).unwrap_or(certificate).clone(),
        client_authorities: authorities.cloned(),
    })
}

impl TlsOptions {
    /// The files of the main listener, if it has TLS.
    pub(in crate::cli) fn main(&self) -> Option<ServerFiles> {
        files(self.tls_cert.as_ref(), self.tls_key.as_ref(), None)
    }

    /// Those of the admin listener.
    pub(in crate::cli) fn admin(&self) -> Option<ServerFiles> {
        files(
            self.admin_tls_cert.as_ref(),
            self.admin_tls_key.as_ref(),
            set(self.admin_client_ca.as_ref()),
        )
    }

    /// The files of each listener that has TLS, with the option that names its certificate.
    pub(in crate::cli) fn each(&self) -> impl Iterator<Item = (&'static str, ServerFiles)> {
        let all = [
            ("--tls-cert", self.main()),
            ("--admin-tls-cert", self.admin()),
        ];
        all.into_iter()
            .filter_map(|(option, files)| Some((option, files?)))
    }

    /// An error if one option makes no sense without, or beside, another one.
    pub(in crate::cli) fn conflict(&self, listen: &ListenOptions) -> Option<String> {
        let main = (set(self.tls_cert.as_ref()), "--tls-cert");
        let admin = (set(self.admin_tls_cert.as_ref()), "--admin-tls-cert");
        for (option, name, (needed, needed_name)) in [
            (&self.tls_key, "--tls-key", main),
            (&self.admin_tls_key, "--admin-tls-key", admin),
            (&self.admin_client_ca, "--admin-client-ca", admin),
        ] {
            if set(option.as_ref()).is_some() && needed.is_none() {
                return Some(format!("{name} needs {needed_name}"));
            }
        }
        let admin_listen = listen.admin_listen.0.as_ref();
        for (option, name, at) in [
            (main.0, main.1, Some(&listen.listen)),
            (admin.0, admin.1, admin_listen),
        ] {
            if let (Some(_), Some(at @ Endpoint::Unix(_))) = (option, at) {
                return Some(format!("{name} is for a port: there is no TLS on {at}"));
            }
        }
        None
    }
}

/// The TLS of all listeners. Its files are followed until it is dropped.
pub(in crate::cli) struct ServerTls {
    pub(in crate::cli) main: Option<Tls>,
    pub(in crate::cli) admin: Option<Tls>,
    followers: Vec<Follower>,
}

impl ServerTls {
    /// Reads the files, and follows them from now on.
    pub(in crate::cli) fn start(options: &TlsOptions, registry: &Registry) -> anyhow::Result<Self> {
        let mut server = Self {
            main: None,
            admin: None,
            followers: Vec::new(),
        };
        let [main, admin] = [("main", options.main()), ("admin", options.admin())];
        let failures = register_int_counter_vec_with_registry!(
            "fastsentiment_tls_handshake_failures_total",
            "TLS handshakes that came to nothing, by listener and reason: closed, timed_out or \
             refused.",
            &["listener", "reason"],
            registry
        )?;
        server.main = server.listener(main, &failures).context("--tls-cert")?;
        server.admin = server
            .listener(admin, &failures)
            .context("--admin-tls-cert")?;
        Ok(server)
    }

    fn listener(
        &mut self,
        (listener, files): (&'static str, Option<ServerFiles>),
        failures: &IntCounterVec,
    ) -> Result<Option<Tls>, TlsError> {
        let counter = |reason| failures.with_label_values(&[listener, reason]);
        let (closed, timed_out) = (counter("closed"), counter("timed_out"));
        let refused = counter("refused");
        let Some(files) = files else {
            return Ok(None);
        };
        let content = files.read()?;
        let tls = Tls::new(files.settings(&content)?, move |failure| match failure {
            HandshakeFailure::Closed => closed.inc(),
            HandshakeFailure::TimedOut => timed_out.inc(),
            HandshakeFailure::Refused => refused.inc(),
        });
        let (read, current) = (files.clone(), tls.clone());
        // A certificate and its key are seldom replaced at once.
        let follower = Follower::start(
            Ok(content),
            move || read.read(),
            move |content| {
                let content = content.as_ref().map_err(Clone::clone);
                match content.and_then(|content| files.settings(content)) {
                    Ok(settings) => {
                        current.replace(settings);
                        tracing::info!(listener, "the certificate was read again");
                    }
                    Err(error) => tracing::warn!(
                        listener,
                        "the files of the certificate have changed, and cannot be used, so that \
                         the one before stays: {error}"
                    ),
                }
            },
        );
        self.followers.push(follower);
        Ok(Some(tls))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        listen: ListenOptions,
        #[command(flatten)]
        tls: TlsOptions,
    }

    fn conflict(arguments: &[&str]) -> Option<String> {
        let command = Command::try_parse_from([&["serve"], arguments].concat()).unwrap();
        command.tls.conflict(&command.listen)
    }

    #[test]
    fn options_that_need_others_say_so() {
        for (arguments, words) in [
            (&["--tls-key", "k"][..], "--tls-key needs --tls-cert"),
            (
                &["--admin-tls-key", "k"],
                "--admin-tls-key needs --admin-tls-cert",
            ),
            (
                &["--admin-client-ca", "c"],
                "--admin-client-ca needs --admin-tls-cert",
            ),
            (
                &["--admin-tls-key", "k", "--tls-cert", "c"],
                "needs --admin-tls-cert",
            ),
            (
                &["--tls-cert", "c", "--listen", "unix:/s"],
                "no TLS on unix:/s",
            ),
            (
                &["--admin-tls-cert", "c", "--admin-listen", "unix:/s"],
                "no TLS on unix:/s",
            ),
        ] {
            let found = conflict(arguments).unwrap();
            assert!(found.contains(words), "{found}");
        }
        for arguments in [
            &[][..],
            &["--tls-cert", "c"],
            &["--tls-cert", "", "--listen", "unix:/s"],
            &["--tls-cert", "c", "--admin-listen", "unix:/s"],
        ] {
            assert_eq!(conflict(arguments), None, "{arguments:?}");
        }
    }
}
