//! What a [`Registry`](crate::Registry) is made with.

use std::path::PathBuf;
use std::time::Duration;

/// Options of a [`Registry`](crate::Registry).
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of pulled artifacts. Nobody but this user may be able to write to it.
    /// It is created with the first pull.
    pub store: PathBuf,
    /// How many bytes the directory may hold.
    pub store_bytes: u64,
    /// Credentials: a file in the format of Docker's `config.json`, such as a Kubernetes
    /// image pull secret.
    pub credentials: Option<PathBuf>,
    /// Certificates (PEM) that are trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// Hosts, with their port if it is not 80, that are reached over plain HTTP, and never
    /// through a proxy.
    pub plain_http: Vec<String>,
    /// How hosts are reached over HTTPS.
    pub proxies: Proxies,
    /// Time limits.
    pub times: Times,
    /// What is done about failures that may pass.
    pub retries: Retries,
}

impl Options {
    /// The defaults, with a directory of pulled artifacts.
    pub fn new(store: PathBuf) -> Self {
        Self {
            store,
            store_bytes: 20 << 30,
            credentials: None,
            ca: None,
            plain_http: Vec::new(),
            proxies: Proxies::Environment,
            times: Times::default(),
            retries: Retries::default(),
        }
    }
}

/// Which proxy leads to hosts that are reached over HTTPS.
#[derive(Clone, Debug)]
pub enum Proxies {
    /// What `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    Environment,
    /// One for all hosts, except for those in a list as in `NO_PROXY`.
    Explicit {
        /// `http://` and a host; it may have credentials.
        proxy: String,
        /// Hosts, domains and networks, separated by commas.
        except: String,
    },
}

/// Time limits.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For a TCP connection.
    pub connect: Duration,
    /// For anything to come: a TLS handshake and the head of a response, or its next bytes.
    pub idle: Duration,
    /// For a whole pull or push.
    pub total: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            total: Duration::from_secs(30 * 60),
        }
    }
}

/// How often a request is sent again. A download that made progress counts anew.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// How often, after the first request.
    pub times: usize,
    /// The wait before the first of them; each is twice as long as the one before, with
    /// jitter.
    pub first: Duration,
    /// The longest wait, and the longest that a registry can ask for (`Retry-After`).
    pub longest: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            times: 4,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
        }
    }
}
