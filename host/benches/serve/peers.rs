//! The server beside what others would serve the same model with: `FastAPI` before
//! `PyTorch`, and before ONNX Runtime (`load-testing/peers`); and beside servers that run already
//! (`PEERS`).
//!
//! All are running while one of them is measured, and take turns within a scenario.
//! Each peer runs in the two usual ways to use all cores. Ratios are to whichever of
//! the two is the better one in the very figure that is compared: so a peer may use
//! one for throughput and the other for latency.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::agreement::disagreements;
use crate::client::{Api, Connection};
use crate::corpus::Corpus;
use crate::figures::{Latencies, figure, median, spread};
use crate::load::Outcome;
use crate::pace::Pace;
use crate::process::Server;
use crate::scenario::{SCENARIOS, Scenario, Traffic};
use crate::settings::{NamedModel, RunningPeer, Settings, repository};

/// What is measured, of all scenarios.
const WANTED: [&str; 6] = [
    "misses_c1",
    "misses_c10",
    "misses8_c10",
    "mixed_c64",
    "mix95_c10",
    "hits_c10",
];

/// How many texts of several requests a peer takes at once.
const BATCH: &str = "64";

/// What runs the model of a peer.
#[derive(Clone, Copy, PartialEq)]
enum Runtime {
    OnnxRuntime,
    Torch,
}

impl Runtime {
    fn name(self) -> &'static str {
        match self {
            Self::OnnxRuntime => "onnxruntime",
            Self::Torch => "torch",
        }
    }

    /// Where it finds a model: `PyTorch` reads no ONNX, and the weights of one of the
    /// models only are there for it.
    fn model(self, model: &NamedModel) -> Option<PathBuf> {
        match self {
            Self::OnnxRuntime => Some(model.dir.clone()),
            Self::Torch => (model.name == "full_fp32")
                .then(|| repository().join("target/models/distilbert-torch")),
        }
    }

    /// The command of its server.
    fn command(self) -> Command {
        let directory = repository().join("load-testing");
        let python = directory.join(".venv-peers/bin/python");
        assert!(
            python.is_file(),
            "{} is not there: `make bench-peers` makes it",
            python.display()
        );
        let mut command = Command::new(python);
        command.current_dir(directory).env("HF_HUB_OFFLINE", "1");
        command.args(["-m", "peers", "--runtime", self.name()]);
        command
    }

    fn print_versions(self) {
        let output = self.command().arg("--versions").output().unwrap();
        assert!(output.status.success(), "the peers' packages are there");
        let versions = String::from_utf8(output.stdout).unwrap();
        println!("fact peers_{} {}", self.name(), versions.trim());
    }
}

/// A server, and what came of each scenario in each round.
struct Contender {
    name: String,
    /// Whose deployment it is; `None` for the server that all this is about.
    peer: Option<String>,
    /// Whether it was started here, with the same model and a cache.
    is_own: bool,
    server: Server,
    outcomes: Vec<Vec<Outcome>>,
}

impl Contender {
    fn ours(settings: &Settings, model: &NamedModel, traffic: &Traffic) -> Self {
        let server = Server::start(settings, &model.dir, &[]);
        traffic.wear_in(&server);
        Self {
            name: "fastsentiment".to_owned(),
            peer: None,
            is_own: true,
            server,
            outcomes: Vec::new(),
        }
    }

    /// A peer in its two deployments: a process with one thread for each core, or one
    /// process that takes the texts of several requests together, with all cores.
    fn peers(settings: &Settings, model: &NamedModel, runtime: Runtime) -> Vec<Self> {
        let Some(directory) = runtime.model(model) else {
            return Vec::new();
        };
        let cores = settings.cores.to_string();
        let deployments = [
            ("processes", ["--processes", &cores, "--batch", "1"], "1"),
            ("batching", ["--processes", "1", "--batch", BATCH], &cores),
        ];
        deployments
            .into_iter()
            .map(|(name, options, threads)| {
                let mut command = runtime.command();
                command.args(options).args(["--threads", threads]);
                // The tokenizer's threads are the model's.
                command.env("RAYON_NUM_THREADS", threads);
                Self {
                    name: format!("{}_{name}", runtime.name()),
                    peer: Some(runtime.name().to_owned()),
                    is_own: true,
                    server: Server::other(command.arg("--model").arg(&directory)),
                    outcomes: Vec::new(),
                }
            })
            .collect()
    }

    /// A server that runs already, with whatever model it was given.
    fn running(peer: &RunningPeer) -> Self {
        let speaks = |api: &Api| {
            let mut connection = Connection::to(peer.address);
            let answer = connection.exchange(&api.request(&["a text".to_owned()]));
            answer.is_ok_and(|answer| answer.status == 200 && answer.predictions == 1)
        };
        let api = [Api::Ours, Api::Tei].into_iter().find(speaks);
        let api = api.unwrap_or_else(|| {
            panic!(
                "PEERS: {} at {} answers POST /predict neither as this server does nor as Text \
                 Embeddings Inference does",
                peer.name, peer.address
            )
        });
        println!("# {} speaks the API {api:?}", peer.name);
        Self {
            name: peer.name.clone(),
            peer: Some(peer.name.clone()),
            is_own: false,
            server: Server::running(peer.address, api, peer.process),
            outcomes: Vec::new(),
        }
    }
}

/// What is compared, of one round.
struct Measure {
    name: &'static str,
    of: fn(&Outcome) -> f64,
    more_is_better: bool,
    /// Whether it needs to know what the server uses.
    is_counted: bool,
}

const MEASURES: [Measure; 3] = [
    Measure {
        name: "texts_per_s",
        of: Outcome::texts_per_second,
        more_is_better: true,
        is_counted: false,
    },
    Measure {
        name: "cpu_per_text",
        of: Outcome::server_seconds_per_text,
        more_is_better: false,
        is_counted: true,
    },
    Measure {
        name: "p99",
        of: |outcome| Latencies::of(outcome.latencies.clone()).percentile(0.99),
        more_is_better: false,
        is_counted: false,
    },
];

pub(crate) fn run(settings: &Settings) -> Vec<String> {
    let runtimes = [Runtime::OnnxRuntime, Runtime::Torch];
    for runtime in runtimes {
        let models = &settings.models;
        if models.iter().any(|model| runtime.model(model).is_some()) {
            runtime.print_versions();
        }
    }
    if !settings.peers.is_empty() {
        let names: Vec<_> = settings.peers.iter().map(|peer| &*peer.name).collect();
        println!("fact peers_running {}", names.join(" "));
    }
    let models = settings.models.iter();
    models
        .flat_map(|model| measure(settings, model, &runtimes))
        .collect()
}

fn measure(settings: &Settings, model: &NamedModel, runtimes: &[Runtime]) -> Vec<String> {
    println!("# {} ({})", model.name, model.dir.display());
    let start = Instant::now();
    let scenarios: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|scenario| WANTED.contains(&scenario.name) && settings.wants(scenario.name))
        .collect();
    let traffic = Traffic::new(Corpus::of(&model.dir));
    let mut contenders = vec![Contender::ours(settings, model, &traffic)];
    for &runtime in runtimes {
        contenders.extend(Contender::peers(settings, model, runtime));
    }
    contenders.extend(settings.peers.iter().map(Contender::running));
    let runtimes = runtimes.iter().map(|runtime| runtime.name());
    let peers: Vec<&str> = runtimes
        .chain(settings.peers.iter().map(|peer| &*peer.name))
        .collect();
    for contender in &mut contenders {
        traffic.teach(&contender.server);
        contender.outcomes.resize_with(scenarios.len(), Vec::new);
    }
    let servers = contenders
        .iter()
        .map(|one| (&one.name[..], &one.server, one.is_own));
    let faults = disagreements(model, &traffic, servers);
    if !faults.is_empty() {
        // Figures of another job would be no comparison.
        return faults;
    }

    let count = contenders.len();
    let mut pace = Pace::new(settings.cores);
    for round in 0..settings.rounds {
        for (at, scenario) in scenarios.iter().enumerate() {
            let compared = pace.compare(|pace| {
                // Nobody is always measured first.
                let turns = (0..count).map(|turn| (turn + round) % count);
                let outcomes = turns.map(|turn| {
                    pace.look();
                    let server = &contenders[turn].server;
                    (turn, traffic.run(scenario, server, settings.slice()))
                });
                outcomes.collect::<Vec<_>>()
            });
            for (turn, outcome) in compared.into_iter().flatten() {
                contenders[turn].outcomes[at].push(outcome);
            }
        }
    }

    pace.print(&name(model, "pace"));
    let mut faults = Vec::new();
    for (at, scenario) in scenarios.iter().enumerate() {
        let name = name(model, scenario.name);
        if contenders[0].outcomes[at].is_empty() {
            faults.push(format!("{name}: the machine was never steady"));
            continue;
        }
        for contender in &contenders {
            faults.extend(print(&name, scenario, contender, at));
        }
        // Of a round without an answer there are no ratios.
        if faults.is_empty() {
            for peer in &peers {
                print_ratios(&name, &contenders, peer, at);
            }
        }
    }
    for contender in contenders.iter().filter(|one| one.server.is_counted()) {
        let (rss, pss) = contender.server.memory();
        figure(&name(model, &format!("{}_rss_mib", contender.name)), rss);
        figure(&name(model, &format!("{}_pss_mib", contender.name)), pss);
    }
    let all = contenders
        .iter()
        .flat_map(|one| one.outcomes.iter().flatten());
    let others = all.map(|outcome| outcome.spent.others / outcome.spent.wall);
    spread(&name(model, "others_cores"), &others.collect::<Vec<_>>());
    figure(&name(model, "bench_s"), start.elapsed().as_secs_f64());
    faults
}

/// What a figure of this bench is called.
pub(crate) fn name(model: &NamedModel, what: &str) -> String {
    format!("peers_{}", model.figure(what))
}

/// Prints what one server did in one scenario, and gives what went wrong.
fn print(name: &str, scenario: &Scenario, contender: &Contender, at: usize) -> Vec<String> {
    let name = format!("{name}_{}", contender.name);
    let outcomes = &contender.outcomes[at];
    let each =
        |value: &dyn Fn(&Outcome) -> f64| median(&outcomes.iter().map(value).collect::<Vec<_>>());
    figure(
        &format!("{name}_texts_per_s"),
        each(&Outcome::texts_per_second),
    );
    if contender.server.is_counted() {
        figure(
            &format!("{name}_cpu_s_per_1000_texts"),
            each(&|outcome| outcome.server_seconds_per_text() * 1e3),
        );
    }
    let samples = outcomes.iter().flat_map(|outcome| &outcome.latencies);
    Latencies::of(samples.copied().collect()).print(&name);

    let mut faults: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| Some(format!("{name}: {}", outcome.fault()?)))
        .collect();
    if !contender.is_own {
        // It may have no cache, or not say what it knew.
        return faults;
    }
    let texts: usize = outcomes.iter().map(|outcome| outcome.texts).sum();
    let hits: usize = outcomes.iter().filter_map(|outcome| outcome.hits).sum();
    let share = hits as f64 / texts as f64;
    if !scenario.expected_hits().contains(&share) {
        faults.push(format!("{name}: {share:.3} of the texts were hits"));
    }
    faults
}

/// Prints the ratios to the better deployment of a peer.
fn print_ratios(name: &str, contenders: &[Contender], peer: &str, at: usize) {
    let deployments: Vec<&Contender> = contenders
        .iter()
        .filter(|contender| contender.peer.as_deref() == Some(peer))
        .collect();
    let is_counted = deployments.iter().all(|one| one.server.is_counted());
    for measure in MEASURES.iter().filter(|one| is_counted || !one.is_counted) {
        let values = |contender: &Contender| -> Vec<f64> {
            contender.outcomes[at].iter().map(measure.of).collect()
        };
        let sign = if measure.more_is_better { 1.0 } else { -1.0 };
        let best = deployments
            .iter()
            .map(|contender| values(contender))
            .max_by(|a, b| f64::total_cmp(&(sign * median(a)), &(sign * median(b))));
        let Some(best) = best else { continue };
        let ours = values(&contenders[0]);
        let ratios: Vec<f64> = ours.iter().zip(&best).map(|(a, b)| a / b).collect();
        let what = format!("{name}_{}_over_{peer}", measure.name);
        spread(&what, &ratios);
    }
}
