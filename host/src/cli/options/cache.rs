//! Options of the prediction cache.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use cache::{Address, RedisOptions, Secret};
use clap::Args;

use crate::cli::exit::UsageError;
use crate::cli::values::{path_or_none, whole};

/// The longest time to live, in seconds: ten years. Redis and the memory cache reject
/// one of a thousand years or more.
const MAX_TTL_S: u64 = 315_360_000;

/// Where predictions are cached, and for how long.
#[derive(Args)]
#[command(next_help_heading = "Cache")]
pub(in crate::cli) struct CacheOptions {
    /// Approximate memory for cached predictions, in MiB; 0 disables the memory cache
    #[arg(
        long,
        env = "FASTSENTIMENT_CACHE_MIB",
        value_name = "MIB",
        default_value_t = 64,
        value_parser = whole::<u32>(0..=u32::MAX.into())
    )]
    cache_mib: u32,

    /// How long a prediction stays in the memory cache, in seconds
    #[arg(
        long,
        env = "FASTSENTIMENT_CACHE_TTL_S",
        value_name = "S",
        default_value_t = 86_400,
        value_parser = whole::<u64>(1..=MAX_TTL_S),
        hide_short_help = true
    )]
    cache_ttl_s: u64,

    /// Redis cache shared by several servers [default: none]
    ///
    /// `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://...` for TLS,
    /// `unix:///PATH`; for Redis Cluster, `redis-cluster://HOST[:PORT],HOST[:PORT]...` and
    /// `rediss-cluster://...`. While Redis is unavailable, every text is computed.
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    redis_url: Option<String>,

    /// File with the password for Redis, instead of one in the URL [default: none]
    ///
    /// The file has one line, the password, without percent-encoding. It is read when the
    /// server starts.
    #[arg(
        long,
        env = "FASTSENTIMENT_REDIS_PASSWORD_FILE",
        value_name = "FILE",
        value_parser = path_or_none(),
        hide_short_help = true
    )]
    redis_password_file: Option<PathBuf>,

    /// How long a prediction stays in Redis, in seconds
    #[arg(
        long,
        env = "FASTSENTIMENT_REDIS_TTL_S",
        value_name = "S",
        default_value_t = 604_800,
        value_parser = whole::<u64>(1..=MAX_TTL_S),
        hide_short_help = true
    )]
    redis_ttl_s: u64,

    /// Prefix of the keys in Redis
    #[arg(
        long,
        env = "FASTSENTIMENT_REDIS_PREFIX",
        value_name = "TEXT",
        default_value = "fastsentiment:",
        hide_short_help = true
    )]
    redis_prefix: String,

    /// How long a request waits for Redis, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_REDIS_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 50,
        value_parser = whole::<u64>(1..=60_000),
        hide_short_help = true
    )]
    redis_timeout_ms: u64,

    /// PEM file with the certificate authorities to trust for Redis [default: the system's]
    #[arg(
        long,
        env = "FASTSENTIMENT_REDIS_CA",
        value_name = "FILE",
        value_parser = path_or_none(),
        hide_short_help = true
    )]
    redis_ca: Option<PathBuf>,

    /// File with a key that marks what this server writes to Redis [default: none]
    ///
    /// Servers that share a Redis need the same key, of 32 to 1024 bytes, such as
    /// `openssl rand -hex 32` prints. With it, answers that anybody else wrote are not used,
    /// and the names of the entries do not show which texts were asked. It is read when the
    /// server starts.
    #[arg(
        long,
        env = "FASTSENTIMENT_CACHE_KEY_FILE",
        value_name = "FILE",
        value_parser = path_or_none(),
        hide_short_help = true
    )]
    cache_key_file: Option<PathBuf>,
}

impl CacheOptions {
    /// Builds the cache's options, and reads the certificates.
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
        let Some(url) = non_empty(self.redis_url.as_ref()) else {
            return Ok(None);
        };
        let password = non_empty(self.redis_password_file.as_ref()).map(|path| {
            read_password(path).with_context(|| format!("--redis-password-file {}", path.display()))
        });
        let certificates = non_empty(self.redis_ca.as_ref()).map(|path| {
            std::fs::read(path)
                .with_context(|| format!("--redis-ca: cannot read {}", path.display()))
        });
        let secret = non_empty(self.cache_key_file.as_ref()).map(|path| {
            read_secret(path).with_context(|| format!("--cache-key-file {}", path.display()))
        });
        Ok(Some(RedisOptions {
            address: Address::parse(
                url,
                password.transpose()?.as_deref(),
                certificates.transpose()?,
            )
            .map_err(|error| UsageError(format!("--redis-url: {error}")))?,
            prefix: self.redis_prefix.clone(),
            ttl: Duration::from_secs(self.redis_ttl_s),
            timeout: Duration::from_millis(self.redis_timeout_ms),
            secret: secret.transpose()?,
        }))
    }
}

/// Reads a password. A file that is too large for one is not read in full.
fn read_password(path: &Path) -> anyhow::Result<String> {
    const MAX_BYTES: usize = 1024;
    let mut text = String::new();
    let mut start = File::open(path)?.take(MAX_BYTES as u64 + 1);
    start.read_to_string(&mut text)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    anyhow::ensure!(
        !password.is_empty() && text.len() <= MAX_BYTES && !password.contains(['\n', '\r']),
        "the file must have one line, the password, of at most {MAX_BYTES} bytes"
    );
    Ok(password.to_owned())
}

/// Reads a key. A file that is too large for one is not read in full.
fn read_secret(path: &Path) -> anyhow::Result<Secret> {
    // With white space around it.
    const MAX_BYTES: usize = 2 * Secret::MAX_BYTES;
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_BYTES as u64)
        .read_to_end(&mut bytes)?;
    Ok(Secret::new(&bytes)?)
}

/// An option's value, unless it is empty: an environment file may set a variable to
/// nothing.
fn non_empty<T: AsRef<OsStr>>(option: Option<&T>) -> Option<&T> {
    option.filter(|value| !value.as_ref().is_empty())
}
