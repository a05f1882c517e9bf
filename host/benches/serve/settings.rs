//! What to measure, as the environment says.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What every server is started with. Options that a later version needs to be
/// measured as its users run it go here.
const SERVER_ARGUMENTS: &[&str] = &["--log", "warn"];

/// A model directory, and what its figures are called.
pub(crate) struct NamedModel {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
}

impl NamedModel {
    /// What a figure of this model is called.
    pub(crate) fn figure(&self, what: &str) -> String {
        format!("{}_{what}", self.name)
    }

    /// What the figures of a bench begin with that is about one model, unless
    /// another one is asked for.
    pub(crate) fn within(&self, bench: &str) -> String {
        match self.name.as_str() {
            "default" => bench.to_owned(),
            name => format!("{bench}_{name}"),
        }
    }

    /// Whether a text has the same scores beside others as alone.
    pub(crate) fn batch_invariant(&self) -> bool {
        let config = std::fs::read(self.dir.join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        config["fastsentiment"]["batch_invariant"] == true
    }
}

pub(crate) struct Settings {
    /// `QUICK=1`: seconds instead of minutes, for trying things out.
    pub(crate) quick: bool,
    /// `MODELS=default,int8,fp32`: the last two are `DistilBERT` in full size, and
    /// a path is a model directory of one's own.
    pub(crate) models: Vec<NamedModel>,
    /// `SCENARIOS=misses,hits_c64`: the beginnings of their names; empty for all.
    pub(crate) scenarios: Vec<String>,
    /// `DURATION=600`: the seconds that a soak or an overload takes.
    pub(crate) duration: Option<Duration>,
    /// `ROUNDS=4`: how often everything is measured in turn.
    pub(crate) rounds: usize,
    /// What the server is started with; `SERVER_ARGUMENTS='--workers 1'` adds to it.
    pub(crate) server_arguments: Vec<String>,
    /// The ONNX Runtime library.
    pub(crate) library: PathBuf,
    /// How many cores client and server share.
    pub(crate) cores: usize,
    /// `PEERS=tei=http://127.0.0.1:8100#4242`: servers that run already, with the id of their
    /// process if it is on this machine.
    pub(crate) peers: Vec<RunningPeer>,
}

/// A server that runs already, to be held against ours.
pub(crate) struct RunningPeer {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) process: Option<u32>,
}

impl Settings {
    /// `about` are the models to measure if the environment names none.
    pub(crate) fn from_environment(about: &str) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let quick = variable("QUICK").is_some_and(|value| value != "0");
        let models = variable("MODELS").unwrap_or_else(|| {
            let about = if quick { "default" } else { about };
            about.to_owned()
        });
        let words = |text: String, separator: char| -> Vec<String> {
            let words = text.split(separator).filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        let mut server_arguments: Vec<String> = SERVER_ARGUMENTS
            .iter()
            .map(|&argument| argument.to_owned())
            .collect();
        if let Some(more) = variable("SERVER_ARGUMENTS") {
            server_arguments.extend(words(more, ' '));
        }
        Self {
            quick,
            models: words(models, ',').iter().map(|name| named(name)).collect(),
            scenarios: variable("SCENARIOS").map_or_else(Vec::new, |names| words(names, ',')),
            duration: variable("DURATION")
                .map(|seconds| Duration::from_secs_f64(seconds.parse().unwrap())),
            rounds: variable("ROUNDS").map_or(if quick { 2 } else { 4 }, |rounds| {
                rounds.parse::<usize>().unwrap().max(1)
            }),
            server_arguments,
            library: variable("ORT_DYLIB_PATH").map_or_else(
                || repository().join("target/release/libonnxruntime.so"),
                PathBuf::from,
            ),
            cores: std::thread::available_parallelism().unwrap().get(),
            peers: variable("PEERS").map_or_else(Vec::new, |peers| {
                words(peers, ',').iter().map(|peer| running(peer)).collect()
            }),
        }
    }

    /// How long one scenario is run in one round.
    pub(crate) fn slice(&self) -> Duration {
        Duration::from_millis(if self.quick { 1_000 } else { 1_800 })
    }

    /// Whether a scenario was asked for.
    pub(crate) fn wants(&self, scenario: &str) -> bool {
        self.scenarios.is_empty()
            || self
                .scenarios
                .iter()
                .any(|wanted| scenario.starts_with(wanted.as_str()))
    }
}

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn running(peer: &str) -> RunningPeer {
    let parts = || {
        let (name, url) = peer.split_once("=http://")?;
        let (address, process) = match url.split_once('#') {
            Some((address, process)) => (address, Some(process.parse().ok()?)),
            None => (url, None),
        };
        let address = address
            .trim_end_matches('/')
            .to_socket_addrs()
            .ok()?
            .next()?;
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = !name.is_empty() && name.bytes().all(fits);
        is_name.then(|| RunningPeer {
            name: name.to_owned(),
            address,
            process,
        })
    };
    parts().unwrap_or_else(|| {
        panic!(
            "PEERS: `{peer}` is not NAME=http://HOST:PORT or NAME=http://HOST:PORT#PROCESS, with \
             a name of lower-case letters and digits"
        )
    })
}

fn named(name: &str) -> NamedModel {
    let repository = repository();
    let dir = match name {
        "default" => repository.join("model/default"),
        "int8" | "fp32" => repository.join(format!("target/models/distilbert-{name}")),
        // Cargo runs a bench in its package's folder, not in its caller's.
        path => repository.join(path),
    };
    assert!(
        dir.join("model.onnx").is_file(),
        "{} is no model directory; `make bench-models` makes those of the bench",
        dir.display()
    );
    let name = match name {
        "int8" | "fp32" => format!("full_{name}"),
        path => path
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned(),
    };
    NamedModel { name, dir }
}
