//! Do servers follow one rollout file without a cost to their clients? Guests, models,
//! configurations and shares change under load, and all servers give a text to the same revision.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Connection, GuestName, request};
use crate::corpus::{Corpus, Rng};
use crate::figures::{figure, spread};
use crate::pace::Pace;
use crate::process::Server;
use crate::scenario::Traffic;
use crate::settings::Settings;
use crate::swap::{CLIENTS, Guest, Seen, absorb, load};

const SERVERS: usize = 3;

/// How often the file is changed in all, and how often between two looks at whether all
/// servers have followed.
const CHANGES: u64 = 200;
const AT_A_TIME: u64 = 10;

/// The longest time from one change to the next.
const PACE: Duration = Duration::from_millis(400);

/// The share of the canary at the end, and of how many texts.
const SHARE: f64 = 0.1;
const TEXTS: usize = 10_000;

/// What guests read.
const MARGINS: [f64; 2] = [0.2, 0.3];

/// How long servers may take to follow what they have never seen.
const PATIENCE: Duration = Duration::from_secs(300);

/// A file that servers follow, and what it may name.
struct Declared<'a> {
    file: PathBuf,
    generation: u64,
    guests: &'a [Guest; 2],
    models: [PathBuf; 2],
}

impl Declared<'_> {
    /// Declares a guest, a model and a configuration live, and the other guest a canary.
    fn write(&mut self, guest: usize, model: usize, margin: usize, share: Option<f64>) {
        self.generation += 1;
        let mut content = format!("generation = {}\n", self.generation);
        let mut parts = |role: &str, guest: &Guest| {
            let (guest, model) = (guest.path.display(), self.models[model].display());
            let _ = writeln!(
                content,
                "[{role}]\nguest = \"{guest}\"\nmodel = \"{model}\"\n\
                 configuration = {{ margin = {} }}",
                MARGINS[margin]
            );
        };
        parts("live", &self.guests[guest]);
        if let Some(share) = share {
            parts("canary", &self.guests[1 - guest]);
            let _ = writeln!(content, "share = {share}");
        }
        let beside = self.file.with_extension("new");
        std::fs::write(&beside, content).unwrap();
        std::fs::rename(&beside, &self.file).unwrap();
    }

    /// Waits until all servers follow the file. Gives how long that took.
    fn wait(&self, servers: &[Server]) -> Duration {
        let begun = Instant::now();
        for server in servers {
            let mut connection = Connection::to(server.admin.unwrap());
            loop {
                let answer = connection.exchange(b"GET /status HTTP/1.1\r\nhost: x\r\n\r\n");
                let answer = answer.unwrap();
                let body = connection.body(&answer);
                let status: serde_json::Value = serde_json::from_slice(body).unwrap();
                if status["in_sync"] == true && status["rollout"]["generation"] == self.generation {
                    break;
                }
                assert!(
                    begun.elapsed() < PATIENCE,
                    "a server does not follow: {status}"
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        begun.elapsed()
    }
}

pub(crate) fn run(settings: &Settings) -> Vec<String> {
    let guests = [
        Guest::read(settings, "fastsentiment_guest.wasm", false),
        Guest::read(settings, "fastsentiment_neutral.wasm", true),
    ];
    let dir = tempfile::tempdir().unwrap();
    let model = &settings.models[0].dir;
    let other = dir.path().join("other");
    copy(model, &other);
    let mut declared = Declared {
        file: dir.path().join("rollout.toml"),
        generation: 0,
        guests: &guests,
        models: [model.clone(), other],
    };
    declared.write(0, 0, 0, None);
    let servers: Vec<Server> = (0..SERVERS)
        .map(|at| {
            let state = dir.path().join(format!("state{at}"));
            let options = [
                "--rollout",
                declared.file.to_str().unwrap(),
                "--state",
                state.to_str().unwrap(),
                "--admin-listen",
                "127.0.0.1:0",
                "--cache-mib",
                "2",
                // While one is on probation, what was live before is kept as well.
                "--probation-s",
                "0",
                // All that there are.
                "--keep-versions",
                "8",
            ];
            Server::start(settings, model, &options)
        })
        .collect();
    let traffic = Traffic::new(Corpus::of(model));
    // All revisions are known, and worn in, before anything is measured.
    for at in 0..8 {
        declared.write(at & 1, at >> 1 & 1, at >> 2, None);
        declared.wait(&servers);
        for server in &servers {
            traffic.wear_in(server);
        }
    }

    let changes = if settings.quick {
        CHANGES / 10
    } else {
        CHANGES
    };
    let mut rng = Rng::fresh();
    let (mut steady, mut changing) = (Seen::default(), Seen::default());
    let (mut ratios, mut in_sync) = (Vec::new(), Vec::new());
    let mut pace = Pace::new(settings.cores);
    for _ in 0..changes / AT_A_TIME {
        pace.begin();
        let begun = Instant::now();
        let during = load(&servers, &traffic, &guests, || {
            for _ in 0..AT_A_TIME {
                std::thread::sleep(PACE.mul_f64(rng.below(1000) as f64 / 1e3));
                let share = (rng.below(3) == 0).then(|| 0.1 + rng.below(9) as f64 / 10.0);
                declared.write(rng.below(2), rng.below(2), rng.below(2), share);
            }
            in_sync.push(declared.wait(&servers).as_secs_f64());
        });
        // For as long, with what has just been made live.
        let time = begun.elapsed();
        pace.look();
        let calm = load(&servers, &traffic, &guests, || {
            std::thread::sleep(time);
        });
        if pace.was_steady() {
            ratios.push(during.p99() / calm.p99());
        }
        absorb(&mut changing, during);
        absorb(&mut steady, calm);
    }
    pace.print("fleet_pace");
    figure("fleet_changes", changes as f64);
    figure("fleet_answers", changing.samples.len() as f64);
    figure("fleet_failed_requests", changing.faults.len() as f64);
    steady.latencies().print("fleet_steady");
    changing.latencies().print("fleet_changing");
    spread("fleet_p99_over_steady", &ratios);
    spread("fleet_in_sync_after_s", &in_sync);

    declared.write(0, 0, 0, Some(SHARE));
    declared.wait(&servers);
    let texts = if settings.quick { TEXTS / 10 } else { TEXTS };
    let texts: Vec<_> = (0..texts)
        .map(|at| request(&[format!("text {at} of a canary")]))
        .collect();
    let asked: Vec<_> = servers.iter().map(|server| ask(server, &texts)).collect();
    let differ = (0..texts.len()).filter(|&at| asked.iter().any(|of| of[at] != asked[0][at]));
    figure("fleet_canary_texts", texts.len() as f64);
    figure("fleet_canary_texts_that_differ", differ.count() as f64);
    let of_canary = asked[0]
        .iter()
        .filter(|name| **name == Some(guests[1].name));
    figure(
        "fleet_canary_share",
        of_canary.count() as f64 / texts.len() as f64,
    );
    steady.faults.into_iter().chain(changing.faults).collect()
}

/// A model that answers the same, and is another one to whoever compares digests.
fn copy(model: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(model).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let config = to.join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "\n").unwrap();
    // It has the digests of the files, of which one is another one now.
    let _ = std::fs::remove_file(to.join("golden.json"));
}

/// Which guest answers each request.
fn ask(server: &Server, requests: &[Vec<u8>]) -> Vec<Option<GuestName>> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(HashMap::new());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = Connection::to(server.address);
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(request) = requests.get(at) else {
                        return;
                    };
                    let answer = connection.exchange(request).unwrap();
                    assert_eq!(answer.status, 200);
                    found.lock().unwrap().insert(at, answer.guest);
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    (0..requests.len()).map(|at| found[&at]).collect()
}
