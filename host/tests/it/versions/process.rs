//! A real server, whose guest is swapped in the ways that its surroundings have.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::fake::{names, wait_until};
use crate::hostile::{component, hostile, no_golden};
use crate::server_process::ServerProcess;

/// A guest that answers with a label of five letters, and is compiled at once.
fn guest(label: &str) -> Vec<u8> {
    assert_eq!(label.len(), 5);
    component(&hostile().replace("COUNT", label))
}

fn replace(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).unwrap();
    fs::rename(&beside, path).unwrap();
}

struct Place {
    dir: TempDir,
}

impl Place {
    fn with(label: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self { dir };
        replace(&place.guest(), &guest(label));
        place
    }

    fn guest(&self) -> PathBuf {
        self.dir.path().join("guest.wasm")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn start(&self, options: &[&str]) -> ServerProcess {
        ServerProcess::of_guest(&no_golden(), &self.guest(), options)
    }

    /// Without a watch, and with a state.
    fn start_kept(&self) -> ServerProcess {
        let state = self.state();
        self.start(&["--watch", "false", "--state", state.to_str().unwrap()])
    }
}

/// The label that the server answers with, and the version that it names.
async fn answered(server: &ServerProcess) -> (String, String) {
    let answer = server.post(&["a text".to_owned()]).await;
    assert_eq!(answer.status, 200, "{}\n{}", answer.body, server.log());
    let label = answer.json()["predictions"][0][0]["label"].clone();
    let revision = answer.headers["x-fastsentiment-guest"].to_str().unwrap();
    (label.as_str().unwrap().to_owned(), revision.to_owned())
}

async fn wait_for(server: &ServerProcess, label: &str) {
    let begun = std::time::Instant::now();
    loop {
        let (answered, _) = answered(server).await;
        if answered == label {
            return;
        }
        let log = server.log();
        assert!(begun.elapsed() < crate::harness::PATIENCE, "{label}: {log}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn wait_for_log(server: &ServerProcess, words: &str) {
    wait_until(words, || server.log().contains(words)).await;
}

#[tokio::test]
async fn a_file_is_followed_however_it_changes() {
    let place = Place::with("FIRST");
    let server = place.start(&[]);
    let (label, first) = answered(&server).await;
    assert_eq!(label, "FIRST");
    replace(&place.guest(), &guest("OTHER"));
    wait_for(&server, "OTHER").await;
    let (_, other) = answered(&server).await;
    assert_ne!(first, other);

    // In place and slowly: it is not even tried before it is complete.
    let bytes = guest("SLOWS");
    let mut file = fs::File::create(place.guest()).unwrap();
    for part in bytes.chunks(bytes.len() / 3) {
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(answered(&server).await.0, "OTHER");
        file.write_all(part).unwrap();
    }
    drop(file);
    wait_for(&server, "SLOWS").await;
    assert!(!server.log().contains("WARN"), "{}", server.log());

    replace(&place.guest(), b"no component at all");
    wait_for_log(&server, "stays live").await;
    assert!(server.log().contains("step `"), "{}", server.log());
    assert_eq!(answered(&server).await.0, "SLOWS");
    fs::remove_file(place.guest()).unwrap();
    wait_for_log(&server, "is gone").await;
    assert_eq!(answered(&server).await.0, "SLOWS");
    replace(&place.guest(), &guest("FIRST"));
    wait_for(&server, "FIRST").await;
    // Known by the same name as before.
    assert_eq!(answered(&server).await.1, first);
    for label in ["NUMB1", "NUMB2", "NUMB3", "NUMB4", "FINAL"] {
        replace(&place.guest(), &guest(label));
    }
    wait_for(&server, "FINAL").await;
    let swaps = server
        .metric("fastsentiment_swaps_total{trigger=\"file\"}")
        .await;
    assert!((4.0..=8.0).contains(&swaps), "{swaps}");
}

#[tokio::test]
async fn a_volume_that_kubernetes_updates_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let publish = |number: u32, label: &str| {
        let new = format!("..2026_{number}");
        fs::create_dir(dir.path().join(&new)).unwrap();
        fs::write(dir.path().join(&new).join("guest.wasm"), guest(label)).unwrap();
        let link = dir.path().join("..data_tmp");
        symlink(&new, &link).unwrap();
        fs::rename(&link, dir.path().join("..data")).unwrap();
        let _ = fs::remove_dir_all(dir.path().join(format!("..2026_{}", number - 1)));
    };
    publish(1, "FIRST");
    let path = dir.path().join("guest.wasm");
    symlink("..data/guest.wasm", &path).unwrap();
    let server = ServerProcess::of_guest(&no_golden(), &path, &[]);
    assert_eq!(answered(&server).await.0, "FIRST");
    for (number, label) in [(2, "OTHER"), (3, "THIRD"), (4, "FIRST")] {
        publish(number, label);
        wait_for(&server, label).await;
    }
    assert!(!server.log().contains("WARN"), "{}", server.log());
}

#[tokio::test]
async fn a_hangup_has_the_file_read_again() {
    let place = Place::with("FIRST");
    let server = place.start(&["--watch", "false"]);
    server.signal("HUP");
    wait_for_log(&server, "already live").await;
    replace(&place.guest(), &guest("OTHER"));
    server.signal("HUP");
    wait_for(&server, "OTHER").await;
    replace(&place.guest(), &guest("THIRD")[..100]);
    server.signal("HUP");
    wait_for_log(&server, "the live version has not changed").await;
    assert_eq!(answered(&server).await.0, "OTHER");
}

#[tokio::test]
async fn a_restarted_server_goes_on_without_its_file() {
    let place = Place::with("FIRST");
    let mut server = place.start_kept();
    replace(&place.guest(), &guest("OTHER"));
    server.signal("HUP");
    wait_for(&server, "OTHER").await;
    server.terminate();
    assert!(server.ended().success());
    fs::remove_file(place.guest()).unwrap();
    let server = place.start_kept();
    assert_eq!(answered(&server).await.0, "OTHER");
    assert!(server.log().contains("THE CONFIGURED GUEST IS NOT SERVED"));

    // Another server beside it has no file either, and no state.
    replace(&place.guest(), &guest("FIRST"));
    let second = place.start_kept();
    assert_eq!(answered(&second).await.0, "FIRST");
    assert!(
        second.log().contains("NO STATE IS KEPT"),
        "{}",
        second.log()
    );
}

#[tokio::test]
async fn a_server_with_a_damaged_state_starts_and_says_so() {
    let place = Place::with("FIRST");
    drop(place.start_kept());
    let state = place.state().join("state.json");
    let whole = fs::read(&state).unwrap_or_default();
    fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    let server = place.start_kept();
    assert_eq!(answered(&server).await.0, "FIRST");
    assert!(server.log().contains("CANNOT BE READ"), "{}", server.log());
}

/// Killed at any moment of a swap, and of the writing that it causes.
#[tokio::test]
async fn a_server_killed_while_it_swaps_comes_up_again() {
    let place = Place::with("FIRST");
    let labels = ["FIRST", "OTHER", "THIRD"];
    let guests = labels.map(guest);
    for round in 0..8 {
        let mut server = place.start_kept();
        let (label, _) = answered(&server).await;
        assert!(labels.contains(&label.as_str()), "{label}");
        for swap in 0..3 + round {
            replace(&place.guest(), &guests[swap % 3]);
            server.signal("HUP");
            let pause = Duration::from_millis(u64::try_from(3 * round).unwrap());
            tokio::time::sleep(pause).await;
        }
        server.signal("KILL");
        assert!(!server.ended().success());
        assert!(!server.log().contains("panicked"), "{}", server.log());
    }
    let server = place.start_kept();
    answered(&server).await;
    assert!(!server.log().contains("CAN NOT BE"), "{}", server.log());
    wait_until("what was being written is cleared away", || {
        let names = names(&place.state());
        !names.iter().any(|name| name.starts_with('.'))
    })
    .await;
}
