//! What the tests of several crates share.

#![allow(
    clippy::expect_used,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on fails"
)]

mod authority;
pub mod exchange;
pub mod registry;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use authority::Authority;
use predictor::{CancellationToken, PredictError, Revision, Scorer, Scores};
use serde_json::Value;

/// Longer than anything in a test takes: a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A version in name only: in a test, the layer above it answers by itself.
pub struct Named(pub Arc<Revision>);

impl Scorer for Named {
    fn revision(&self) -> &Arc<Revision> {
        &self.0
    }

    fn score(&self, _: &[String], _: &CancellationToken) -> Result<Vec<Scores>, PredictError> {
        unreachable!("nobody asks this version")
    }
}

/// An answer of a server.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: reqwest::header::HeaderMap,
    /// Its body as text.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Begins an HTTP client, which uses no proxy and trusts no authority.
///
/// A client that reqwest begins by itself needs cryptography that somebody has installed, and
/// reads the system's authorities.
#[expect(clippy::disallowed_methods, reason = "this is what others use instead")]
pub fn client() -> reqwest::ClientBuilder {
    tls::install_default();
    reqwest::Client::builder().no_proxy().tls_certs_only([])
}

/// Sends a request, and waits for the whole answer.
pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.text().await.unwrap(),
    }
}

/// Tries what fuzzing has found: all inputs of a target of `host/fuzz`.
pub fn replay(target: &str, check: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut tried = 0;
    for entry in std::fs::read_dir(corpus.join(target)).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&bytes)));
        assert!(outcome.is_ok(), "{}", path.display());
        tried += 1;
    }
    assert!(tried >= 10, "{tried} inputs of {target}");
}

/// The value of a metric in Prometheus' text format, named with its labels.
pub fn metric(text: &str, name: &str) -> Option<f64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value)
}
