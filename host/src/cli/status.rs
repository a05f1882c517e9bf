//! `fastsentiment status`: whether servers run what is declared, and what stands in the way.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use futures_util::future::join_all;
use http::admin::document::{Condition, Rollout, Status};
use reqwest::{Url, redirect};
use serde_json::json;
use tokio::net::lookup_host;

use super::admin_client::{ClientError, MAX_RESPONSE, parse, read_bounded};
use super::remote::{Server, TrustOptions, reason, server};
use super::versions::table;
use super::{exit, output};

/// Time limit for an answer of one server.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often servers are asked while waiting.
const AGAIN: Duration = Duration::from_secs(1);

/// The port of the admin listener, if none is given.
const PORT: u16 = 8001;

const EXIT_CODES: &str = "\
Exit codes: 0 all servers are in sync, 1 no server was found, 2 usage error in
the command line, 3 not all servers are in sync";

/// Asks servers whether they run what is declared.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct StatusCommand {
    /// URL of a server's admin listener, or `unix:` and the path of its socket; repeat it for
    /// several
    #[arg(
        long = "admin",
        env = "FASTSENTIMENT_ADMIN_URL",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8001",
        value_parser = server
    )]
    admin: Vec<Server>,

    /// Ask every server behind a name instead: `dns://NAME[:PORT]`, or
    /// `dns+https://NAME[:PORT]` for servers whose certificates are for that name
    ///
    /// In Kubernetes, the name is that of a headless Service, which has the addresses of
    /// all pods. The port is 8001 by default.
    #[arg(long, value_name = "NAME", value_parser = fleet)]
    fleet: Option<Url>,

    #[command(flatten)]
    trust: TrustOptions,

    /// Wait until all are in sync, at most this long, such as `5m`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,

    /// Count a server as in sync only from this generation of the rollout file on
    ///
    /// A file takes a while to reach all servers, which are in sync with the one before
    /// meanwhile.
    #[arg(long, value_name = "N")]
    generation: Option<u64>,

    /// Print what the servers said as JSON
    #[arg(long)]
    json: bool,
}

/// What a server said.
struct Answer {
    server: Server,
    status: Result<Status, String>,
}

/// Parses the name of a fleet. Returns the URL of a server behind it, with the port.
fn fleet(text: &str) -> Result<Url, &'static str> {
    const EXPECTED: &str = "must be `dns://` or `dns+https://` and a host, and may have a port";
    let (scheme, rest) = text.split_once("://").ok_or(EXPECTED)?;
    let scheme = match scheme {
        "dns" => "http",
        "dns+https" => "https",
        _ => return Err(EXPECTED),
    };
    // Unlike `http`, this has no default port, which would be lost.
    let named: Url = format!("dns://{rest}").parse().map_err(|_| EXPECTED)?;
    match (named.host_str(), named.path()) {
        (Some(host), "" | "/") if !host.is_empty() => {
            let port = named.port().unwrap_or(PORT);
            format!("{scheme}://{host}:{port}")
                .parse()
                .map_err(|_| EXPECTED)
        }
        _ => Err(EXPECTED),
    }
}

impl StatusCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let until = self.wait.map(|wait| Instant::now() + wait);
        let runtime = super::runtime()?;
        loop {
            let answers = runtime.block_on(self.ask());
            let is_last = until.is_none_or(|until| Instant::now() >= until);
            let in_sync = match &answers {
                Ok(answers) => answers.iter().all(|answer| self.is_in_sync(answer)),
                Err(_) => false,
            };
            if in_sync || is_last {
                let answers = answers?;
                self.print(&answers)?;
                return Ok(if in_sync {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::from(exit::REJECTED)
                });
            }
            std::thread::sleep(AGAIN);
        }
    }

    async fn ask(&self) -> anyhow::Result<Vec<Answer>> {
        let servers = match &self.fleet {
            None => self.admin.clone(),
            Some(name) => of_fleet(name).await?,
        };
        let asked = servers.into_iter().map(async |server| Answer {
            status: status_of(&server, &self.trust)
                .await
                .map_err(|error| error.to_string()),
            server,
        });
        Ok(join_all(asked).await)
    }

    fn is_in_sync(&self, answer: &Answer) -> bool {
        let Ok(status) = &answer.status else {
            return false;
        };
        let generation = generation(status);
        status.in_sync
            && self
                .generation
                .is_none_or(|wanted| generation >= Some(wanted))
    }

    fn print(&self, answers: &[Answer]) -> anyhow::Result<()> {
        if self.json {
            let answers = answers.iter().map(|answer| match &answer.status {
                Ok(status) => json!({"server": answer.server.to_string(), "status": status}),
                Err(error) => json!({"server": answer.server.to_string(), "error": error}),
            });
            let document: serde_json::Value = answers.collect();
            return output::print_json(&document.to_string());
        }
        output::print(&self.describe(answers))
    }

    /// One row for each server, and one sentence on all of them.
    fn describe(&self, answers: &[Answer]) -> String {
        let head = ["SERVER", "IN SYNC", "GENERATION", "LIVE", "TRIAL", "STATE"];
        let row = |answer: &Answer| {
            let server = answer.server.authority();
            let nothing = || "-".to_owned();
            let Ok(status) = &answer.status else {
                let in_sync = "no".to_owned();
                let state = "unreachable".to_owned();
                return [server, in_sync, nothing(), nothing(), nothing(), state];
            };
            let live = status.live.as_ref();
            let trial = status.trial.as_ref();
            [
                server,
                if self.is_in_sync(answer) { "yes" } else { "no" }.to_owned(),
                generation(status).map_or_else(nothing, |number| number.to_string()),
                live.map_or_else(nothing, |live| live.revision_short.clone()),
                trial.map_or_else(nothing, |trial| trial.name.revision_short.clone()),
                state(status),
            ]
        };
        let rows: Vec<_> = std::iter::once(head.map(str::to_owned))
            .chain(answers.iter().map(row))
            .collect();
        let mut text = table(&rows);
        let in_sync = answers.iter().filter(|answer| self.is_in_sync(answer));
        let _ = write!(text, "{} of {} in sync", in_sync.count(), answers.len());
        if let Some(generation) = self.generation.or_else(|| newest(answers)) {
            let _ = write!(text, " at generation {generation}");
        }
        for answer in answers.iter().filter(|answer| !self.is_in_sync(answer)) {
            let _ = write!(text, "; {}: {}", answer.server.authority(), why(answer));
        }
        text.push('\n');
        text
    }
}

/// Why a server is not in sync.
fn why(answer: &Answer) -> String {
    let status = match &answer.status {
        Ok(status) => status,
        Err(error) => return error.clone(),
    };
    let holds = |kind: &str| {
        let mut conditions = status.conditions.iter();
        conditions.find(|condition| condition.kind == kind && condition.status == "True")
    };
    let said = |condition: &Condition| match condition.message.as_str() {
        "" => condition.reason.clone(),
        message => message.to_owned(),
    };
    match holds("Degraded").or_else(|| holds("Progressing")) {
        Some(condition) => said(condition),
        None if status.in_sync => "it follows an older generation".to_owned(),
        None => "it is about to follow the file".to_owned(),
    }
}

/// The generation that a server follows.
fn generation(status: &Status) -> Option<u64> {
    status
        .rollout
        .as_ref()
        .and_then(|rollout| rollout.generation)
}

fn newest(answers: &[Answer]) -> Option<u64> {
    let statuses = answers
        .iter()
        .filter_map(|answer| answer.status.as_ref().ok());
    statuses.filter_map(generation).max()
}

/// The conditions that hold, and an override.
fn state(status: &Status) -> String {
    let holding = status.conditions.iter();
    let holding = holding.filter(|condition| condition.status == "True");
    let names: Vec<&str> = holding.map(|condition| condition.kind.as_str()).collect();
    let is_overridden = |rollout: &Rollout| rollout.overridden_since.is_some();
    let overridden = match &status.rollout {
        Some(rollout) if is_overridden(rollout) => ", overridden",
        _ => "",
    };
    names.join(", ") + overridden
}

/// The servers that a name stands for now.
async fn of_fleet(name: &Url) -> anyhow::Result<Vec<Server>> {
    let host = name.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = name.port_or_known_default().unwrap_or(PORT);
    let addresses = lookup_host((host, port)).await;
    let addresses = addresses.with_context(|| format!("cannot look up {host}:{port}"))?;
    let mut servers: Vec<Server> = addresses
        .map(|address| Server::at(name.clone(), address))
        .collect();
    servers.sort();
    servers.dedup();
    anyhow::ensure!(!servers.is_empty(), "{host}:{port} has no addresses");
    Ok(servers)
}

/// Asks one server, whether it is ready or not.
async fn status_of(server: &Server, trust: &TrustOptions) -> anyhow::Result<Status> {
    let client = server
        .client(trust)?
        .timeout(TIMEOUT)
        .redirect(redirect::Policy::none())
        // Servers are reached directly, by addresses within a cluster.
        .no_proxy()
        .build()
        .context("cannot create the HTTP client")?;
    let unreachable = |error: reqwest::Error| ClientError::Unreachable {
        url: server.clone(),
        reason: reason(&error),
    };
    let url = server.url().join("status")?;
    let mut response = client.get(url).send().await.map_err(unreachable)?;
    let document = read_bounded(&mut response, MAX_RESPONSE).await;
    let document = document.map_err(unreachable)?;
    let status = response.status();
    anyhow::ensure!(status.is_success(), "it answers with status {status}");
    parse(&document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &str, status: serde_json::Value) -> Answer {
        Answer {
            server: server(name).unwrap(),
            status: serde_json::from_value(status).map_err(|error| error.to_string()),
        }
    }

    fn status(generation: u64, in_sync: bool, degraded: &str) -> serde_json::Value {
        let since = "2026-01-01T00:00:00Z";
        let is_degraded = if degraded.is_empty() { "False" } else { "True" };
        json!({
            "in_sync": in_sync, "live": null, "trial": null,
            "rollout": {
                "file": "rollout.toml", "file_digest": null, "file_fault": null,
                "generation": generation, "declared": [], "step": null, "errors": [],
                "retry_at": null, "overridden_since": null, "last_fetch": null,
            },
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "Serving", "message": "",
                 "since": since},
                {"type": "Degraded", "status": is_degraded, "reason": "NotVerified",
                 "message": degraded, "since": since},
            ],
        })
    }

    fn command(generation: Option<u64>) -> StatusCommand {
        StatusCommand {
            admin: Vec::new(),
            fleet: None,
            trust: TrustOptions::default(),
            wait: None,
            generation,
            json: false,
        }
    }

    #[test]
    fn one_sentence_says_how_the_fleet_does() {
        let answers = [
            answer("http://a:1", status(42, true, "")),
            answer("http://b:1", status(41, true, "")),
            answer(
                "http://c:1",
                status(42, false, "live: verify: it has no signature"),
            ),
            Answer {
                server: server("http://d:1").unwrap(),
                status: Err("no answer".to_owned()),
            },
        ];
        let said = command(Some(42)).describe(&answers);
        let sentence = said.lines().last().unwrap();
        assert_eq!(
            sentence,
            "1 of 4 in sync at generation 42; b:1: it follows an older generation; c:1: live: \
             verify: it has no signature; d:1: no answer"
        );
        assert_eq!(said.lines().count(), 6);
        let said = command(None).describe(&answers[..2]);
        assert!(
            said.ends_with("2 of 2 in sync at generation 42\n"),
            "{said}"
        );
    }

    #[test]
    fn a_fleet_is_a_name() {
        for (name, url) in [
            ("dns://api.ns.svc", "http://api.ns.svc:8001/"),
            ("dns://api:9", "http://api:9/"),
            ("dns+https://api", "https://api:8001/"),
            ("dns+https://api:9", "https://api:9/"),
        ] {
            assert_eq!(fleet(name).unwrap().as_str(), url);
        }
        for wrong in ["api", "http://api", "dns://", "dns://api/x"] {
            assert!(fleet(wrong).is_err(), "{wrong}");
        }
    }
}
