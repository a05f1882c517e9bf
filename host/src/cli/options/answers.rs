//! What is kept of earlier answers.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use cache::{Address, RedisOptions};
use clap::Args;

use crate::cli::exit::WrongUse;
use crate::cli::values::{path_or_none, whole};

/// The longest time to live, in seconds: ten years, as good as for ever. Redis
/// and the cache in memory refuse one that is a thousand years or more.
const MAX_TTL_S: u64 = 315_360_000;

/// Where answers are kept, and for how long.
#[derive(Args)]
#[command(next_help_heading = "Cache")]
pub(in crate::cli) struct CacheOptions {
    /// About how much memory kept answers may take, in MiB; 0 for none
    ///
    /// With 0, no answers are kept in this process.
    #[arg(
        long,
        env = "FASTSENTIMENT_CACHE_MIB",
        value_name = "MIB",
        default_value_t = 64,
        value_parser = whole::<u32>(0..=u32::MAX.into())
    )]
    cache_mib: u32,

    /// How long an answer is kept in this process, in seconds
    #[arg(
        long,
        env = "FASTSENTIMENT_CACHE_TTL_S",
        value_name = "S",
        default_value_t = 86_400,
        value_parser = whole::<u64>(1..=MAX_TTL_S),
        hide_short_help = true
    )]
    cache_ttl_s: u64,

    /// A Redis that keeps answers for several servers [default: none]
    ///
    /// `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://...` for TLS,
    /// `unix:///PATH`, or for Redis Cluster `redis-cluster://HOST[:PORT],HOST[:PORT]...`
    /// and `rediss-cluster://...`. While it can not be used, texts are computed.
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    redis_url: Option<String>,

    /// How long an answer is kept in Redis, in seconds
    #[arg(
        long,
        env = "FASTSENTIMENT_REDIS_TTL_S",
        value_name = "S",
        default_value_t = 604_800,
        value_parser = whole::<u64>(1..=MAX_TTL_S),
        hide_short_help = true
    )]
    redis_ttl_s: u64,

    /// What the names of the keys in Redis begin with
    #[arg(
        long,
        env = "FASTSENTIMENT_REDIS_PREFIX",
        value_name = "TEXT",
        default_value = "fastsentiment:",
        hide_short_help = true
    )]
    redis_prefix: String,

    /// The longest that a request waits for Redis, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_REDIS_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 50,
        value_parser = whole::<u64>(1..=60_000),
        hide_short_help = true
    )]
    redis_timeout_ms: u64,

    /// The authorities that Redis's certificate has to be from, in PEM [default: the
    /// system's]
    #[arg(
        long,
        env = "FASTSENTIMENT_REDIS_CA",
        value_name = "FILE",
        value_parser = path_or_none(),
        hide_short_help = true
    )]
    redis_ca: Option<PathBuf>,
}

impl CacheOptions {
    /// Fills in what was left out, and reads the certificates.
    pub(super) fn resolve(&self) -> anyhow::Result<cache::Options> {
        Ok(cache::Options {
            memory_bytes: u64::from(self.cache_mib) << 20,
            memory_ttl: Duration::from_secs(self.cache_ttl_s),
            redis: self.redis()?,
            // The application knows which, once it is loaded.
            engine: String::new(),
        })
    }

    fn redis(&self) -> anyhow::Result<Option<RedisOptions>> {
        let Some(url) = given(self.redis_url.as_ref()) else {
            return Ok(None);
        };
        let certificates = given(self.redis_ca.as_ref()).map(|path| {
            std::fs::read(path)
                .with_context(|| format!("--redis-ca: can not read {}", path.display()))
        });
        Ok(Some(RedisOptions {
            address: Address::parse(url, certificates.transpose()?)
                .map_err(|error| WrongUse(format!("--redis-url: {error}")))?,
            prefix: self.redis_prefix.clone(),
            ttl: Duration::from_secs(self.redis_ttl_s),
            timeout: Duration::from_millis(self.redis_timeout_ms),
        }))
    }
}

/// An option that is given and not empty, as one is in a file of settings that
/// leaves it out.
fn given<T: AsRef<OsStr>>(option: Option<&T>) -> Option<&T> {
    option.filter(|value| !value.as_ref().is_empty())
}
