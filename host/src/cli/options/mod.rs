//! The options of everything that is loaded, and the [`Config`] they become.

mod cache;
mod guests;
mod requests;

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use clap::Args;
use fastsentiment::app::Config;
use sandbox::{CompileLimits, Compiler};

use super::exit::UsageError;
use super::memory;
use super::values::{AT_LEAST_ONE, AT_LEAST_ONE_32, path_or_none, setting, source, whole};
use cache::CacheOptions;
use guests::{GuestLimits, TrustOptions};
use requests::RequestLimits;
use revisions::{ConfiguredValues, Parts, Source};

/// What to load, and within which limits. Each option can also be set in the environment
/// and in the configuration file.
#[derive(Args)]
pub(super) struct LoadOptions {
    #[command(flatten)]
    files: FilePaths,

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

/// The files that a server loads.
#[derive(Args)]
#[command(next_help_heading = "Model and guest")]
struct FilePaths {
    /// Model directory [default: model/default beside the binary, or else in the current
    /// directory]
    ///
    /// It holds config.json, tokenizer.json and model.onnx, as Hugging Face Optimum
    /// writes them. For `serve`, it may be in a registry, as with --guest.
    #[arg(long, env = "FASTSENTIMENT_MODEL", value_name = "DIR", value_parser = source)]
    model: Option<Source>,

    /// Guest component [default: `fastsentiment_guest.wasm` beside the binary]
    ///
    /// For `serve`, it may be in a registry (`oci://...`), by tag or by digest. It is kept in
    /// --state, and what a tag stands for is followed (--oci-poll).
    #[arg(long, env = "FASTSENTIMENT_GUEST", value_name = "FILE", value_parser = source)]
    guest: Option<Source>,

    /// Configuration of the guest: a file in TOML, with strings, numbers and booleans
    /// [default: none]
    ///
    /// Guests read it through `wasi:config/store`. It has at most 16 KiB, and is a part of the
    /// version. Values of keys that contain `secret`, `password`, `credential` or `api_key` are
    /// not shown.
    #[arg(
        long,
        env = "FASTSENTIMENT_GUEST_CONFIG",
        value_name = "FILE",
        value_parser = path_or_none()
    )]
    guest_config: Option<PathBuf>,

    /// One value of the guest's configuration; may be given several times [default: none]
    ///
    /// It comes before that of --guest-config. The variable takes one on each line. Other users
    /// can see command lines: secrets belong into the file.
    #[arg(
        long,
        env = "FASTSENTIMENT_SET",
        value_name = "KEY=VALUE",
        value_parser = setting,
        value_delimiter = '\n'
    )]
    set: Vec<(String, String)>,

    /// What becomes of texts that are too long for the model: truncate, refuse, window or
    /// window-max [default: truncate]
    ///
    /// With `window`, a text is scored in overlapping windows, up to eight: each label has the
    /// mean of its scores, or, with `window-max`, the largest. Texts that are longer still are
    /// refused. It is short for `--set long-texts=...`, which guests read that are built on the
    /// default guest's library.
    #[arg(
        long,
        env = "FASTSENTIMENT_LONG_TEXTS",
        value_name = "HOW",
        value_parser = ["truncate", "refuse", "window", "window-max"],
        hide_possible_values = true,
        hide_short_help = true
    )]
    long_texts: Option<String>,

    /// ONNX Runtime library, version 1.24 or newer [default: the one beside the binary]
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,

    /// Directory for compiled guests; empty to keep none [default: fastsentiment in the
    /// user's cache directory]
    ///
    /// Without one, the guest is compiled at every start. Nobody but this user and root
    /// may be able to write to the directory, or to replace it.
    #[arg(long, env = "FASTSENTIMENT_ARTIFACTS", value_name = "DIR", value_parser = path_or_none())]
    artifacts: Option<PathBuf>,
}

/// Worker threads, the queue and batches.
#[derive(Args)]
#[command(next_help_heading = "Workers and batching")]
struct WorkOptions {
    /// Number of threads that run guests [default: one per CPU core available to the
    /// process]
    #[arg(
        long,
        env = "FASTSENTIMENT_WORKERS",
        value_name = "N",
        value_parser = whole::<NonZeroUsize>(AT_LEAST_ONE)
    )]
    workers: Option<NonZeroUsize>,

    /// Number of threads for one inference [default: 1, or one per worker while nothing else
    /// is running and the model is large enough to gain from it]
    #[arg(
        long,
        env = "FASTSENTIMENT_INTRA_THREADS",
        value_name = "N",
        value_parser = whole::<NonZeroUsize>(AT_LEAST_ONE),
        hide_short_help = true
    )]
    intra_threads: Option<NonZeroUsize>,

    /// How many tokens, as estimated, may wait in the queue
    ///
    /// Requests beyond that are rejected with status 503.
    #[arg(
        long,
        env = "FASTSENTIMENT_QUEUE_TOKENS",
        value_name = "TOKENS",
        default_value = "16384",
        value_parser = whole::<NonZeroU32>(AT_LEAST_ONE_32),
        hide_short_help = true
    )]
    queue_tokens: NonZeroU32,

    /// Maximum tokens in a batch, as estimated, including padding [default: 256 if batches
    /// of short texts prove faster at startup, otherwise 1]
    ///
    /// 1 disables batching.
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
    /// The guest and the model, if one of them is in a registry.
    pub(super) fn artifacts_of_registries(&self) -> Option<Parts> {
        let of = |source: &Option<Source>| match source {
            Some(Source::Artifact(reference)) => Some(Source::Artifact(reference.clone())),
            // A path is what is configured.
            _ => None,
        };
        let parts = Parts {
            guest: of(&self.files.guest),
            model: of(&self.files.model),
            configuration: None,
        };
        (parts != Parts::default()).then_some(parts)
    }

    /// The configuration of a command that has no registry at hand.
    pub(super) fn resolve_here(&self) -> anyhow::Result<Config> {
        if self.artifacts_of_registries().is_some() {
            let why = "only `serve` takes guests and models from registries: pull them first, for \
                       example with `oras pull`";
            return Err(UsageError(why.to_owned()).into());
        }
        self.resolve()
    }

    /// The configuration, with defaults for what is not set.
    pub(super) fn resolve(&self) -> anyhow::Result<Config> {
        Ok(Config {
            cache: self.cache()?,
            ..self.without_cache()?
        })
    }

    /// Whether there is a model: one was chosen, or the default one exists.
    pub(super) fn has_model(&self, config: &Config) -> bool {
        self.files.model.is_some() || config.model.is_dir()
    }

    /// The options of the cache.
    pub(super) fn cache(&self) -> anyhow::Result<::cache::Options> {
        self.cache.resolve()
    }

    /// The directory of compiled guests, if there is one.
    pub(super) fn artifacts(&self) -> Option<PathBuf> {
        match self.files.artifacts.clone() {
            Some(dir) => non_empty(dir),
            None => dirs::cache_dir().map(|dir| dir.join("fastsentiment")),
        }
    }

    /// The configuration without a cache, whose options can still be invalid once they are
    /// parsed.
    pub(super) fn without_cache(&self) -> anyhow::Result<Config> {
        let (files, work) = (&self.files, &self.work);
        let guest = match &files.guest {
            Some(Source::Path(guest)) => guest.clone(),
            Some(Source::Artifact(_)) | None => guest_beside_binary()?,
        };
        let compile = CompileLimits::default();
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let model = match &files.model {
            Some(Source::Path(model)) => model.clone(),
            Some(Source::Artifact(_)) | None => default_model()?,
        };
        Ok(Config {
            model: model.clone(),
            guest: guest.clone(),
            onnxruntime: files.onnxruntime.clone(),
            artifacts: self.artifacts(),
            artifacts_chosen: files.artifacts.is_some(),
            shipped_artifacts: beside_binary()?.join("artifacts"),
            compiler: Compiler::child(
                own_program()?,
                CompileLimits {
                    component: self.guests.component(),
                    memory: memory::compiler_limit(compile.memory),
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
                model,
                configuration: ConfiguredValues {
                    file: files.guest_config.clone().and_then(non_empty),
                    set: files.values()?,
                },
                keep: self.trust.keep(),
                keep_models: self.trust.keep_models(),
                max_bytes: self.guests.component(),
                max_model_bytes: self.guests.model(),
                // Only servers set these.
                fallback: None,
                state: None,
                watch: false,
                rollout: None,
            },
            cache: ::cache::Options::default(),
            limits: self.requests.resolve(work.queue_tokens.get()),
        })
    }
}

impl FilePaths {
    /// The single values of the guest's configuration.
    fn values(&self) -> Result<Vec<(String, String)>, UsageError> {
        let mut values = self.set.clone();
        if let Some(how) = &self.long_texts {
            if values.iter().any(|(key, _)| key == LONG_TEXTS) {
                let why = "--long-texts and `--set long-texts=...` mean the same value: leave one \
                           out";
                return Err(UsageError(why.to_owned()));
            }
            values.push((LONG_TEXTS.to_owned(), how.clone()));
        }
        Ok(values)
    }
}

/// The key of the guest's configuration that --long-texts is short for.
const LONG_TEXTS: &str = "long-texts";

/// The path of this binary, to run it again: on Linux the file it was started from, even
/// if an upgrade has replaced that since.
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

/// A path, unless it is empty.
pub(super) fn non_empty(path: PathBuf) -> Option<PathBuf> {
    Some(path).filter(|path| !path.as_os_str().is_empty())
}

/// The directory of this binary.
pub(super) fn beside_binary() -> std::io::Result<PathBuf> {
    let binary = std::env::current_exe()?;
    Ok(binary.parent().map(Path::to_owned).unwrap_or_default())
}
