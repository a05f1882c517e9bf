//! Does memory stay flat? All lengths of texts, at saturation, for long.

use std::time::{Duration, Instant};

use crate::corpus::{Corpus, Lengths};
use crate::figures::{Latencies, figure};
use crate::load::Load;
use crate::process::Server;
use crate::scenario::Traffic;
use crate::settings::{NamedModel, Settings};

const CLIENTS: usize = 64;

/// How often memory is read; every tenth reading is printed.
const SAMPLE: Duration = Duration::from_secs(1);

pub(crate) fn run(settings: &Settings) -> Vec<String> {
    let duration = settings
        .duration
        .unwrap_or(Duration::from_secs(if settings.quick { 30 } else { 600 }));
    let models = settings.models.iter();
    models
        .flat_map(|model| soak(settings, model, duration))
        .collect()
}

fn soak(settings: &Settings, model: &NamedModel, duration: Duration) -> Vec<String> {
    let traffic = Traffic::new(Corpus::of(&model.dir));
    // A cache that is full within a minute or two: one that is still filling
    // would look like a leak, and one that is off would hide one.
    let server = Server::start(settings, &model.dir, &["--cache-mib", "2"]);
    let load = Load {
        clients: CLIENTS,
        duration,
        texts: 1,
        requests: &|rng| traffic.new_texts(Lengths::All, 1, rng).into(),
    };
    let mut samples: Vec<f64> = Vec::new();
    let outcome = std::thread::scope(|scope| {
        let load = scope.spawn(|| load.run(&server));
        let start = Instant::now();
        while start.elapsed() < duration {
            std::thread::sleep(SAMPLE);
            let (rss, pss) = server.memory();
            samples.push(rss);
            if samples.len().is_multiple_of(10) {
                let second = samples.len();
                println!("# {second} s: RSS {rss:.1} MiB, PSS {pss:.1} MiB");
            }
        }
        load.join().unwrap()
    });
    // Of a short soak, a tenth stands for a minute.
    let minute = samples.len().div_ceil(10).min(60);
    let mean = |samples: &[f64]| samples.iter().sum::<f64>() / samples.len() as f64;
    let second_minute = mean(&samples[minute..(2 * minute).min(samples.len())]);
    let last_minute = mean(&samples[samples.len() - minute..]);
    let name = model.within("soak");
    figure(&format!("{name}_rss_second_minute_mib"), second_minute);
    figure(&format!("{name}_rss_last_minute_mib"), last_minute);
    figure(
        &format!("{name}_rss_last_minute_over_second_minute"),
        last_minute / second_minute,
    );
    figure(&format!("{name}_texts_per_s"), outcome.texts_per_second());
    figure(
        &format!("{name}_answers_200"),
        outcome.latencies.len() as f64,
    );
    for (error, latencies) in &outcome.errors {
        figure(&format!("{name}_answers_{error}"), latencies.len() as f64);
    }
    let fault = outcome.fault().map(|fault| format!("{name}: {fault}"));
    Latencies::of(outcome.latencies).print(&name);
    fault.into_iter().collect()
}
