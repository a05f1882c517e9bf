//! Does memory stay flat? All lengths of texts, at saturation, for long. And does it come
//! back after a storm of connections, while a steady client goes on?

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Connection, request};
use crate::corpus::{Corpus, Lengths};
use crate::figures::{Latencies, figure};
use crate::load::Load;
use crate::process::Server;
use crate::scenario::Traffic;
use crate::settings::{NamedModel, Settings};

const CLIENTS: usize = 64;

/// The connections of a storm.
const STORM: usize = 4000;

/// How many texts a request of a storm has, and how long each of them is, in bytes.
const STORM_TEXTS: (usize, usize) = (4, 4096);

/// A client beside a storm sends a request this often.
const STEADY: Duration = Duration::from_millis(50);

/// When memory should be back after a storm.
const MINUTE: Duration = Duration::from_secs(60);

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
    fault.into_iter().chain(storm(&server, &name)).collect()
}

/// Opens connections, sends a request of long texts on each, and leaves.
fn storm(server: &Server, name: &str) -> Option<String> {
    let texts = vec!["long ".repeat(STORM_TEXTS.1 / 5); STORM_TEXTS.0];
    let (stormy, steady) = (request(&texts), request(&texts[..1]));
    let (before, _) = server.memory();
    let is_over = AtomicBool::new(false);
    let (during, after, failed) = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut connection = Connection::to(server.address);
            let mut failed = 0;
            while !is_over.load(Ordering::Relaxed) {
                failed += usize::from(connection.exchange(&steady).is_err());
                std::thread::sleep(STEADY);
            }
            failed
        });
        let mut connections = Vec::new();
        for _ in 0..STORM {
            let mut connection = Connection::to(server.address);
            // Each is kept until all have been answered.
            if connection.exchange(&stormy).is_ok() {
                connections.push(connection);
            }
        }
        let (during, _) = server.memory();
        figure(
            &format!("{name}_storm_connections"),
            connections.len() as f64,
        );
        drop(connections);
        std::thread::sleep(MINUTE);
        let (after, _) = server.memory();
        is_over.store(true, Ordering::Relaxed);
        (during, after, client.join().unwrap())
    });
    figure(&format!("{name}_storm_rss_before_mib"), before);
    figure(&format!("{name}_storm_rss_during_mib"), during);
    figure(&format!("{name}_storm_rss_a_minute_later_mib"), after);
    figure(
        &format!("{name}_storm_rss_a_minute_later_over_before"),
        after / before,
    );
    (failed > 0).then(|| format!("{name}: {failed} requests beside a storm failed"))
}
