//! The client of a running server's admin API, and the options that all commands share
//! which use it: `--admin`, `--json`, the token.

use std::borrow::Cow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Method, Response, StatusCode, Url, redirect};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::archive::Archive;
use super::output;
use super::remote::{CONNECT_TIMEOUT, Server, TrustOptions, reason, server};
use super::serve::admin::TokenOptions;
use super::terminal::escape;

/// Time limit for a response: a candidate is compiled, maybe after others.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The largest response that is read, in bytes: many times the largest that a server sends.
pub(super) const MAX_RESPONSE: usize = 4 << 20;

/// The end of each command's help.
const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 the server is unreachable or has failed, 2 usage error
in the command line, 3 rejected by the server";

/// Which server to manage, and what to print.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct ClientOptions {
    /// URL of the server's admin listener, or `unix:` and the path of its socket
    #[arg(
        long = "admin",
        env = "FASTSENTIMENT_ADMIN_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8001",
        value_parser = server
    )]
    admin: Server,

    #[command(flatten)]
    trust: TrustOptions,

    /// Print the server's response as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    token: TokenOptions,
}

/// Why a command at a server failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// There was no response.
    #[error("no response from {url}: {reason} (set the admin listener with `--admin`)")]
    Unreachable { url: Server, reason: String },
    /// The response is not the server's: it is too large.
    #[error(
        "the response from {url} is larger than {MAX_RESPONSE} bytes, so this is not the admin \
             listener of a FastSentiment server"
    )]
    TooLarge { url: Server },
    /// The server failed (status 5xx).
    #[error("{0}")]
    Failed(String),
    /// The server rejected the request (status 4xx).
    #[error("{0}")]
    Rejected(String),
}

/// Parses a version's digest, or the first digits of it.
pub(super) fn id(text: &str) -> Result<String, &'static str> {
    let is_hexadecimal = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if (4..=64).contains(&text.len()) && is_hexadecimal {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("must be 4 to 64 hexadecimal digits of the version's digest")
    }
}

/// A call of the admin API.
pub(super) struct Call<'a> {
    method: Method,
    path: &'a [&'a str],
    query: Vec<(&'a str, String)>,
    /// The media type, and the content.
    body: Option<(&'static str, Body)>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            body: None,
        }
    }

    /// Adds a query parameter.
    pub(super) fn query(mut self, name: &'a str, value: &impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// Adds a component as the body.
    pub(super) fn component(mut self, component: Vec<u8>) -> Self {
        self.body = Some(("application/wasm", component.into()));
        self
    }

    /// Adds a JSON document as the body.
    pub(super) fn json(mut self, document: &impl Serialize) -> anyhow::Result<Self> {
        self.body = Some(("application/json", serde_json::to_vec(document)?.into()));
        Ok(self)
    }

    /// Adds a model as the body.
    pub(super) fn model(mut self, archive: Archive) -> Self {
        self.body = Some(("application/x-tar", Body::wrap(archive)));
        self
    }
}

/// A client for one server.
pub(super) struct Client {
    runtime: Runtime,
    http: reqwest::Client,
    server: Server,
    no_token: Option<String>,
    authorization: Option<HeaderValue>,
    json: bool,
}

impl Client {
    /// Creates a client. It connects with the first call.
    pub(super) fn new(options: ClientOptions) -> anyhow::Result<Self> {
        let ClientOptions {
            admin: server,
            trust,
            json,
            token,
        } = options;
        let http = server
            .client(&trust)?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // The token must not reach another server.
            .redirect(redirect::Policy::none());
        let local = server.local();
        let found = token.for_server(local.as_ref())?;
        let no_token = found.is_none().then(|| token.why_none(local.as_ref()));
        let authorization = found.map(|token| {
            let mut value = HeaderValue::try_from(token.authorization())?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        });
        Ok(Self {
            runtime: super::runtime()?,
            http: http.build().map_err(|error| {
                anyhow::anyhow!("cannot create the HTTP client: {}", reason(&error))
            })?,
            server,
            no_token,
            authorization: authorization.transpose()?,
            json,
        })
    }

    /// Makes a call, and prints the response: as JSON if that was asked for, or as `describe`
    /// words it.
    pub(super) fn run<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        describe: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<ExitCode> {
        let document = self.send(call)?;
        if self.json {
            let IgnoredAny = serde_json::from_slice(&document).context(UNEXPECTED)?;
            output::print_json(str::from_utf8(&document).context(UNEXPECTED)?.trim_end())?;
        } else {
            let text = describe(&parse(&document)?);
            output::print(&format!("{}\n", text.trim_end()))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Makes a call, and returns the response.
    pub(super) fn get<T: DeserializeOwned>(&self, call: Call<'_>) -> anyhow::Result<T> {
        parse(&self.send(call)?)
    }

    /// Sends a request. Returns the body of a successful response.
    fn send(&self, mut call: Call<'_>) -> anyhow::Result<Vec<u8>> {
        let mut request = self.http.request(call.method.clone(), self.url(&call)?);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some((media_type, body)) = call.body.take() {
            request = request.header(CONTENT_TYPE, media_type).body(body);
        }
        let response = async {
            let mut response = request.send().await?;
            let document = read_bounded(&mut response, MAX_RESPONSE).await?;
            Ok((response.status(), document))
        };
        let (status, document) =
            self.runtime
                .block_on(response)
                .map_err(|error: reqwest::Error| ClientError::Unreachable {
                    url: self.server.clone(),
                    reason: reason(&error),
                })?;
        if document.len() > MAX_RESPONSE {
            let url = self.server.clone();
            return Err(ClientError::TooLarge { url }.into());
        }
        if status.is_success() {
            return Ok(document);
        }
        let reason = match parse(&document) {
            Ok(Problem { detail }) => match &self.no_token {
                Some(why) if status == StatusCode::UNAUTHORIZED => format!("{detail} ({why})"),
                _ => detail,
            },
            Err(_) => format!(
                "{} is not the admin listener of a FastSentiment server: it responded with status \
                 {status}",
                self.server
            ),
        };
        Err(if status.is_client_error() {
            ClientError::Rejected(reason).into()
        } else {
            ClientError::Failed(reason).into()
        })
    }

    fn url(&self, call: &Call<'_>) -> anyhow::Result<Url> {
        let mut url = self.server.url().clone();
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("{} cannot have a path", self.server))?
            .pop_if_empty()
            .extend(call.path);
        url.set_query(None);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        Ok(url)
    }
}

/// A problem document of the server (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// Reads the body of a response, but not much more than `most` bytes: whoever is given more
/// than `most` has not been given all.
pub(super) async fn read_bounded(response: &mut Response, most: usize) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        body.extend(piece);
        if body.len() > most {
            break;
        }
    }
    Ok(body)
}

const UNEXPECTED: &str = "the server sent an unexpected response";

/// Parses a server's document. Its strings are made harmless: some come from guests and
/// files, and this may be another server than it should be.
pub(super) fn parse<T: DeserializeOwned>(document: &[u8]) -> anyhow::Result<T> {
    let mut value = serde_json::from_slice(document).context(UNEXPECTED)?;
    escape_strings(&mut value);
    serde_json::from_value(value).context(UNEXPECTED)
}

fn escape_strings(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(escaped) = escape(text) {
                *text = escaped;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(escape_strings),
        Value::Object(members) => members.values_mut().for_each(escape_strings),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
