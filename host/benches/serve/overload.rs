//! What is left of the throughput when far more is asked for than can be done.
//!
//! The load is open: requests are due at a fixed rate, whether or not the server
//! keeps up, and each waits for its answer on a connection of its own. A request
//! is late when the client could not send it in time, for want of a core or of a
//! connection; the rate that was really offered is printed. Latencies count from
//! the moment of sending, without the time that a new connection takes: a thousand
//! of them at once overflow the kernel's queue, which says nothing of the server.
//!
//! A client that sends four times as much also uses more of the cores that it
//! shares with the server. So goodput is compared twice: as it is, and for each
//! core-second that client and others left to the server.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::client::Connection;
use crate::corpus::{Corpus, Lengths, Rng};
use crate::figures::{Latencies, figure, median, spread};
use crate::load::{Clocks, Load, Outcome, STACK};
use crate::process::Server;
use crate::scenario::Traffic;
use crate::settings::{NamedModel, Settings};

/// How many times the saturated rate is offered.
const FACTOR: f64 = 4.0;

/// More than may wait in the server, so that it is the server that refuses.
const CONNECTIONS: usize = 2048;

/// Clients to try for the saturated rate.
const CLIENTS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// A rate this close to the best is as good.
const JUST_ENOUGH: f64 = 0.97;

pub(crate) fn run(settings: &Settings) -> Vec<String> {
    let duration = settings
        .duration
        .unwrap_or(Duration::from_secs(if settings.quick { 20 } else { 120 }));
    let models = settings.models.iter();
    models
        .flat_map(|model| overload(settings, model, duration))
        .collect()
}

fn overload(settings: &Settings, model: &NamedModel, duration: Duration) -> Vec<String> {
    let traffic = Traffic::new(Corpus::of(&model.dir));
    let server = Server::start(settings, &model.dir, &[]);
    traffic.wear_in(&server);
    let saturate = |clients: usize, duration: Duration| {
        Load {
            clients,
            duration,
            texts: 1,
            requests: &|rng| traffic.new_texts(Lengths::Short, 1, rng).into(),
        }
        .run(&server)
    };
    let tried = CLIENTS.map(|clients| {
        let slice = duration / 10 / u32::try_from(CLIENTS.len()).unwrap_or(1);
        saturate(clients, slice).texts_per_second()
    });
    let best = tried.iter().copied().fold(0.0, f64::max);
    let enough = tried.iter().position(|&rate| rate >= JUST_ENOUGH * best);
    let clients = CLIENTS[enough.unwrap()];

    let name = model.within("overload");
    let (mut as_is, mut for_core, mut offered) = (Vec::new(), Vec::new(), Vec::new());
    let mut rates = Vec::new();
    let mut all = Outcome::default();
    let mut faults = Vec::new();
    // Two rounds of a third of saturation and two thirds of overload.
    for _ in 0..2 {
        let saturated = saturate(clients, duration * 9 / 10 / 6);
        faults.extend(saturated.fault());
        let rate = saturated.texts_per_second();
        let (outcome, sent) = open_loop(&server, &traffic, rate * FACTOR, duration * 9 / 10 / 3);
        rates.push(rate);
        as_is.push(outcome.texts_per_second() / rate);
        for_core.push(
            outcome.texts_per_available(settings.cores)
                / saturated.texts_per_available(settings.cores),
        );
        offered.push(sent as f64 / outcome.spent.wall / rate);
        figure(
            &format!("{name}_client_cores"),
            outcome.spent.client / outcome.spent.wall,
        );
        all.absorb(outcome);
    }
    figure(&format!("{name}_saturating_clients"), clients as f64);
    figure(&format!("{name}_saturated_texts_per_s"), median(&rates));
    figure(&format!("{name}_offered_over_saturated"), median(&offered));
    spread(&format!("{name}_goodput_over_saturated"), &as_is);
    spread(
        &format!("{name}_goodput_over_saturated_for_core_second"),
        &for_core,
    );
    figure(&format!("{name}_answers_200"), all.latencies.len() as f64);
    Latencies::of(all.latencies).print(&format!("{name}_answered"));
    for (error, latencies) in all.errors {
        let name = match error.as_str() {
            "503" => format!("{name}_refused"),
            "504" | "no_answer_in_time" => format!("{name}_timed_out_{error}"),
            other => {
                // To refuse is right here, and to be late is to be expected.
                faults.push(format!("{name}: {other}: {}", latencies.len()));
                format!("{name}_error_{other}")
            }
        };
        figure(&format!("{name}_count"), latencies.len() as f64);
        Latencies::of(latencies).print(&name);
    }
    faults
}

/// Sends requests at a rate, each at its time; gives what came of them and how
/// many were sent.
fn open_loop(
    server: &Server,
    traffic: &Traffic,
    rate: f64,
    duration: Duration,
) -> (Outcome, usize) {
    let requests = rate * duration.as_secs_f64();
    let start = Instant::now();
    // Whoever holds the lock waits until the next request is due, so that the
    // other idle connections need not be woken.
    let next = Mutex::new(0_u32);
    let clocks = Clocks::start(server);
    let (outcomes, spent) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                std::thread::Builder::new()
                    .stack_size(STACK)
                    .spawn_scoped(scope, || {
                        let mut outcome = Outcome::default();
                        let mut connection = Connection::to(server.address);
                        let mut rng = Rng::fresh();
                        loop {
                            let request = traffic.new_texts(Lengths::Short, 1, &mut rng);
                            {
                                let mut next = next.lock().unwrap();
                                if f64::from(*next) >= requests || start.elapsed() >= duration {
                                    break outcome;
                                }
                                let due = Duration::from_secs_f64(f64::from(*next) / rate);
                                std::thread::sleep(due.saturating_sub(start.elapsed()));
                                *next += 1;
                            }
                            let opened = connection.open();
                            let sent = Instant::now();
                            let answer = opened.and_then(|()| connection.exchange(&request));
                            let texts = outcome.texts;
                            outcome.count(answer, 1, sent.elapsed());
                            // What is still answered when nothing more is sent is
                            // no part of the rate.
                            if start.elapsed() >= duration {
                                outcome.texts = texts;
                            }
                        }
                    })
                    .unwrap()
            })
            .collect();
        std::thread::sleep(duration.saturating_sub(start.elapsed()));
        let spent = clocks.spent(server);
        let outcomes: Vec<Outcome> = clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect();
        (outcomes, spent)
    });
    let mut all = Outcome {
        spent,
        ..Outcome::default()
    };
    for outcome in outcomes {
        all.absorb(outcome);
    }
    let requests = usize::try_from(*next.lock().unwrap()).unwrap();
    (all, requests)
}
