//! `fastsentiment health`: asks a running server whether it is ready, for
//! container engines whose image holds no other HTTP client.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use reqwest::{Url, redirect};

use super::client::{base, reason};
use super::listen::{ListenOptions, reachable};
use super::output;
use super::settings::ConfigOption;
use super::values::{AT_LEAST_ONE, whole};

/// The path that says whether the server takes requests.
const READY: &str = "/health/ready";

/// From so many bytes on, no more of an answer is read; a health document is far
/// shorter.
const MAX_ANSWER: usize = 16 * 1024;

/// What the help of the command says at its end.
const EXIT_CODES: &str = "\
Exit codes: 0 ready, 1 not ready, or nobody answers, 2 wrong use of the command
line, the environment or the configuration file";

/// What to ask; nothing if the variable is there and empty.
#[derive(Clone)]
struct Target(Option<Url>);

/// What to ask, and for how long.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct HealthCommand {
    /// What to ask, such as `http://127.0.0.1:8001/health/live` [default:
    /// /health/ready where `serve` listens with the same settings, on the admin
    /// listener if there is one]
    #[arg(long, env = "FASTSENTIMENT_HEALTH_URL", value_name = "URL", value_parser = target)]
    url: Option<Target>,

    /// The longest that the answer may take, in milliseconds
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
                ready(admin_listen.0.unwrap_or(listen))?
            }
        };
        let http = reqwest::Client::builder()
            .timeout(Duration::from_millis(self.timeout_ms))
            .redirect(redirect::Policy::none())
            // What a proxy says of itself is no health of the server.
            .no_proxy()
            .build()
            .context("the HTTP client can not be made")?;
        let answer = async {
            let mut response = http.get(url.clone()).send().await?;
            let mut body = Vec::new();
            while let Some(piece) = response.chunk().await? {
                body.extend(piece);
                if body.len() >= MAX_ANSWER {
                    break;
                }
            }
            Ok((response.status(), body))
        };
        let (status, body) = super::runtime()?
            .block_on(answer)
            .map_err(|error: reqwest::Error| anyhow::anyhow!(reason(&error)))
            .with_context(|| format!("{url} does not answer"))?;
        let body = String::from_utf8_lossy(&body);
        ensure!(status == 200, "status {status}: {}", body.trim());
        output::print(format_args!("{}\n", body.trim()))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn target(text: &str) -> Result<Target, String> {
    if text.is_empty() {
        return Ok(Target(None));
    }
    let mut url = base(text)?;
    // A URL's path is never empty: one that was not given is `/` as well.
    let names_path = text.matches('/').count() > 2;
    if !names_path {
        url.set_path(READY);
    }
    Ok(Target(Some(url)))
}

/// Where a server says whether it is ready, by the address that it listens on.
fn ready(listens: SocketAddr) -> anyhow::Result<Url> {
    let address = reachable(listens);
    Ok(format!("http://{address}{READY}").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_as_it_is_given() {
        for (given, asked) in [
            ("http://a:1", "http://a:1/health/ready"),
            ("http://a", "http://a/health/ready"),
            ("http://a:1/health/live", "http://a:1/health/live"),
            ("http://[::1]/", "http://[::1]/"),
            ("http://[::1]:5/x?y", "http://[::1]:5/x?y"),
        ] {
            let Target(url) = target(given).expect(given);
            assert_eq!(url.expect(given).as_str(), asked);
        }
        assert!(target("").expect("none").0.is_none());
        for wrong in ["a:1", "https://a:1", "http://", "http://user@a:1"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_server_is_asked_where_it_listens() {
        let listens = "0.0.0.0:8001".parse().expect("an address");
        let url = ready(listens).expect("a URL");
        assert_eq!(url.as_str(), "http://127.0.0.1:8001/health/ready");
    }
}
