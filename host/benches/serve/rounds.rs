//! Throughput, latency and cost of the server, in rounds with what they are
//! compared to.

use std::time::{Duration, Instant};

use inference::Library;

use crate::corpus::{Corpus, Lengths};
use crate::figures::{Latencies, figure, median, spread};
use crate::load::Outcome;
use crate::process::Server;
use crate::raw::{AllCores, Raw, Work};
use crate::scenario::{Kind, SCENARIOS, Scenario, Traffic};
use crate::settings::{NamedModel, Settings};

/// What one corpus costs ONNX Runtime alone, round by round.
struct RawRounds {
    lengths: Lengths,
    work: Work,
    /// CPU seconds of a text.
    alone: Vec<f64>,
    all_cores: Vec<AllCores>,
}

/// A scenario, and what came of it in each round.
struct Measured {
    scenario: &'static Scenario,
    server: Vec<Outcome>,
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
            baselines.push(RawRounds {
                lengths,
                work: raw.table(model, &corpus, lengths, budget),
                alone: Vec::new(),
                all_cores: Vec::new(),
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
    for _ in 0..settings.rounds {
        let slice = settings.slice();
        if let Some(raw) = &mut raw {
            for baseline in &mut baselines {
                baseline.alone.push(raw.alone(&baseline.work, slice / 2));
                baseline
                    .all_cores
                    .push(raw.all_cores(&baseline.work, slice));
            }
        }
        for measured in &mut measured {
            measured.run(&traffic, &server, &bare, slice);
        }
    }
    for baseline in &baselines {
        baseline.print(model);
    }
    let faults = measured
        .iter()
        .flat_map(|measured| measured.print(settings, model, &baselines))
        .collect();
    let (rss, pss) = server.memory();
    figure(&model.figure("rss_mib"), rss);
    figure(&model.figure("pss_mib"), pss);
    figure(&model.figure("bench_s"), start.elapsed().as_secs_f64());
    faults
}

impl RawRounds {
    fn name(&self) -> &'static str {
        match self.lengths {
            Lengths::Short => "raw",
            Lengths::Mixed => "raw_mixed",
            Lengths::All => "raw_all",
        }
    }

    fn print(&self, model: &NamedModel) {
        let name = self.name();
        let each = |value: fn(&AllCores) -> f64| -> f64 {
            median(&self.all_cores.iter().map(value).collect::<Vec<_>>())
        };
        figure(
            &model.figure(&format!("{name}_alone_cpu_us_per_text")),
            median(&self.alone) * 1e6,
        );
        figure(
            &model.figure(&format!("{name}_all_cores_cpu_us_per_text")),
            each(|all| all.seconds_per_text) * 1e6,
        );
        figure(
            &model.figure(&format!("{name}_all_cores_texts_per_s")),
            each(|all| all.texts_per_second),
        );
    }
}

impl Measured {
    fn run(&mut self, traffic: &Traffic, server: &Server, bare: &Server, slice: Duration) {
        self.server.push(traffic.run(self.scenario, server, slice));
        if self.scenario.kind == Kind::Hits {
            self.bare.push(traffic.run(self.scenario, bare, slice));
        }
    }

    /// Prints its figures, and gives what went wrong.
    fn print(
        &self,
        settings: &Settings,
        model: &NamedModel,
        baselines: &[RawRounds],
    ) -> Vec<String> {
        let name = model.figure(self.scenario.name);
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
        if let Some(baseline) = baselines
            .iter()
            .find(|baseline| self.scenario.kind == Kind::Misses(baseline.lengths))
        {
            self.print_over_raw(settings, &name, baseline);
        }
        if !self.bare.is_empty() {
            self.print_over_bare(&name);
        }
        self.faults(&name)
    }

    fn print_over_raw(&self, settings: &Settings, name: &str, raw: &RawRounds) {
        let (mut alone, mut all, mut throughput) = (Vec::new(), Vec::new(), Vec::new());
        for (at, outcome) in self.server.iter().enumerate() {
            let cost = outcome.server_seconds_per_text();
            alone.push(cost / raw.alone[at]);
            all.push(cost / raw.all_cores[at].seconds_per_text);
            throughput.push(
                outcome.texts_per_available(settings.cores) / raw.all_cores[at].texts_per_available,
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
