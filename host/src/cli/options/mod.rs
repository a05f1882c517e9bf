//! The options that say what to load, and how they become a configuration.

mod answers;
mod guests;
mod requests;

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use clap::Args;
use fastsentiment::app::Config;
use sandbox::{CompileLimits, Compiler};

use super::memory;
use super::values::{AT_LEAST_ONE, AT_LEAST_ONE_32, path_or_none, whole};
use answers::CacheOptions;
use guests::{GuestLimits, TrustOptions};
use requests::RequestLimits;

/// What to load, and within which limits. Each option can also be given in
/// the environment and in the configuration file.
#[derive(Args)]
pub(super) struct LoadOptions {
    #[command(flatten)]
    parts: Parts,

    #[command(flatten)]
    work: WorkOptions,

    #[command(flatten)]
    cache: CacheOptions,

    #[command(flatten)]
    requests: RequestLimits,

    #[command(flatten)]
    guests: GuestLimits,

    #[command(flatten)]
    trust: TrustOptions,
}

/// What a server is made of.
#[derive(Args)]
#[command(next_help_heading = "Model and guest")]
struct Parts {
    /// The model directory [default: model/default, beside the binary or else in the
    /// current directory]
    ///
    /// It holds config.json, tokenizer.json and model.onnx, as Hugging Face Optimum
    /// writes them.
    #[arg(long, env = "FASTSENTIMENT_MODEL", value_name = "DIR")]
    model: Option<PathBuf>,

    /// The guest component [default: `fastsentiment_guest.wasm` beside the binary]
    #[arg(long, env = "FASTSENTIMENT_GUEST", value_name = "FILE")]
    guest: Option<PathBuf>,

    /// The ONNX Runtime library, 1.24 or newer [default: the one beside the binary]
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,

    /// Where compiled guests are kept; empty for nowhere [default: fastsentiment in the
    /// user's cache directory]
    ///
    /// Without it, the guest is compiled at each start. No other user may be able to
    /// write to it.
    #[arg(long, env = "FASTSENTIMENT_ARTIFACTS", value_name = "DIR", value_parser = path_or_none())]
    artifacts: Option<PathBuf>,
}

/// How texts are worked on.
#[derive(Args)]
#[command(next_help_heading = "Work")]
struct WorkOptions {
    /// How many threads call guests [default: one for each core that this process may
    /// use]
    #[arg(
        long,
        env = "FASTSENTIMENT_WORKERS",
        value_name = "N",
        value_parser = whole::<NonZeroUsize>(AT_LEAST_ONE)
    )]
    workers: Option<NonZeroUsize>,

    /// How many threads one inference uses
    #[arg(
        long,
        env = "FASTSENTIMENT_INTRA_THREADS",
        value_name = "N",
        default_value = "1",
        value_parser = whole::<NonZeroUsize>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    intra_threads: NonZeroUsize,

    /// How many tokens, as estimated, may wait for a worker
    ///
    /// Requests beyond that are refused with 503.
    #[arg(
        long,
        env = "FASTSENTIMENT_QUEUE_TOKENS",
        value_name = "TOKENS",
        default_value = "16384",
        value_parser = whole::<NonZeroU32>(AT_LEAST_ONE_32),
        hide_short_help = true
    )]
    queue_tokens: NonZeroU32,

    /// The most tokens in a batch, padding included, as estimated [default: 256 if
    /// scoring short texts together proves quicker at the start, and 1 if not]
    ///
    /// 1 scores each text by itself.
    #[arg(
        long,
        env = "FASTSENTIMENT_BATCH_TOKENS",
        value_name = "TOKENS",
        value_parser = whole::<NonZeroU32>(AT_LEAST_ONE_32),
        hide_short_help = true
    )]
    batch_tokens: Option<NonZeroU32>,
}

impl LoadOptions {
    /// Fills in what was left out.
    pub(super) fn resolve(&self) -> anyhow::Result<Config> {
        Ok(Config {
            cache: self.cache()?,
            ..self.without_cache()?
        })
    }

    /// What is kept of earlier answers.
    pub(super) fn cache(&self) -> anyhow::Result<cache::Options> {
        self.cache.resolve()
    }

    /// The same with nothing that is kept: no option of what is left can be wrong.
    pub(super) fn without_cache(&self) -> std::io::Result<Config> {
        let (parts, work) = (&self.parts, &self.work);
        let guest = match &parts.guest {
            Some(guest) => guest.clone(),
            None => guest_beside_binary()?,
        };
        let compile = CompileLimits::default();
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let model = parts.model.clone();
        Ok(Config {
            model: match model {
                Some(model) => model,
                None => default_model()?,
            },
            guest: guest.clone(),
            onnxruntime: parts.onnxruntime.clone(),
            artifacts: match parts.artifacts.clone() {
                Some(dir) => Some(dir).filter(|dir| !dir.as_os_str().is_empty()),
                None => dirs::cache_dir().map(|dir| dir.join("fastsentiment")),
            },
            shipped_artifacts: beside_binary()?.join("artifacts"),
            compiler: Compiler::child(
                own_program()?,
                CompileLimits {
                    component: self.guests.component(),
                    memory: memory::for_the_compiler(compile.memory),
                    ..compile
                },
            ),
            workers: work.workers.unwrap_or_else(cores),
            threads: work.intra_threads,
            guest_memory: self.guests.memory(),
            guest_time: self.guests.call(),
            prepare_time: self.guests.prepare(),
            queue_tokens: work.queue_tokens.get().into(),
            batch_tokens: work.batch_tokens.map(NonZeroU32::get),
            rollout: self.trust.rollout(),
            versions: revisions::Options {
                guest,
                keep: self.trust.keep(),
                max_bytes: self.guests.component(),
                // For servers only: they say so.
                fallback: None,
                state: None,
                watch: false,
            },
            cache: cache::Options::default(),
            limits: self.requests.resolve(work.queue_tokens.get()),
        })
    }
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

/// The guest that is installed with this binary.
pub(super) fn guest_beside_binary() -> std::io::Result<PathBuf> {
    Ok(beside_binary()?.join("fastsentiment_guest.wasm"))
}

fn default_model() -> std::io::Result<PathBuf> {
    let relative = Path::new("model/default");
    let installed = beside_binary()?.join(relative);
    Ok(if installed.is_dir() {
        installed
    } else {
        relative.to_owned()
    })
}

fn beside_binary() -> std::io::Result<PathBuf> {
    let binary = std::env::current_exe()?;
    Ok(binary.parent().map(Path::to_owned).unwrap_or_default())
}
