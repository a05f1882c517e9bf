//! What each worker adds to the server's memory.

use std::time::Duration;

use crate::corpus::{Corpus, Lengths};
use crate::figures::figure;
use crate::load::Load;
use crate::process::Server;
use crate::scenario::Traffic;
use crate::settings::Settings;

const WORKERS: [usize; 3] = [1, 2, 4];

pub(crate) fn run(settings: &Settings) -> Vec<String> {
    let mut faults = Vec::new();
    for model in &settings.models {
        let traffic = Traffic::new(Corpus::of(&model.dir));
        let mut first = None;
        for workers in WORKERS {
            let count = workers.to_string();
            let server = Server::start(settings, &model.dir, &["--workers", &count]);
            let (start, _) = server.memory();
            traffic.wear_in(&server);
            // So many clients that every worker gets long texts and short ones.
            let outcome = Load {
                clients: workers * 8,
                duration: settings.slice() * 2,
                texts: 1,
                requests: &|rng| traffic.new_texts(Lengths::Mixed, 1, rng).into(),
            }
            .run(&server);
            faults.extend(outcome.fault());
            // What is freed with a delay.
            std::thread::sleep(Duration::from_millis(500));
            let (rss, pss) = server.memory();
            let (rss_of_one, pss_of_one) = *first.get_or_insert((rss, pss));
            let name = format!("{}_workers{workers}", model.name);
            figure(&format!("rss_{name}_at_start_mib"), start);
            figure(&format!("rss_{name}_mib"), rss);
            figure(&format!("pss_{name}_mib"), pss);
            figure(&format!("rss_{name}_over_1"), rss / rss_of_one);
            figure(&format!("pss_{name}_over_1"), pss / pss_of_one);
        }
    }
    faults
}
