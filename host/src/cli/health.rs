//! `fastsentiment health`: asks a running server whether it is ready. It is for the health
//! checks of container engines, since the image has no other HTTP client.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use reqwest::redirect;

use super::admin_client::read_bounded;
use super::endpoint::{Endpoint, UNIX};
use super::output;
use super::remote::{Server, TrustOptions, reason, server, trusting};
use super::serve::listen::ListenOptions;
use super::serve::tls::TlsOptions;
use super::settings::ConfigOption;
use super::values::{AT_LEAST_ONE, whole};

/// The path of the readiness check.
const READY: &str = "/health/ready";

/// The largest response that is read, in bytes. A health document is far shorter.
const MAX_RESPONSE: usize = 16 * 1024;

/// The end of the command's help.
const EXIT_CODES: &str = "\
Exit codes: 0 ready, 1 not ready or no answer, 2 usage error in the command
line, environment or configuration file";

/// A server and a path, or `None` if the variable is set to nothing.
#[derive(Clone)]
struct Target(Option<(Server, String)>);

/// What to request, and how long to wait.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct HealthCommand {
    /// URL to request, such as `http://127.0.0.1:8001/health/live` [default:
    /// /health/ready at the address where `serve` listens with the same settings, preferably
    /// the admin listener]
    #[arg(long, env = "FASTSENTIMENT_HEALTH_URL", value_name = "URL", value_parser = target)]
    url: Option<Target>,

    /// Time limit for the response, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_HEALTH_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 2000,
        value_parser = whole::<u64>(AT_LEAST_ONE)
    )]
    timeout_ms: u64,

    #[command(flatten)]
    config: ConfigOption,

    #[command(flatten)]
    listen: ListenOptions,

    #[command(flatten)]
    tls: TlsOptions,

    #[command(flatten)]
    trust: TrustOptions,
}

impl HealthCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (client, server, path) = match self.url {
            Some(Target(Some((server, path)))) => (server.client(&self.trust)?, server, path),
            Some(Target(None)) | None => {
                let server = own_server(&self.listen, &self.tls)?;
                // Its certificate need not be for the address at which this machine reaches it.
                (trusting(&server)?, server, READY.to_owned())
            }
        };
        let url = server.url().join(&path)?;
        let shown = match server.local() {
            Some(at @ Endpoint::Unix(_)) => format!("{at}, {path}"),
            _ => url.to_string(),
        };
        let http = client
            .timeout(Duration::from_millis(self.timeout_ms))
            .redirect(redirect::Policy::none())
            // A proxy's response says nothing about the server.
            .no_proxy()
            .build()
            .context("cannot create the HTTP client")?;
        let response = async {
            let mut response = http.get(url.clone()).send().await?;
            let body = read_bounded(&mut response, MAX_RESPONSE).await?;
            Ok((response.status(), body))
        };
        let (status, body) = super::runtime()?
            .block_on(response)
            .map_err(|error: reqwest::Error| anyhow::anyhow!(reason(&error)))
            .with_context(|| format!("no response from {shown}"))?;
        ensure!(
            body.len() <= MAX_RESPONSE,
            "the response from {shown} is larger than {MAX_RESPONSE} bytes"
        );
        let body = String::from_utf8_lossy(&body);
        ensure!(status == 200, "status {status}: {}", body.trim());
        output::print(&format!("{}\n", body.trim()))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn target(text: &str) -> Result<Target, String> {
    if text.is_empty() {
        return Ok(Target(None));
    }
    let server = server(text)?;
    // A parsed URL without a path has the path `/`, so look at the text.
    let has_path = !text.starts_with(UNIX) && text.matches('/').count() > 2;
    let path = if has_path { server.url().path() } else { READY };
    let query = server.url().query();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("{path}{query}");
    Ok(Target(Some((server, path))))
}

/// The server that listens as these options say, at its admin listener, if that serves whoever
/// asks.
fn own_server(listen: &ListenOptions, tls: &TlsOptions) -> anyhow::Result<Server> {
    let admin = listen.admin_listen.0.as_ref();
    let admin = admin.map(|at| (at, tls.admin()));
    // This command has no certificate that such a listener would accept.
    let admin = admin.filter(|(_, files)| {
        files
            .as_ref()
            .is_none_or(|files| files.client_authorities.is_none())
    });
    let (at, files) = admin.unwrap_or_else(|| (&listen.listen, tls.main()));
    let name = match (at.reachable(), files) {
        (at @ Endpoint::Unix(_), _) => at.to_string(),
        (at, None) => format!("http://{at}"),
        (at, Some(_)) => format!("https://{at}"),
    };
    server(&name).map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_path_of_a_url_defaults_to_the_readiness_check() {
        for (given, requested) in [
            ("http://a:1", "http://a:1/health/ready"),
            ("http://a", "http://a/health/ready"),
            ("http://a:1/health/live", "http://a:1/health/live"),
            ("http://[::1]/", "http://[::1]/"),
            ("http://[::1]:5/x?y", "http://[::1]:5/x?y"),
            ("https://a:1", "https://a:1/health/ready"),
            ("unix:/run/s", "http://localhost/health/ready"),
        ] {
            let Target(found) = target(given).expect(given);
            let (server, path) = found.expect(given);
            assert_eq!(server.url().join(&path).expect(given).as_str(), requested);
        }
        assert!(target("").expect("none").0.is_none());
        for wrong in ["a:1", "ftp://a:1", "http://", "http://user@a:1"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        listen: ListenOptions,
        #[command(flatten)]
        tls: TlsOptions,
    }

    #[test]
    fn a_server_is_asked_where_it_listens_and_answers() {
        for (arguments, asked) in [
            (
                &["--admin-listen", "0.0.0.0:8001"][..],
                "http://127.0.0.1:8001/",
            ),
            (
                &["--admin-listen", "", "--listen", "[::]:90"],
                "http://[::1]:90/",
            ),
            (&["--admin-listen", "unix:/s"], "unix:/s"),
            (&["--admin-tls-cert", "c"], "https://127.0.0.1:8001/"),
            (&["--tls-cert", "c"], "http://127.0.0.1:8001/"),
            (
                &[
                    "--admin-tls-cert",
                    "c",
                    "--admin-client-ca",
                    "c",
                    "--tls-cert",
                    "c",
                ],
                "https://127.0.0.1:8000/",
            ),
        ] {
            let command = Command::try_parse_from([&["health"], arguments].concat()).unwrap();
            let server = own_server(&command.listen, &command.tls).unwrap();
            assert_eq!(server.to_string(), asked, "{arguments:?}");
        }
    }
}
