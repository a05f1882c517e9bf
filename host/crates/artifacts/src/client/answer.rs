//! An answer of a registry: read in pieces, each within a time limit, and never more than
//! is asked for.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AsHeaderName, HeaderMap, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Origin;

use super::broken;
use crate::error::{ArtifactError, quoted};

/// How much of an error is read, in bytes.
const MOST_ERROR: usize = 16 << 10;

pub(crate) struct Answer {
    pub(super) host: String,
    pub(super) origin: Origin,
    pub(super) response: Response<Incoming>,
    pub(super) idle: Duration,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// A header, if it is there and is text.
    pub(crate) fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next bytes of the body; none at its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ArtifactError> {
        loop {
            let frame = timeout(self.idle, self.response.body_mut().frame());
            let frame = frame.await.map_err(|_| ArtifactError::Silent {
                host: self.host.clone(),
                after: self.idle,
            })?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(broken(&self.host, &error)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The whole body, if it has at most `most` bytes.
    pub(crate) async fn read(mut self, most: usize) -> Result<Vec<u8>, ArtifactError> {
        let mut body = Vec::new();
        while let Some(bytes) = self.next().await? {
            if bytes.len() > most - body.len() {
                return Err(ArtifactError::TooLarge {
                    what: format!("an answer of {}", self.host),
                    most: most as u64,
                });
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }

    /// The body as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(self, most: usize) -> Result<T, ArtifactError> {
        let host = self.host.clone();
        let body = self.read(most).await?;
        // Not the parser's words: they may quote a token.
        serde_json::from_slice(&body).map_err(|_| ArtifactError::Malformed {
            host,
            reason: "it is not the JSON that was asked for".to_owned(),
        })
    }

    /// The answer if it is a success, and otherwise the error that it reports about `what`.
    pub(crate) async fn success(self, what: &str) -> Result<Self, ArtifactError> {
        if self.status().is_success() {
            return Ok(self);
        }
        let (host, status) = (self.host.clone(), self.status());
        let retry_after = self.header(RETRY_AFTER).and_then(retry_after);
        let words = self.words().await;
        let code = status.as_u16();
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ArtifactError::Denied {
                host,
                status: code,
                words,
            },
            StatusCode::NOT_FOUND => ArtifactError::NotFound {
                host,
                what: what.to_owned(),
                words,
            },
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                ArtifactError::Unavailable {
                    host,
                    status: code,
                    words,
                    retry_after,
                }
            }
            _ if status.is_server_error() => ArtifactError::Unavailable {
                host,
                status: code,
                words,
                retry_after,
            },
            _ => ArtifactError::Rejected {
                host,
                status: code,
                words,
            },
        })
    }

    /// What a registry says in an error: the first code and message, if it is one of the
    /// distribution specification.
    async fn words(mut self) -> String {
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<Words>,
        }
        #[derive(Deserialize)]
        struct Words {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let mut body = Vec::new();
        while let Ok(Some(bytes)) = self.next().await {
            body.extend_from_slice(&bytes);
            if body.len() > MOST_ERROR {
                return String::new();
            }
        }
        let errors = serde_json::from_slice(&body).map(|errors: Errors| errors.errors);
        let first = errors.ok().and_then(|errors| errors.into_iter().next());
        match first {
            Some(Words { code, message }) => format!(": {}", quoted(&format!("{code} {message}"))),
            None => String::new(),
        }
    }
}

/// How long a server asks to wait: seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_in_seconds_or_until_a_date() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        let past = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(past), Some(Duration::ZERO));
        let hour = SystemTime::now() + Duration::from_secs(3600);
        let wait = retry_after(&httpdate::fmt_http_date(hour)).unwrap();
        assert!((3000..=3600).contains(&wait.as_secs()), "{wait:?}");
        for wrong in ["", "-1", "soon", "1e9"] {
            assert_eq!(retry_after(wrong), None, "{wrong}");
        }
    }
}
