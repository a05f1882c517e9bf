//! The options that say what to load, and how they become a configuration.

use std::ffi::OsStr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use fastsentiment::app::Config;
use fastsentiment::cache::{self, Address, RedisOptions};
use fastsentiment::guest::{CompileLimits, Compiler};
use fastsentiment::rollout;
use fastsentiment::service::Limits;
use fastsentiment::versions;

use super::memory;

/// What to load, and within which limits. Each option can also be given in
/// the environment.
#[derive(Args)]
pub(super) struct LoadOptions {
    /// The model directory: config.json, tokenizer.json and model.onnx, as
    /// Hugging Face Optimum writes them [default: model/default, beside the
    /// binary or else in the current directory]
    #[arg(long, env = "FASTSENTIMENT_MODEL", value_name = "DIR")]
    model: Option<PathBuf>,

    /// The guest component [default: `fastsentiment_guest.wasm` beside the
    /// binary]
    #[arg(long, env = "FASTSENTIMENT_GUEST", value_name = "FILE")]
    guest: Option<PathBuf>,

    /// The ONNX Runtime library, 1.24 or newer [default: the one beside the
    /// binary]
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,

    /// Where compiled guests are kept; an empty value keeps none [default:
    /// fastsentiment in the user's cache directory]
    #[arg(long, env = "FASTSENTIMENT_ARTIFACTS", value_name = "DIR", value_parser = path_or_none())]
    artifacts: Option<PathBuf>,

    /// How many threads call guests [default: one for each core that this
    /// process may use]
    #[arg(long, env = "FASTSENTIMENT_WORKERS", value_name = "N")]
    workers: Option<NonZeroUsize>,

    /// How many threads one inference uses
    #[arg(
        long,
        env = "FASTSENTIMENT_INTRA_THREADS",
        value_name = "N",
        default_value = "1"
    )]
    intra_threads: NonZeroUsize,

    /// The largest guest component, in MiB
    #[arg(
        long,
        env = "FASTSENTIMENT_GUEST_MAX_MIB",
        value_name = "MIB",
        default_value_t = 64,
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    guest_max_mib: u16,

    /// The largest memory of a guest, in MiB
    #[arg(
        long,
        env = "FASTSENTIMENT_GUEST_MEMORY_MIB",
        value_name = "MIB",
        default_value_t = 512,
        value_parser = clap::value_parser!(u16).range(1..=4096)
    )]
    guest_memory_mib: u16,

    /// The longest that one call of a guest may take, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_GUEST_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    guest_timeout_ms: u64,

    /// The longest that preparing a guest may take, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_PREPARE_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 60_000,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    prepare_timeout_ms: u64,

    /// How many tokens, as estimated, may wait for a worker; requests beyond
    /// that are refused with 503
    #[arg(
        long,
        env = "FASTSENTIMENT_QUEUE_TOKENS",
        value_name = "TOKENS",
        default_value = "16384"
    )]
    queue_tokens: NonZeroU32,

    /// The most tokens in a batch, padding included, as estimated; 1 scores
    /// each text by itself [default: 256 if scoring short texts together
    /// proves quicker at the start, and 1 if not]
    #[arg(long, env = "FASTSENTIMENT_BATCH_TOKENS", value_name = "TOKENS")]
    batch_tokens: Option<NonZeroU32>,

    /// How many versions of the guest stay ready to be made live, the live one
    /// included; those in use longest ago are forgotten
    #[arg(
        long,
        env = "FASTSENTIMENT_KEEP_VERSIONS",
        value_name = "N",
        default_value = "5"
    )]
    keep_versions: NonZeroUsize,

    /// How long a version that was made live is on probation, in seconds: while
    /// it is, a text that it fails on is answered by the version before it
    #[arg(
        long,
        env = "FASTSENTIMENT_PROBATION_S",
        value_name = "S",
        default_value_t = 300
    )]
    probation_s: u64,

    /// How many calls of a version on probation or on trial may fail, where a
    /// time-out counts as three; after one more it is taken out of use, and the
    /// version before it is live again
    #[arg(
        long,
        env = "FASTSENTIMENT_PROBATION_FAILURES",
        value_name = "N",
        default_value_t = 4
    )]
    probation_failures: u32,

    /// About how much memory kept answers may take, in MiB; 0 keeps none in
    /// this process
    #[arg(
        long,
        env = "FASTSENTIMENT_CACHE_MIB",
        value_name = "MIB",
        default_value_t = 64
    )]
    cache_mib: u32,

    /// How long an answer is kept in this process, in seconds
    #[arg(
        long,
        env = "FASTSENTIMENT_CACHE_TTL_S",
        value_name = "S",
        default_value_t = 86_400,
        value_parser = clap::value_parser!(u64).range(1..=MAX_TTL_S)
    )]
    cache_ttl_s: u64,

    /// A Redis that keeps answers for several servers:
    /// `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://...` for
    /// TLS, `unix:///PATH`, or for Redis Cluster
    /// `redis-cluster://HOST[:PORT],HOST[:PORT]...` and `rediss-cluster://...`.
    /// While it can not be used, texts are computed [default: none]
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    redis_url: Option<String>,

    /// How long an answer is kept in Redis, in seconds
    #[arg(
        long,
        env = "FASTSENTIMENT_REDIS_TTL_S",
        value_name = "S",
        default_value_t = 604_800,
        value_parser = clap::value_parser!(u64).range(1..=MAX_TTL_S)
    )]
    redis_ttl_s: u64,

    /// What the names of the keys in Redis begin with
    #[arg(
        long,
        env = "FASTSENTIMENT_REDIS_PREFIX",
        value_name = "TEXT",
        default_value = "fastsentiment:"
    )]
    redis_prefix: String,

    /// The longest that a request waits for Redis, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_REDIS_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 50,
        value_parser = clap::value_parser!(u64).range(1..=60_000)
    )]
    redis_timeout_ms: u64,

    /// The certificates, in PEM, of the authorities that Redis's certificate
    /// has to be from [default: the system's]
    #[arg(long, env = "FASTSENTIMENT_REDIS_CA", value_name = "FILE")]
    redis_ca: Option<PathBuf>,

    /// The most texts in one request
    #[arg(
        long,
        env = "FASTSENTIMENT_MAX_TEXTS",
        value_name = "N",
        default_value = "1024"
    )]
    max_texts: NonZeroUsize,

    /// The longest text, in bytes of UTF-8
    #[arg(
        long,
        env = "FASTSENTIMENT_MAX_TEXT_BYTES",
        value_name = "BYTES",
        default_value = "131072"
    )]
    max_text_bytes: NonZeroUsize,

    /// The longest that a request may wait for its answer, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_DEADLINE_MS",
        value_name = "MS",
        default_value_t = 30_000,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    deadline_ms: u64,
}

/// A path that may be empty, which paths usually may not.
pub(super) fn path_or_none() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// The longest time to live, in seconds: ten years, as good as for ever. Redis
/// and the cache in memory refuse one that is a thousand years or more.
const MAX_TTL_S: u64 = 315_360_000;

impl LoadOptions {
    /// Fills in what was left out.
    pub(super) fn resolve(self) -> anyhow::Result<Config> {
        let beside = std::env::current_exe()?
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default();
        let redis = self.redis()?;
        let guest = self.guest;
        let guest = guest.unwrap_or_else(|| beside.join("fastsentiment_guest.wasm"));
        let compile = CompileLimits::default();
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Ok(Config {
            model: self.model.unwrap_or_else(|| default_model(&beside)),
            guest: guest.clone(),
            onnxruntime: self.onnxruntime,
            artifacts: match self.artifacts {
                Some(dir) => Some(dir).filter(|dir| !dir.as_os_str().is_empty()),
                None => dirs::cache_dir().map(|dir| dir.join("fastsentiment")),
            },
            compiler: Compiler::child(
                own_program()?,
                CompileLimits {
                    component: usize::from(self.guest_max_mib) << 20,
                    memory: memory::for_the_compiler(compile.memory),
                    ..compile
                },
            ),
            workers: self.workers.unwrap_or_else(cores),
            threads: self.intra_threads,
            guest_memory: usize::from(self.guest_memory_mib) << 20,
            guest_time: Duration::from_millis(self.guest_timeout_ms),
            prepare_time: Duration::from_millis(self.prepare_timeout_ms),
            queue_tokens: self.queue_tokens.get().into(),
            batch_tokens: self.batch_tokens.map(NonZeroU32::get),
            rollout: rollout::Options {
                probation: Duration::from_secs(self.probation_s),
                failures: self.probation_failures,
            },
            versions: versions::Options {
                guest,
                keep: self.keep_versions.get(),
                max_bytes: usize::from(self.guest_max_mib) << 20,
                // For servers only: they say so.
                state: None,
                watch: false,
            },
            cache: cache::Options {
                memory_bytes: u64::from(self.cache_mib) << 20,
                memory_ttl: Duration::from_secs(self.cache_ttl_s),
                redis,
                settings: Vec::new(),
            },
            limits: Limits {
                max_texts: self.max_texts.get(),
                max_text_bytes: self.max_text_bytes.get(),
                deadline: Duration::from_millis(self.deadline_ms),
                bulk_chunks: bulk_chunks(self.queue_tokens.get()),
            },
        })
    }

    fn redis(&self) -> anyhow::Result<Option<RedisOptions>> {
        let Some(url) = given(self.redis_url.as_ref()) else {
            return Ok(None);
        };
        let certificates = given(self.redis_ca.as_ref()).map(|path| {
            std::fs::read(path).with_context(|| format!("can not read {}", path.display()))
        });
        Ok(Some(RedisOptions {
            address: Address::parse(url, certificates.transpose()?)?,
            prefix: self.redis_prefix.clone(),
            ttl: Duration::from_secs(self.redis_ttl_s),
            timeout: Duration::from_millis(self.redis_timeout_ms),
        }))
    }
}

/// How many chunks of bulk requests share the queue with other requests: of its
/// tokens, 2,048 count for each at most, and half are for the others.
fn bulk_chunks(queue_tokens: u32) -> usize {
    (queue_tokens / (2 * 2048)).clamp(1, 16) as usize
}

/// This binary, to be run again: as it was started, also if an upgrade has
/// replaced its file since.
fn own_program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe()
    }
}

/// An option that is given and not empty, as one is in a file of settings that
/// leaves it out.
fn given<T: AsRef<OsStr>>(option: Option<&T>) -> Option<&T> {
    option.filter(|value| !value.as_ref().is_empty())
}

fn default_model(beside: &Path) -> PathBuf {
    let relative = Path::new("model/default");
    let installed = beside.join(relative);
    if installed.is_dir() {
        installed
    } else {
        relative.to_owned()
    }
}
