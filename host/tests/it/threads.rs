//! The threads of a server: those that score come before those that serve sockets.

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, fixture};
use crate::server_process::ServerProcess;

/// The name and the niceness of each thread of a process.
fn threads(process: u32) -> Vec<(String, i32)> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let threads = tasks.filter_map(|task| {
        // It may have ended.
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).ok()?;
        let (head, fields) = stat.rsplit_once(") ")?;
        let (_, name) = head.split_once('(')?;
        let nice = fields.split(' ').nth(16)?;
        Some((name.to_owned(), nice.parse().unwrap()))
    });
    threads.collect()
}

#[tokio::test]
async fn workers_come_before_sockets() {
    let server = ServerProcess::start(&fixture("tiny-bert"));
    let begun = Instant::now();
    let sockets = std::thread::available_parallelism().unwrap().get();
    loop {
        let threads = threads(server.id());
        let of = |wanted: &str| -> Vec<i32> {
            let found = threads.iter().filter(|(name, _)| name.starts_with(wanted));
            found.map(|(_, nice)| *nice).collect()
        };
        // The main thread has the priority that the server was started with.
        let [usual] = of("fastsentiment")[..] else {
            panic!("{threads:?}")
        };
        let scoring = [of("worker-"), of("epoch"), of("model-starter")].concat();
        assert_eq!(
            scoring.len(),
            5,
            "two workers, one for texts set aside: {threads:?}"
        );
        assert!(scoring.iter().all(|nice| *nice == usual), "{threads:?}");
        // Those for blocking work have the same name.
        let lowered = of("tokio-rt-worker");
        let lowered = lowered.iter().filter(|nice| **nice == usual + 2).count();
        if lowered >= sockets {
            break;
        }
        // They are lowered when they are idle.
        assert!(begun.elapsed() < PATIENCE, "{threads:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
