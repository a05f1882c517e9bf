//! `fastsentiment health`: asks a running server whether it is ready. It is for the health
//! checks of container engines, since the image has no other HTTP client.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use reqwest::{Url, redirect};

use super::client::{base, read_bounded, reason};
use super::listen::{ListenOptions, reachable};
use super::output;
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

/// A URL, or `None` if the variable is set to nothing.
#[derive(Clone)]
struct Target(Option<Url>);

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
}

impl HealthCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let url = match self.url {
            Some(Target(Some(url))) => url,
            Some(Target(None)) | None => {
                let ListenOptions {
                    listen,
                    admin_listen,
                } = self.listen;
                ready_url(admin_listen.0.unwrap_or(listen))?
            }
        };
        let http = reqwest::Client::builder()
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
            .with_context(|| format!("no response from {url}"))?;
        ensure!(
            body.len() <= MAX_RESPONSE,
            "the response from {url} is larger than {MAX_RESPONSE} bytes"
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
    let mut url = base(text)?;
    // A parsed URL without a path has the path `/`, so look at the text.
    let has_path = text.matches('/').count() > 2;
    if !has_path {
        url.set_path(READY);
    }
    Ok(Target(Some(url)))
}

/// The URL of the readiness check of a server that listens on an address.
fn ready_url(listener: SocketAddr) -> anyhow::Result<Url> {
    let address = reachable(listener);
    Ok(format!("http://{address}{READY}").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_url_defaults_to_the_readiness_check() {
        for (given, requested) in [
            ("http://a:1", "http://a:1/health/ready"),
            ("http://a", "http://a/health/ready"),
            ("http://a:1/health/live", "http://a:1/health/live"),
            ("http://[::1]/", "http://[::1]/"),
            ("http://[::1]:5/x?y", "http://[::1]:5/x?y"),
        ] {
            let Target(url) = target(given).expect(given);
            assert_eq!(url.expect(given).as_str(), requested);
        }
        assert!(target("").expect("none").0.is_none());
        for wrong in ["a:1", "https://a:1", "http://", "http://user@a:1"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_server_is_reached_where_it_listens() {
        let listener = "0.0.0.0:8001".parse().expect("an address");
        let url = ready_url(listener).expect("a URL");
        assert_eq!(url.as_str(), "http://127.0.0.1:8001/health/ready");
    }
}
