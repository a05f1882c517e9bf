//! Does a swap cost the clients anything? Two guests take turns under load, and
//! new ones are compiled beside it.
//!
//! The two are told apart by their answers, so that each answer can be held
//! against the header that names who made it.

use std::path::PathBuf;
use std::slice::from_ref;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use predictor::Digest;
use sha2::{Digest as _, Sha256};

use crate::client::{Connection, GuestName, admin_request};
use crate::corpus::{Corpus, Lengths, Rng};
use crate::figures::{Latencies, figure, spread};
use crate::load::STACK;
use crate::pace::Pace;
use crate::process::Server;
use crate::scenario::Traffic;
use crate::settings::{NamedModel, Settings};

pub(crate) const CLIENTS: usize = 16;

/// How many swaps there are in all.
const SWAPS: usize = 1_000;

/// The time from one swap to the next.
const PACE: Duration = Duration::from_millis(20);

/// After how many swaps memory is read for the first time.
const FIRST: usize = 50;

/// How often a guest that was never seen before is swapped in, each time on an
/// idle machine and under load.
const UNSEEN: usize = 3;

pub(crate) fn run(settings: &Settings) -> Vec<String> {
    let models = settings.models.iter();
    models.flat_map(|model| swap(settings, model)).collect()
}

/// A component that a server can be given.
pub(crate) struct Guest {
    /// Its file, if it has one.
    pub(crate) path: PathBuf,
    component: Vec<u8>,
    /// The whole digest, and what answers say of it.
    digest: String,
    pub(crate) name: GuestName,
    /// Whether its answers have the label `NEUTRAL`.
    neutral: bool,
}

impl Guest {
    pub(crate) fn read(settings: &Settings, file: &str, neutral: bool) -> Self {
        let path = settings.library.with_file_name(file);
        assert!(path.is_file(), "{} is not there", path.display());
        let component = std::fs::read(&path).unwrap();
        Self {
            path,
            ..Self::of(component, neutral)
        }
    }

    fn of(component: Vec<u8>, neutral: bool) -> Self {
        let digest = Digest(Sha256::digest(&component).into()).to_string();
        Self {
            path: PathBuf::new(),
            name: *digest.as_bytes().first_chunk().unwrap(),
            component,
            digest,
            neutral,
        }
    }

    /// The same guest to whoever calls it, and another one to whoever compares
    /// digests: a custom section is added that nobody reads.
    fn never_seen(&self) -> Self {
        // Not by chance, since the server keeps what it has compiled: a second run
        // of this bench must not meet the guests of the first.
        let noise = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let noise = noise.as_nanos().to_string();
        let mut component = self.component.clone();
        let name = "bench";
        // Both lengths are below 128, and so take one byte.
        let length = u8::try_from(1 + name.len() + noise.len()).unwrap();
        component.extend([0, length, u8::try_from(name.len()).unwrap()]);
        component.extend(name.bytes().chain(noise.bytes()));
        Self::of(component, self.neutral)
    }
}

/// Longer than the server itself has patience with a compiler. Beside clients that
/// want all of the machine it gets a tenth of a core.
const LONGEST_LOAD: Duration = Duration::from_secs(900);

/// An answer as a client saw it.
pub(crate) struct Sample {
    sent: Instant,
    answered: Instant,
    guest: Option<GuestName>,
}

/// A call that swaps, with the name of what is live after it.
struct Swap {
    called: Instant,
    returned: Instant,
    guest: GuestName,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) samples: Vec<Sample>,
    pub(crate) faults: Vec<String>,
}

impl Seen {
    pub(crate) fn latencies(&self) -> Latencies {
        let samples = self.samples.iter();
        Latencies::of(
            samples
                .map(|sample| sample.answered - sample.sent)
                .collect(),
        )
    }

    /// In milliseconds.
    pub(crate) fn p99(&self) -> f64 {
        self.latencies().percentile(0.99)
    }

    /// The longest time in which no client was answered, in milliseconds.
    fn longest_gap(&self) -> f64 {
        let mut answered: Vec<Instant> = self.samples.iter().map(|at| at.answered).collect();
        answered.sort_unstable();
        let gaps = answered.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap_or_default().as_secs_f64() * 1e3
    }
}

fn swap(settings: &Settings, model: &NamedModel) -> Vec<String> {
    let name = model.within("swap");
    let guests = [
        Guest::read(settings, "fastsentiment_guest.wasm", false),
        Guest::read(settings, "fastsentiment_neutral.wasm", true),
    ];
    // A cache that is soon full: one that is still filling would look as if swaps
    // took memory.
    let options = ["--admin-listen", "127.0.0.1:0", "--cache-mib", "2"];
    let server = Server::start(settings, &model.dir, &options);
    let traffic = Traffic::new(Corpus::of(&model.dir));
    let mut faults = Vec::new();
    let mut admin = Connection::patient(server.admin.unwrap(), LONGEST_LOAD);
    // Both have been compiled, loaded and worn in before anything is measured.
    for guest in guests.iter().rev() {
        upload(&mut admin, guest);
        traffic.wear_in(&server);
    }

    let swaps = if settings.quick { SWAPS / 10 } else { SWAPS };
    let first = FIRST.min(swaps / 2);
    let mut steady = Seen::default();
    let mut swapping = Seen::default();
    let mut calls = Vec::new();
    let mut ratios = Vec::new();
    let mut gaps = Vec::new();
    let mut rss = Vec::new();
    let mut pace = Pace::new(settings.cores);
    for round in 0..settings.rounds {
        let share = swaps * (round + 1) / settings.rounds - swaps * round / settings.rounds;
        activate(&mut admin, &guests[round % 2]);
        let time = PACE * u32::try_from(share).unwrap();
        pace.begin();
        let before = load(from_ref(&server), &traffic, &guests, || {
            std::thread::sleep(time);
        });
        pace.look();
        let mut done: Vec<Swap> = Vec::new();
        let during = load(from_ref(&server), &traffic, &guests, || {
            let start = Instant::now();
            for at in 0..share {
                let due = start + PACE * u32::try_from(at).unwrap();
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                done.push(activate(&mut admin, &guests[(round + at + 1) % 2]));
                if calls.len() + done.len() == first {
                    rss.push(server.memory().0);
                }
            }
        });
        faults.extend(wrong_version(&during.samples, &done));
        if pace.was_steady() {
            ratios.push(during.p99() / before.p99());
            gaps.push(during.longest_gap() / before.longest_gap());
        }
        calls.extend(done);
        absorb(&mut steady, before);
        absorb(&mut swapping, during);
    }
    rss.push(server.memory().0);

    pace.print(&format!("{name}_pace"));
    figure(&format!("{name}_swaps"), calls.len() as f64);
    figure(&format!("{name}_answers"), swapping.samples.len() as f64);
    figure(
        &format!("{name}_failed_requests"),
        swapping.faults.len() as f64,
    );
    steady.latencies().print(&format!("{name}_steady"));
    swapping.latencies().print(&format!("{name}_swapping"));
    spread(&format!("{name}_p99_over_steady"), &ratios);
    spread(&format!("{name}_longest_gap_over_steady"), &gaps);
    let calls = calls.iter().map(|call| call.returned - call.called);
    Latencies::of(calls.collect()).print(&format!("{name}_activation"));
    figure(&format!("{name}_rss_after_first_{first}_mib"), rss[0]);
    figure(&format!("{name}_rss_after_all_mib"), rss[1]);
    figure(&format!("{name}_rss_after_all_over_first"), rss[1] / rss[0]);
    faults.extend(steady.faults.into_iter().chain(swapping.faults));

    let times = if settings.quick { 1 } else { UNSEEN };
    faults.extend(unseen(&name, &server, &traffic, &guests, &mut admin, times));
    figure(&format!("{name}_rss_after_unseen_mib"), server.memory().0);
    faults
}

/// Swaps guests in that have to be compiled.
fn unseen(
    name: &str,
    server: &Server,
    traffic: &Traffic,
    guests: &[Guest; 2],
    admin: &mut Connection,
    times: usize,
) -> Vec<String> {
    let mut faults = Vec::new();
    let (mut idle, mut loaded, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        idle.push(upload(admin, &guests[0].never_seen()).as_secs_f64());
        let new = guests[0].never_seen();
        let mut took = Duration::ZERO;
        let during = load(from_ref(server), traffic, guests, || {
            took = upload(admin, &new);
        });
        let steady = load(from_ref(server), traffic, guests, || {
            std::thread::sleep(took);
        });
        loaded.push(took.as_secs_f64());
        ratios.push(during.p99() / steady.p99());
        faults.extend(during.faults.into_iter().chain(steady.faults));
    }
    spread(&format!("{name}_unseen_live_after_s"), &idle);
    spread(&format!("{name}_unseen_live_after_under_load_s"), &loaded);
    spread(&format!("{name}_unseen_p99_over_steady"), &ratios);
    faults
}

/// Has clients ask servers, among which they are divided, for new texts for as long as
/// `meanwhile` takes.
pub(crate) fn load(
    servers: &[Server],
    traffic: &Traffic,
    guests: &[Guest],
    meanwhile: impl FnOnce(),
) -> Seen {
    let ended = AtomicBool::new(false);
    let seen = Mutex::new(Seen::default());
    std::thread::scope(|scope| {
        for server in servers.iter().cycle().take(CLIENTS) {
            let (seen, ended) = (&seen, &ended);
            let client = move || {
                let own = client(server, traffic, guests, ended);
                absorb(&mut seen.lock().unwrap(), own);
            };
            let thread = std::thread::Builder::new().stack_size(STACK);
            thread.spawn_scoped(scope, client).unwrap();
        }
        meanwhile();
        ended.store(true, Ordering::Relaxed);
    });
    seen.into_inner().unwrap()
}

fn client(server: &Server, traffic: &Traffic, guests: &[Guest], ended: &AtomicBool) -> Seen {
    let mut rng = Rng::fresh();
    let mut connection = Connection::to(server.address);
    let mut seen = Seen::default();
    while !ended.load(Ordering::Relaxed) {
        let request = traffic.new_texts(Lengths::Short, 1, &mut rng);
        let sent = Instant::now();
        let fault = match connection.exchange(&request) {
            Err(error) => Some(error.to_string()),
            Ok(answer) if answer.status != 200 => Some(format!("status {}", answer.status)),
            Ok(answer) => {
                let known = guests.iter().find(|guest| Some(guest.name) == answer.guest);
                let right = known.is_none_or(|guest| guest.neutral == answer.neutral);
                seen.samples.push(Sample {
                    sent,
                    answered: Instant::now(),
                    guest: answer.guest,
                });
                (!right || answer.predictions != 1)
                    .then(|| "an answer is not of the version that its header names".to_owned())
            }
        };
        seen.faults.extend(fault);
    }
    seen
}

pub(crate) fn absorb(all: &mut Seen, more: Seen) {
    all.samples.extend(more.samples);
    all.faults.extend(more.faults);
}

/// Answers of a version that was not live at any moment of the request.
fn wrong_version(samples: &[Sample], swaps: &[Swap]) -> Option<String> {
    let wrong = samples.iter().filter(|sample| {
        let before = swaps.partition_point(|swap| swap.returned <= sample.sent);
        let begun = swaps.partition_point(|swap| swap.called <= sample.answered);
        // Before the first swap of a round, whatever was live may answer.
        before > 0
            && !swaps[before - 1..begun]
                .iter()
                .any(|swap| Some(swap.guest) == sample.guest)
    });
    let wrong = wrong.count();
    (wrong > 0).then(|| format!("{wrong} answers of a version that was not live"))
}

/// Makes a version live that the server knows.
fn activate(admin: &mut Connection, guest: &Guest) -> Swap {
    let request = admin_request(&format!("/versions/{}/activate", guest.digest), &[]);
    let called = Instant::now();
    let answer = admin.exchange(&request).unwrap();
    assert_eq!(answer.status, 200, "a known version can be made live");
    Swap {
        called,
        returned: Instant::now(),
        guest: guest.name,
    }
}

/// Has a component loaded and made live; gives the time that took.
fn upload(admin: &mut Connection, guest: &Guest) -> Duration {
    let request = admin_request("/versions?activate=true", &guest.component);
    let start = Instant::now();
    let answer = admin.exchange(&request).unwrap();
    assert!(matches!(answer.status, 200 | 201), "an upload is accepted");
    start.elapsed()
}
