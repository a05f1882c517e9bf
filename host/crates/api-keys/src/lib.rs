//! API keys: who may ask for predictions, and how much.
//!
//! A key is a secret that a client sends. The server knows its SHA-256 alone, from a file
//! ([`Entry`]); a key has enough random digits that nothing slower than SHA-256 is needed. A key
//! has a name, which metrics and the log show instead of it, a weight in the queue, and quotas.
//!
//! A quota of `n` a minute is a bucket of `n` that fills evenly (GCRA): whoever has been silent
//! for a minute may use all of it at once. Each server counts for itself.
//!
//! This crate must not know HTTP, or where files come from.

mod entry;
mod metrics;
mod quota;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use predictor::{Client, Digest};
use prometheus::Registry;

pub use entry::{Entry, EntryError, KeyName, KeyNameError, MAX_KEYS, entries};
pub use quota::{Exceeded, Standing, Unit};

use metrics::{KeyMetrics, Metrics};
use quota::Quota;

/// All keys of a server.
pub struct ApiKeys {
    keys: ArcSwap<HashMap<Digest, Arc<Key>>>,
    metrics: Metrics,
}

/// A key and what is left of its quotas.
pub struct Key {
    entry: Entry,
    client: Client,
    requests: Option<Arc<Quota>>,
    tokens: Option<Arc<Quota>>,
    metrics: KeyMetrics,
}

/// Why a request is not allowed anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It has no key.
    #[error("no API key was sent")]
    Missing,
    /// No key is like this.
    #[error("the API key is wrong")]
    Unknown,
    /// The key of this name may not be used any more.
    #[error("the API key `{0}` was revoked")]
    Revoked(KeyName),
}

impl ApiKeys {
    /// The keys of `entries`.
    ///
    /// # Errors
    ///
    /// If the name of a metric is taken.
    pub fn new(entries: Vec<Entry>, registry: &Registry) -> prometheus::Result<Self> {
        let keys = Self {
            keys: ArcSwap::default(),
            metrics: Metrics::new(registry)?,
        };
        keys.replace(entries);
        Ok(keys)
    }

    /// Replaces all keys. What is left of a quota stays for a name whose quota is the same.
    pub fn replace(&self, entries: Vec<Entry>) {
        let before = self.keys.load_full();
        let by_name: HashMap<_, _> = before.values().map(|key| (&key.entry.name, key)).collect();
        let key = |entry: Entry| {
            let same = by_name.get(&entry.name);
            let kept = |quota: fn(&Key) -> &Option<Arc<Quota>>, limit: Option<_>, unit| {
                let kept = same.and_then(|key| quota(key).clone());
                let kept = kept.filter(|quota| Some(quota.limit()) == limit);
                kept.or_else(|| limit.map(|limit| Arc::new(Quota::new(limit, unit))))
            };
            let requests = kept(
                |key| &key.requests,
                entry.requests_per_minute,
                Unit::Requests,
            );
            let tokens = kept(|key| &key.tokens, entry.tokens_per_minute, Unit::Tokens);
            let key = Key {
                client: Client::of_key(entry.name.as_str(), entry.priority),
                requests,
                tokens,
                metrics: self.metrics.of_key(entry.name.as_str()),
                entry,
            };
            (key.entry.sha256, Arc::new(key))
        };
        let after: HashMap<_, _> = entries.into_iter().map(key).collect();
        for name in by_name.keys() {
            if !after.values().any(|key| key.entry.name == **name) {
                self.metrics.forget(name.as_str());
            }
        }
        self.keys.store(Arc::new(after));
    }

    /// Finds the key that a client has sent. How long that takes says nothing about any key,
    /// because digests are compared.
    ///
    /// # Errors
    ///
    /// If it is none of these keys, or was revoked.
    pub fn find(&self, secret: Option<&[u8]>) -> Result<Arc<Key>, Denied> {
        let found = match secret {
            None => Err(Denied::Missing),
            Some(secret) => match self.keys.load().get(&Digest::of(secret)) {
                None => Err(Denied::Unknown),
                Some(key) if key.entry.revoked => Err(Denied::Revoked(key.entry.name.clone())),
                Some(key) => Ok(Arc::clone(key)),
            },
        };
        found.inspect_err(|denied| self.metrics.deny(denied))
    }
}

impl Key {
    /// What people call it.
    pub fn name(&self) -> &KeyName {
        &self.entry.name
    }

    /// Its holder, for fair turns.
    pub fn client(&self) -> Client {
        self.client
    }

    /// Counts a request. Returns what is left, if there is a quota.
    ///
    /// # Errors
    ///
    /// If none is left.
    pub fn count_request(&self) -> Result<Option<Standing>, Exceeded> {
        self.metrics.requests.inc();
        self.spend(self.requests.as_deref(), 1)
    }

    /// Counts the estimated tokens of texts, if there are any. Returns what is left, if there is a
    /// quota.
    ///
    /// # Errors
    ///
    /// If there are not as many left; then none is taken.
    pub fn count_tokens(&self, tokens: u64) -> Result<Option<Standing>, Exceeded> {
        let left = self.spend(self.tokens.as_deref(), tokens)?;
        self.metrics.tokens.inc_by(tokens);
        Ok(left)
    }

    /// The most tokens that [`Self::count_tokens`] takes at once.
    pub fn most_tokens(&self) -> u64 {
        let quota = self.tokens.as_deref();
        quota.map_or(u64::MAX, |quota| quota.limit().get().into())
    }

    fn spend(&self, quota: Option<&Quota>, amount: u64) -> Result<Option<Standing>, Exceeded> {
        let Some(quota) = quota.filter(|_| amount > 0) else {
            return Ok(None);
        };
        let spent = quota.spend(amount);
        let spent = spent.inspect_err(|exceeded| self.metrics.refuse(exceeded.unit));
        spent.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use predictor::Weight;

    use super::*;

    const FILE: &str = r#"
        [[key]]
        name = "web"
        sha256 = "@web"
        requests-per-minute = 2

        [[key]]
        name = "batch"
        sha256 = "@batch"
        tokens-per-minute = 100
        priority = "low"

        [[key]]
        name = "old"
        sha256 = "@old"
        revoked = true
    "#;

    /// `FILE` with the digests of secrets that are like the names.
    fn file() -> String {
        ["web", "batch", "old"]
            .iter()
            .fold(FILE.to_owned(), |file, name| {
                file.replace(
                    &format!("@{name}"),
                    &Digest::of(name.as_bytes()).to_string(),
                )
            })
    }

    fn keys(file: &str) -> (ApiKeys, Registry) {
        let registry = Registry::new();
        let keys = ApiKeys::new(entries(file.as_bytes()).unwrap(), &registry).unwrap();
        (keys, registry)
    }

    /// The value of a counter with this label.
    fn count(registry: &Registry, name: &str, label: &str) -> Option<f64> {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == name)?;
        let metric = family.get_metric().iter().find(|metric| {
            let mut labels = metric.get_label().iter();
            labels.any(|pair| pair.value() == label)
        })?;
        Some(metric.get_counter().get_value())
    }

    #[test]
    fn a_key_is_found_by_its_secret() {
        let (keys, registry) = keys(&file());
        let web = keys.find(Some(b"web")).unwrap();
        assert_eq!(web.name().as_str(), "web");
        assert_eq!(web.client().weight(), Weight::Normal);
        let batch = keys.find(Some(b"batch")).unwrap();
        assert_eq!(batch.client().weight(), Weight::Low);
        assert_ne!(web.client(), batch.client());
        for (secret, denied) in [
            (None, Denied::Missing),
            (Some(&b""[..]), Denied::Unknown),
            (Some(b"Web"), Denied::Unknown),
            (Some(b"old"), Denied::Revoked("old".parse().unwrap())),
        ] {
            assert_eq!(keys.find(secret).err(), Some(denied));
        }
        let denied = |reason| count(&registry, "fastsentiment_api_key_denied_total", reason);
        assert_eq!(denied("missing"), Some(1.0));
        assert_eq!(denied("unknown"), Some(2.0));
        assert_eq!(denied("revoked"), Some(1.0));
    }

    #[test]
    fn a_quota_is_used_up_and_counted() {
        let (keys, registry) = keys(&file());
        let web = keys.find(Some(b"web")).unwrap();
        let left = web.count_request().unwrap().unwrap();
        assert_eq!((left.unit, left.limit, left.left), (Unit::Requests, 2, 1));
        assert_eq!(web.count_request().unwrap().unwrap().left, 0);
        let exceeded = web.count_request().unwrap_err();
        assert_eq!((exceeded.unit, exceeded.limit), (Unit::Requests, 2));
        // One comes back every half minute.
        let wait = exceeded.retry_after.unwrap().as_secs();
        assert!((1..=30).contains(&wait), "{wait}");
        // There is no quota of tokens.
        assert_eq!(web.count_tokens(1 << 40), Ok(None));
        let requests = count(&registry, "fastsentiment_api_key_requests_total", "web");
        assert_eq!(requests, Some(3.0));
        let refused = count(&registry, "fastsentiment_api_key_refused_total", "web");
        assert_eq!(refused, Some(1.0));
    }

    #[test]
    fn more_tokens_than_a_quota_has_are_never_allowed() {
        let (keys, registry) = keys(&file());
        let batch = keys.find(Some(b"batch")).unwrap();
        assert_eq!(batch.most_tokens(), 100);
        let never = batch.count_tokens(101).unwrap_err();
        assert_eq!((never.retry_after, never.limit), (None, 100));
        // It has cost nothing.
        assert_eq!(batch.count_tokens(100).unwrap().unwrap().left, 0);
        assert_eq!(batch.count_tokens(0), Ok(None));
        let tokens = count(&registry, "fastsentiment_api_key_tokens_total", "batch");
        assert_eq!(tokens, Some(100.0));
    }

    #[test]
    fn what_is_left_stays_when_the_file_is_read_again() {
        let (keys, registry) = keys(&file());
        let spent = || {
            let web = keys.find(Some(b"web")).unwrap();
            std::iter::from_fn(|| web.count_request().ok()).count()
        };
        assert_eq!(spent(), 2);
        // Another key under the same name, as when a key is renewed.
        let renewed = file().replace(&Digest::of(b"batch").to_string(), &"0".repeat(64));
        keys.replace(entries(renewed.as_bytes()).unwrap());
        assert_eq!(spent(), 0);
        assert_eq!(keys.find(Some(b"batch")).err(), Some(Denied::Unknown));
        let wider = renewed.replace("requests-per-minute = 2", "requests-per-minute = 3");
        keys.replace(entries(wider.as_bytes()).unwrap());
        assert_eq!(spent(), 3);
        let of_web = || count(&registry, "fastsentiment_api_key_requests_total", "web");
        assert!(of_web().is_some());
        keys.replace(entries(wider.replace("\"web\"", "\"shop\"").as_bytes()).unwrap());
        assert_eq!(of_web(), None);
    }
}
