//! Does a new model cost the clients anything? It is uploaded, loaded, tested and made live
//! under load, and the one before it is freed.

use std::process::Stdio;
use std::slice::from_ref;
use std::time::Instant;

use crate::corpus::Corpus;
use crate::figures::{figure, spread};
use crate::pace::Pace;
use crate::process::{Server, binary_alone};
use crate::scenario::Traffic;
use crate::settings::{NamedModel, Settings};
use crate::swap::{Seen, absorb, load};

/// How long memory may take to come back, in seconds: freed memory is returned to the
/// system every 30 s.
const RETURN_S: u64 = 40;

pub(crate) fn run(settings: &Settings) -> Vec<String> {
    let [first, second] = &settings.models[..] else {
        return vec!["two models are needed: MODELS=default,int8".to_owned()];
    };
    let state = tempfile::tempdir().unwrap();
    let state = state.path().join("state");
    let options = [
        "--admin-listen",
        "127.0.0.1:0",
        "--cache-mib",
        "2",
        "--state",
        state.to_str().unwrap(),
        // So that each swap loads a model, and frees one.
        "--keep-models",
        "1",
        // While the new one is on probation, the old one stands by.
        "--probation-s",
        "0",
    ];
    let server = Server::start(settings, &first.dir, &options);
    let traffic = Traffic::new(Corpus::of(&first.dir));
    // Both guests are compiled for both models before anything is measured.
    swap(&server, second);
    swap(&server, first);
    traffic.wear_in(&server);
    let (mut steady, mut swapping) = (Seen::default(), Seen::default());
    let (mut to, mut back, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
    std::thread::sleep(std::time::Duration::from_secs(RETURN_S));
    let before = server.memory().0;
    let mut pace = Pace::new(settings.cores);
    for _ in 0..settings.rounds {
        for (model, ratios) in [(second, &mut to), (first, &mut back)] {
            pace.begin();
            let begun = Instant::now();
            let during = load(from_ref(&server), &traffic, &[], || swap(&server, model));
            seconds.push(begun.elapsed().as_secs_f64());
            // For as long, with what has just been made live: the slower model of the two
            // would otherwise be compared with the faster one.
            let time = begun.elapsed();
            pace.look();
            let calm = load(from_ref(&server), &traffic, &[], || {
                std::thread::sleep(time);
            });
            if pace.was_steady() {
                ratios.push(during.p99() / calm.p99());
            }
            absorb(&mut swapping, during);
            absorb(&mut steady, calm);
        }
    }
    std::thread::sleep(std::time::Duration::from_secs(RETURN_S));
    let after = server.memory().0;
    let name = format!("swap_model_{}_{}", first.name, second.name);
    figure(
        &format!("{name}_failed_requests"),
        swapping.faults.len() as f64,
    );
    steady.latencies().print(&format!("{name}_steady"));
    swapping.latencies().print(&format!("{name}_swapping"));
    pace.print(&format!("{name}_pace"));
    spread(&format!("{name}_live_after_s"), &seconds);
    spread(&format!("{name}_p99_over_steady"), &to);
    spread(&format!("{name}_back_p99_over_steady"), &back);
    figure(&format!("{name}_rss_before_mib"), before);
    figure(&format!("{name}_rss_after_over_before"), after / before);
    steady.faults.into_iter().chain(swapping.faults).collect()
}

/// Uploads a model and makes it live, as an operator does.
fn swap(server: &Server, model: &NamedModel) {
    let admin = format!("http://{}", server.admin.unwrap());
    let mut command = binary_alone("swap");
    command
        .arg("--model")
        .arg(&model.dir)
        .args(["--admin", &admin]);
    let swapped = command.stdout(Stdio::null()).status().unwrap();
    assert!(swapped.success(), "{} is made live", model.name);
}
