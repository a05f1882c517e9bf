//! Throughput, latency and cost of the server, each beside what it is compared to.

use std::time::Instant;

use inference::Library;

use crate::corpus::{Corpus, Lengths};
use crate::figures::{Latencies, figure, median, spread};
use crate::load::Outcome;
use crate::pace::Pace;
use crate::process::Server;
use crate::raw::{AllCores, Raw, Work};
use crate::scenario::{Kind, SCENARIOS, Scenario, Traffic};
use crate::settings::{NamedModel, Settings};

/// What ONNX Runtime alone is given of one corpus.
struct Baseline {
    lengths: Lengths,
    work: Work,
}

/// What it costs ONNX Runtime alone.
struct RawCost {
    /// CPU seconds of a text.
    alone: f64,
    all_cores: AllCores,
}

/// A scenario, and what came of it in each round in which the machine was steady.
struct Measured {
    scenario: &'static Scenario,
    server: Vec<Outcome>,
    /// ONNX Runtime, for new texts.
    raw: Vec<RawCost>,
    /// The bare server, for known texts.
    bare: Vec<Outcome>,
}

pub(crate) fn run(settings: &Settings) -> Vec<String> {
    // ONNX Runtime has one environment in a process.
    let library = Library::open(Some(&settings.library)).unwrap();
    let models = settings.models.iter();
    models
        .flat_map(|model| measure(settings, &library, model))
        .collect()
}

fn measure(settings: &Settings, library: &Library, model: &NamedModel) -> Vec<String> {
    println!("# {} ({})", model.name, model.dir.display());
    let start = Instant::now();
    let mut measured: Vec<Measured> = SCENARIOS
        .iter()
        .filter(|scenario| settings.wants(scenario.name))
        .map(|scenario| Measured {
            scenario,
            server: Vec::new(),
            raw: Vec::new(),
            bare: Vec::new(),
        })
        .collect();
    let corpus = Corpus::of(&model.dir);
    let mut raw = None;
    let mut baselines = Vec::new();
    for lengths in [Lengths::Short, Lengths::Mixed] {
        let wanted = settings.scenarios.iter().any(|name| name == "raw")
            || measured
                .iter()
                .any(|measured| measured.scenario.kind == Kind::Misses(lengths));
        if wanted {
            let raw = raw.get_or_insert_with(|| Raw::open(library, model, settings.cores));
            let budget = settings.slice() * 6;
            baselines.push(Baseline {
                lengths,
                work: raw.table(model, &corpus, lengths, budget),
            });
        }
    }
    if measured.is_empty() {
        return Vec::new();
    }

    let traffic = Traffic::new(corpus);
    let server = Server::start(settings, &model.dir, &[]);
    let bytes = traffic.wear_in(&server);
    let bare = Server::bare(bytes);
    let mut pace = Pace::new(settings.cores);
    for _ in 0..settings.rounds {
        for measured in &mut measured {
            let baseline = baselines
                .iter()
                .find(|baseline| measured.scenario.kind == Kind::Misses(baseline.lengths));
            let raw = raw.as_mut().zip(baseline);
            measured.run(settings, &mut pace, &traffic, &server, &bare, raw);
        }
    }
    pace.print(&model.figure("pace"));
    for baseline in &baselines {
        baseline.print(model, &measured);
    }
    let faults = measured
        .iter()
        .flat_map(|measured| measured.print(settings, model))
        .collect();
    let (rss, pss) = server.memory();
    figure(&model.figure("rss_mib"), rss);
    figure(&model.figure("pss_mib"), pss);
    figure(&model.figure("bench_s"), start.elapsed().as_secs_f64());
    faults
}

impl Baseline {
    fn name(&self) -> &'static str {
        match self.lengths {
            Lengths::Short => "raw",
            Lengths::Mixed => "raw_mixed",
            Lengths::All => "raw_all",
        }
    }

    fn print(&self, model: &NamedModel, measured: &[Measured]) {
        let costs: Vec<&RawCost> = measured
            .iter()
            .filter(|measured| measured.scenario.kind == Kind::Misses(self.lengths))
            .flat_map(|measured| &measured.raw)
            .collect();
        if costs.is_empty() {
            return;
        }
        let print = |what: &str, value: &dyn Fn(&RawCost) -> f64| {
            let values: Vec<f64> = costs.iter().map(|cost| value(cost)).collect();
            figure(
                &model.figure(&format!("{}_{what}", self.name())),
                median(&values),
            );
        };
        print("alone_cpu_us_per_text", &|cost| cost.alone * 1e6);
        print("all_cores_cpu_us_per_text", &|cost| {
            cost.all_cores.seconds_per_text * 1e6
        });
        print("all_cores_texts_per_s", &|cost| {
            cost.all_cores.texts_per_second
        });
    }
}

impl Measured {
    /// Measures the server between slices of what it is compared to.
    fn run(
        &mut self,
        settings: &Settings,
        pace: &mut Pace,
        traffic: &Traffic,
        server: &Server,
        bare: &Server,
        mut raw: Option<(&mut Raw, &Baseline)>,
    ) {
        let slice = settings.slice();
        let compared = pace.compare(|pace| {
            let alone = raw.as_mut().map(|(raw, of)| {
                let alone = raw.alone(&of.work, slice / 4);
                pace.look();
                alone
            });
            let server = traffic.run(self.scenario, server, slice);
            pace.look();
            let all_cores = raw
                .as_mut()
                .map(|(raw, of)| raw.all_cores(&of.work, slice / 2));
            let raw = alone.zip(all_cores);
            let raw = raw.map(|(alone, all_cores)| RawCost { alone, all_cores });
            let is_bare = self.scenario.kind == Kind::Hits;
            let bare = is_bare.then(|| traffic.run(self.scenario, bare, slice));
            (server, raw, bare)
        });
        if let Some((server, raw, bare)) = compared {
            self.server.push(server);
            self.raw.extend(raw);
            self.bare.extend(bare);
        }
    }

    /// Prints its figures, and gives what went wrong.
    fn print(&self, settings: &Settings, model: &NamedModel) -> Vec<String> {
        let name = model.figure(self.scenario.name);
        if self.server.is_empty() {
            return vec![format!("{name}: the machine was never steady")];
        }
        let of = |value: &dyn Fn(&Outcome) -> f64| -> Vec<f64> {
            self.server.iter().map(value).collect()
        };
        let print = |what: &str, value: &dyn Fn(&Outcome) -> f64| {
            figure(&format!("{name}_{what}"), median(&of(value)));
        };
        print("texts_per_s", &Outcome::texts_per_second);
        print("server_cpu_s_per_1000_texts", &|outcome| {
            outcome.server_seconds_per_text() * 1e3
        });
        print("client_cpu_s_per_1000_texts", &|outcome| {
            outcome.spent.client / outcome.texts as f64 * 1e3
        });
        print("server_share_of_available", &|outcome| {
            outcome.spent.server / outcome.spent.available(settings.cores)
        });
        print("others_cores", &|outcome| {
            outcome.spent.others / outcome.spent.wall
        });
        let samples = self.server.iter().flat_map(|outcome| &outcome.latencies);
        Latencies::of(samples.copied().collect()).print(&name);
        if !self.raw.is_empty() {
            self.print_over_raw(settings, &name);
        }
        if !self.bare.is_empty() {
            self.print_over_bare(&name);
        }
        self.faults(&name)
    }

    fn print_over_raw(&self, settings: &Settings, name: &str) {
        let (mut alone, mut all, mut throughput) = (Vec::new(), Vec::new(), Vec::new());
        for (outcome, raw) in self.server.iter().zip(&self.raw) {
            let cost = outcome.server_seconds_per_text();
            alone.push(cost / raw.alone);
            all.push(cost / raw.all_cores.seconds_per_text);
            throughput.push(
                outcome.texts_per_available(settings.cores) / raw.all_cores.texts_per_available,
            );
        }
        spread(&format!("{name}_cpu_over_raw"), &alone);
        spread(&format!("{name}_cpu_over_raw_all_cores"), &all);
        spread(&format!("{name}_throughput_over_raw"), &throughput);
    }

    fn print_over_bare(&self, name: &str) {
        let rate = |outcome: &Outcome| outcome.texts as f64 / outcome.spent.server;
        let ratios: Vec<f64> = self
            .server
            .iter()
            .zip(&self.bare)
            .map(|(server, bare)| rate(server) / rate(bare))
            .collect();
        let bare: Vec<f64> = self.bare.iter().map(|bare| 1e3 / rate(bare)).collect();
        figure(
            &format!("{name}_bare_hyper_cpu_s_per_1000_texts"),
            median(&bare),
        );
        spread(&format!("{name}_over_bare_hyper"), &ratios);
    }

    /// Errors, and a share of hits that is not what the scenario is about.
    fn faults(&self, name: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for outcome in self.server.iter().chain(&self.bare) {
            faults.extend(outcome.fault().map(|fault| format!("{name}: {fault}")));
        }
        let hits: Option<usize> = self.server.iter().map(|outcome| outcome.hits).sum();
        if let Some(hits) = hits {
            let texts: usize = self.server.iter().map(|outcome| outcome.texts).sum();
            let share = hits as f64 / texts as f64;
            figure(&format!("{name}_hit_share"), share);
            if !self.scenario.expected_hits().contains(&share) {
                faults.push(format!("{name}: {share:.3} of the texts were hits"));
            }
        }
        faults
    }
}
