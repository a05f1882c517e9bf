//! The HTTP client for registries: log-in, redirects, time limits and retries.
//!
//! It is made of hyper's client, because an answer has to be read in pieces with a limit on
//! each, because redirects differ in what they may carry, and because TLS in `reqwest` is a
//! switch for the whole process.
//!
//! This module must not know manifests and blobs.

mod answer;
mod auth;
mod body;
mod connect;

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use tokio::time::{sleep, timeout};
use url::Url;

pub(crate) use answer::Answer;
pub(crate) use body::Body;

use crate::credentials;
use crate::error::{ArtifactError, quoted};
use crate::options::{Options, Retries, Times};
use crate::reference::{Place, ReferenceError, is_registry};
use body::Stream;
use connect::Connector;

/// How many redirects of one request are followed.
const MOST_REDIRECTS: usize = 5;

/// The host that answers for Docker Hub, and the name that it has in references.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// What a call may do in its repository.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Pull,
    Push,
}

/// A request to a registry.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) place: &'a Place,
    pub(crate) access: Access,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, url: Url, place: &'a Place, access: Access) -> Self {
        Self {
            method,
            url,
            place,
            access,
            headers: HeaderMap::new(),
            body: Body::Empty,
        }
    }

    /// What the call may do, in the words of token endpoints.
    fn scope(&self) -> String {
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        format!("repository:{}:{actions}", self.place.repository)
    }
}

pub(crate) struct Client {
    http: legacy::Client<Connector, Stream>,
    plain_http: Vec<String>,
    credentials: Option<PathBuf>,
    times: Times,
    retries: Retries,
    /// What was given for which place and access.
    authorizations: Mutex<HashMap<(Place, Access), HeaderValue>>,
}

impl Client {
    pub(crate) fn new(options: &Options) -> Result<Self, ArtifactError> {
        let http = legacy::Client::builder(TokioExecutor::new());
        let plain_http = options.plain_http.iter().map(|host| canonical(host));
        Ok(Self {
            http: http.build(connect::connector(options)?),
            plain_http: plain_http.collect::<Result<_, _>>()?,
            credentials: options.credentials.clone(),
            times: options.times,
            retries: options.retries,
            authorizations: Mutex::default(),
        })
    }

    /// The URL of something in a repository.
    pub(crate) fn url(&self, place: &Place, rest: &str) -> Result<Url, ArtifactError> {
        let is_plain = self.plain_http.contains(&canonical(&place.registry)?);
        let scheme = if is_plain { "http" } else { "https" };
        let host = match place.registry.as_str() {
            name if name == DOCKER_HUB.0 => DOCKER_HUB.1,
            host => host,
        };
        let repository = &place.repository;
        let url = format!("{scheme}://{host}/v2/{repository}/{rest}");
        Url::parse(&url).map_err(|error| ArtifactError::Malformed {
            host: host.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Sends a request, and logs in if the registry asks for it. Statuses other than 401 and
    /// those of redirects are the caller's.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Answer, ArtifactError> {
        let known = self.authorization(call);
        let answer = self.follow(call, known.as_ref()).await?;
        // Whoever a request is redirected to has no say in where credentials go.
        let is_registry = answer.origin == self.url(call.place, "")?.origin();
        if answer.status() != StatusCode::UNAUTHORIZED || !is_registry {
            return Ok(answer);
        }
        let login = credentials::find(self.credentials.as_deref(), call.place)?;
        let (host, headers) = (answer.host(), answer.headers());
        let scope = call.scope();
        let given = self.authorize(host, headers, login, &scope);
        let Some(given) = given.await? else {
            return Ok(answer);
        };
        let key = (call.place.clone(), call.access);
        self.lock().insert(key, given.clone());
        self.follow(call, Some(&given)).await
    }

    fn authorization(&self, call: &Call<'_>) -> Option<HeaderValue> {
        let key = (call.place.clone(), call.access);
        self.lock().get(&key).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Place, Access), HeaderValue>> {
        // A map of values is whole after any panic.
        self.authorizations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request, and follows redirects if it only reads. `authorization` goes to the
    /// registry itself and nowhere else.
    async fn follow(
        &self,
        call: &Call<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, ArtifactError> {
        let registry = self.url(call.place, "")?.origin();
        let is_read = [Method::GET, Method::HEAD].contains(&call.method);
        let mut url = call.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let mut headers = call.headers.clone();
            if let Some(value) = authorization.filter(|_| url.origin() == registry) {
                headers.insert(AUTHORIZATION, value.clone());
            }
            let answer = self
                .request(&call.method, &url, &headers, &call.body)
                .await?;
            if !(is_read && is_redirect(answer.status())) {
                return Ok(answer);
            }
            url = location(&answer, &url)?;
        }
        Err(ArtifactError::Redirects {
            host: host_of(&call.url),
            most: MOST_REDIRECTS,
        })
    }

    /// Sends one request to where its URL says, if that is allowed.
    async fn request(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: &Body,
    ) -> Result<Answer, ArtifactError> {
        let host = host_of(url);
        let is_plain = url.scheme() == "http" && self.plain_http.contains(&host);
        if url.scheme() != "https" && !is_plain {
            return Err(ArtifactError::PlainHttp(host));
        }
        let unsendable = |reason: String| ArtifactError::Malformed {
            host: host.clone(),
            reason,
        };
        let mut target = url.clone();
        target.set_fragment(None);
        // A redirect has no say in who logs in.
        let cleared = target.set_username("").and(target.set_password(None));
        cleared.map_err(|()| unsendable("it leads to a URL without a host".to_owned()))?;
        let mut request = Request::new(
            body.stream()
                .await
                .map_err(|reason| unsendable(format!("nothing can be sent, since {reason}")))?,
        );
        *request.method_mut() = method.clone();
        *request.uri_mut() = target
            .as_str()
            .parse()
            .map_err(|_| unsendable("it leads to a URL that is not one".to_owned()))?;
        request.headers_mut().extend(headers.clone());
        let agent = HeaderValue::from_static(concat!("fastsentiment/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        if let Some(length) = body.length(method) {
            request.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        // The head comes after the whole body was sent, which the total time limits.
        let limit = match body {
            Body::Empty => self.times.connect + self.times.idle,
            Body::Bytes(_) | Body::File(..) => self.times.total,
        };
        let response = timeout(limit, self.http.request(request)).await;
        let response = response.map_err(|_| ArtifactError::Silent {
            host: host.clone(),
            after: limit,
        })?;
        Ok(Answer {
            response: response.map_err(|error| broken(&host, &error))?,
            origin: url.origin(),
            host,
            idle: self.times.idle,
        })
    }

    /// Makes a call again while its failure may pass.
    pub(crate) async fn retry<T, F: Future<Output = Result<T, ArtifactError>>>(
        &self,
        call: impl Fn() -> F,
    ) -> Result<T, ArtifactError> {
        let mut waits = self.waits();
        loop {
            match call().await {
                Ok(value) => return Ok(value),
                Err(error) => self.wait(error, &mut waits).await?,
            }
        }
    }

    /// The waits between one request and the next.
    pub(crate) fn waits(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.retries.first)
            .with_max_delay(self.retries.longest)
            .with_max_times(self.retries.times)
            .with_jitter()
            .build()
    }

    /// Waits until a request may be sent again: for as long as the registry asks, within
    /// limits.
    ///
    /// # Errors
    ///
    /// The given one, if another request would not help, or was made often enough.
    pub(crate) async fn wait(
        &self,
        error: ArtifactError,
        waits: &mut ExponentialBackoff,
    ) -> Result<(), ArtifactError> {
        if !error.is_worth_a_retry() {
            return Err(error);
        }
        let Some(wait) = waits.next() else {
            return Err(error);
        };
        sleep(pause(&error, wait, self.retries.longest)).await;
        Ok(())
    }
}

/// How long to wait before another request: as long as the registry asks, and at most
/// `longest`.
fn pause(error: &ArtifactError, wait: Duration, longest: Duration) -> Duration {
    let asked = match error {
        ArtifactError::Unavailable { retry_after, .. } => *retry_after,
        _ => None,
    };
    wait.max(asked.unwrap_or_default()).min(longest)
}

fn is_redirect(status: StatusCode) -> bool {
    use StatusCode as S;
    [
        S::MOVED_PERMANENTLY,
        S::FOUND,
        S::SEE_OTHER,
        S::TEMPORARY_REDIRECT,
        S::PERMANENT_REDIRECT,
    ]
    .contains(&status)
}

/// Where an answer says to go on.
pub(crate) fn location(answer: &Answer, url: &Url) -> Result<Url, ArtifactError> {
    let location = answer.header(LOCATION).map(|location| url.join(location));
    match location {
        Some(Ok(location)) if location.has_host() => Ok(location),
        _ => Err(ArtifactError::Malformed {
            host: answer.host().to_owned(),
            reason: "it does not say where to go on".to_owned(),
        }),
    }
}

/// The form in which hosts that are reached over plain HTTP are compared.
fn canonical(registry: &str) -> Result<String, ReferenceError> {
    let url = Url::parse(&format!("http://{registry}/"));
    match url {
        Ok(url) if is_registry(registry) => Ok(host_of(&url)),
        _ => Err(ReferenceError::Registry(registry.to_owned())),
    }
}

/// The host of a URL, with its port if it is not the scheme's own.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The error of a connection that could not be made, or broke.
fn broken(host: &str, error: &(dyn Error + 'static)) -> ArtifactError {
    let host = host.to_owned();
    let mut cause = error;
    loop {
        // An I/O error hides the one that it was made of.
        let inner = cause.downcast_ref().and_then(io::Error::get_ref);
        let inner = inner.map(|inner| inner as &(dyn Error + 'static));
        let Some(next) = inner.or_else(|| cause.source()) else {
            break;
        };
        cause = next;
    }
    let reason = quoted(&cause.to_string());
    match cause.downcast_ref() {
        Some(rustls::Error::InvalidCertificate(_)) => ArtifactError::Certificate { host, reason },
        _ => ArtifactError::Unreachable { host, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_has_a_say_in_when_it_is_asked_again() {
        let [first, longest] = [1, 30].map(Duration::from_secs);
        for (asked, expected) in [(None, 1), (Some(0), 1), (Some(7), 7), (Some(3600), 30)] {
            let error = ArtifactError::Unavailable {
                host: "h".into(),
                status: 429,
                words: String::new(),
                retry_after: asked.map(Duration::from_secs),
            };
            let expected = Duration::from_secs(expected);
            assert_eq!(pause(&error, first, longest), expected, "{asked:?}");
        }
        let error = ArtifactError::Unreachable {
            host: "h".into(),
            reason: String::new(),
        };
        assert_eq!(pause(&error, first, longest), first);
    }
}
