//! The client of a running server's admin API.
//!
//! What it is for is in `swap`, `versions` and `change`.

use std::error::Error;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use super::admin::TokenOptions;
use super::output;

/// How long a server may take to take a connection on.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to answer: a candidate is compiled, maybe after others.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the help of each command says at its end.
const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 the server can not be reached or has failed, 2 wrong use
of the command line, 3 refused by the server";

/// Where the server is, and what to print.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct ClientOptions {
    /// The admin listener of the server
    #[arg(
        long = "admin",
        env = "FASTSENTIMENT_ADMIN_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8001",
        value_parser = base
    )]
    admin: Url,

    /// Print the JSON document with which the server answers
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    token: TokenOptions,
}

/// Why a server did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// It did not answer.
    #[error("no answer from {url}: {reason} (`--admin` says where the admin listener is)")]
    Unreachable { url: Url, reason: String },
    /// It answered that it could not.
    #[error("{0}")]
    Failed(String),
    /// It answered that it would not.
    #[error("{0}")]
    Refused(String),
}

/// The first digits of a version's digest, at least.
pub(super) fn id(text: &str) -> Result<String, &'static str> {
    let is_hexadecimal = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if (4..=64).contains(&text.len()) && is_hexadecimal {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a version is named by the first 4 or more hexadecimal digits of its digest")
    }
}

/// The address of a server, without a token.
pub(super) fn base(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{error}"))?;
    if url.scheme() != "http" || !url.has_host() {
        return Err("it must begin with `http://` and a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a token is not part of it: see `--admin-token-file`".to_owned());
    }
    Ok(url)
}

/// What the server is asked.
pub(super) struct Ask<'a> {
    method: Method,
    path: &'a [&'a str],
    query: Vec<(&'a str, String)>,
    component: Option<Vec<u8>>,
}

impl<'a> Ask<'a> {
    pub(super) fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            component: None,
        }
    }

    /// Adds a parameter.
    pub(super) fn with(mut self, name: &'a str, value: &impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// Sends a component.
    pub(super) fn component(mut self, component: Vec<u8>) -> Self {
        self.component = Some(component);
        self
    }
}

/// A server that answers.
pub(super) struct Client {
    runtime: Runtime,
    http: reqwest::Client,
    base: Url,
    authorization: Option<HeaderValue>,
    json: bool,
}

impl Client {
    /// A client for a server that need not be there yet.
    pub(super) fn new(options: ClientOptions) -> anyhow::Result<Self> {
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_PATIENCE)
            .timeout(PATIENCE)
            // A token is for this server and for no other.
            .redirect(redirect::Policy::none());
        if is_loopback(&options.admin) {
            http = http.no_proxy();
        }
        let authorization = options.token.resolve()?.map(|token| {
            let mut value = HeaderValue::try_from(token.authorization())?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        });
        Ok(Self {
            runtime: super::runtime()?,
            http: http.build().context("the HTTP client can not be made")?,
            base: options.admin,
            authorization: authorization.transpose()?,
            json: options.json,
        })
    }

    /// Asks the server, and prints its answer: in `words`, or as it is.
    pub(super) fn tell<T: DeserializeOwned>(
        &self,
        ask: Ask<'_>,
        words: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<ExitCode> {
        let document = self.send(ask)?;
        let text = if self.json {
            document
        } else {
            words(&parse(&document)?)
        };
        output::print(format_args!("{}\n", text.trim_end()))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Asks the server.
    pub(super) fn ask<T: DeserializeOwned>(&self, ask: Ask<'_>) -> anyhow::Result<T> {
        parse(&self.send(ask)?)
    }

    /// The document with which the server answers.
    fn send(&self, ask: Ask<'_>) -> anyhow::Result<String> {
        let mut request = self.http.request(ask.method.clone(), self.url(&ask)?);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(component) = ask.component {
            let wasm = "application/wasm";
            request = request.header(CONTENT_TYPE, wasm).body(component);
        }
        let answer = async {
            let response = request.send().await?;
            let status = response.status();
            Ok((status, response.text().await?))
        };
        let (status, document) =
            self.runtime
                .block_on(answer)
                .map_err(|error: reqwest::Error| ClientError::Unreachable {
                    url: self.base.clone(),
                    reason: reason(&error),
                })?;
        if status.is_success() {
            return Ok(document);
        }
        let said = match serde_json::from_str(&document) {
            Ok(Problem { detail }) => detail,
            Err(_) => format!(
                "{} answers {status}, and not as this server does",
                self.base
            ),
        };
        Err(if status.is_client_error() {
            ClientError::Refused(said).into()
        } else {
            ClientError::Failed(said).into()
        })
    }

    fn url(&self, ask: &Ask<'_>) -> anyhow::Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("{} has no paths", self.base))?
            .pop_if_empty()
            .extend(ask.path);
        url.set_query(None);
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        Ok(url)
    }
}

/// What the server says of a wish that it does not grant.
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

fn parse<T: DeserializeOwned>(document: &str) -> anyhow::Result<T> {
    serde_json::from_str(document).context("the server's answer is not understood")
}

/// Whether nothing stands between here and the server, such as a proxy that the
/// environment names.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    // 0.0.0.0, as a server says that listens everywhere, leads to this machine too.
    let is_here = |address: IpAddr| address.is_loopback() || address.is_unspecified();
    host == "localhost" || address.is_ok_and(is_here)
}

/// What was wrong in the end: the outer errors say only that something was.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let mut inner: &dyn Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
