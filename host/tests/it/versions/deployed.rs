//! A file that was deployed, and what comes between that and its being live: the
//! end of the server, a client that leaves, another decision.

use std::sync::Arc;

use revisions::{Added, Change, RevisionError};
use tokio::task::JoinHandle;

use super::fake::{Place, World, digest, history, logged, revision, wait_until};
use super::restart::restart;

type Reload = JoinHandle<Result<(Added, Change), RevisionError>>;

/// Has the file read again, whose content is new and `slow`, until it is loading.
async fn begin_reload(world: &World) -> Reload {
    world.loader.hold(true);
    let loads = world.loader.loads();
    let versions = Arc::clone(&world.versions);
    let reload = tokio::spawn(async move { versions.reload().await });
    wait_until("it is loading", || world.loader.loads() > loads).await;
    reload
}

/// A server of `a` on which `c` was chosen since, while `slow b` is being loaded for
/// its file.
async fn deploying() -> (Place, World, Reload) {
    let place = Place::with("a");
    let world = place.start();
    world.swap("c").await;
    place.configure("slow b");
    let reload = begin_reload(&world).await;
    (place, world, reload)
}

fn overtaken(live: &str) -> RevisionError {
    RevisionError::Overtaken {
        revision: revision("slow b").short(),
        live: revision(live).short(),
    }
}

/// The content of the file that is written to have been dealt with.
fn dealt_with(place: &Place) -> String {
    let record = place.record();
    record["configured"]["guest"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_restart_during_its_load_does_not_lose_it() {
    let (place, world, reload) = deploying().await;
    // Something is written meanwhile.
    world.versions.rollback(None).unwrap();
    let back = [digest("a").to_string()];
    place
        .wait_until_written("it is written", |record| {
            history(record) == back && record["revisions"].as_array().unwrap().len() == 2
        })
        .await;
    let killed = place.as_it_is_now();
    assert_eq!(killed.start().live(), digest("slow b"));
    world.loader.hold(false);
    reload.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn who_asked_for_it_may_leave() {
    let place = Place::with("a");
    let world = place.start();
    place.configure("slow b");
    let reload = begin_reload(&world).await;
    reload.abort();
    assert!(reload.await.unwrap_err().is_cancelled());
    world.loader.hold(false);
    wait_until("it is live", || world.live() == digest("slow b")).await;
    let world = restart(&place, world).await;
    assert_eq!(world.live(), digest("slow b"));
    assert_eq!(dealt_with(&place), digest("slow b").to_string());
}

#[tokio::test]
async fn a_load_that_was_broken_off_is_not_the_end_of_it() {
    let place = Place::with("a");
    let world = place.start();
    place.configure("panic");
    let ended = world.versions.reload().await.unwrap_err();
    assert_eq!(ended, RevisionError::Ended);
    world.swap("c").await;
    drop(world);
    place.wait_until_free().await;
    assert_eq!(dealt_with(&place), digest("a").to_string());
}

#[tokio::test]
async fn every_start_says_that_it_was_refused() {
    let place = Place::with("a");
    drop(place.start());
    place.wait_until_free().await;
    place.configure("bad luck");
    for _ in 0..3 {
        let (world, log) = logged(|| place.start());
        assert_eq!(world.live(), digest("a"));
        assert!(log.contains("ERROR"), "{log}");
        assert!(log.contains("THE CONFIGURED GUEST IS NOT SERVED"), "{log}");
        assert!(log.contains("it says `bad luck`"), "{log}");
        drop(world);
        place.wait_until_free().await;
    }
    // Also if it was refused while a server ran, and until there is another one.
    place.configure("bad too");
    let world = place.start();
    place.configure("bad again");
    world.versions.reload().await.unwrap_err();
    drop(world);
    place.wait_until_free().await;
    let (world, log) = logged(|| place.start());
    assert!(log.contains("it says `bad again`"), "{log}");
    assert_eq!(world.loader.loads(), 1);
    drop(world);
    place.wait_until_free().await;
    place.configure("b");
    let (world, log) = logged(|| place.start());
    assert_eq!(world.live(), digest("b"));
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn a_quarantined_one_is_served_for_want_of_another_and_that_is_said() {
    let place = Place::with("a");
    let world = place.start();
    world.swap("b").await;
    world.fall("b", "a").await;
    drop(world);
    place.wait_until_free().await;
    place.configure("b");
    std::fs::remove_file(place.state().join(format!("{}.wasm", digest("a")))).unwrap();
    let (world, log) = logged(|| place.start());
    assert_eq!(world.live(), digest("b"));
    assert!(log.contains("ALTHOUGH IT IS QUARANTINED"), "{log}");
    assert!(log.contains("`b` has failed"), "{log}");
}

#[tokio::test]
async fn what_an_operator_chose_after_it_stands() {
    let place = Place {
        watch: true,
        ..Place::with("a")
    };
    let world = place.start();
    world.add("c").await.unwrap();
    world.loader.hold(true);
    place.configure("slow b");
    wait_until("it is loading", || world.loader.loads() == 3).await;
    world.activate("c").unwrap();
    world.loader.hold(false);
    let slow = digest("slow b").to_string();
    place
        .wait_until_written("it is dealt with", |record| {
            record["configured"]["guest"] == slow
        })
        .await;
    assert_eq!(world.live(), digest("c"));
    assert!(world.knows("slow b"));
    // It has been overruled for good, unless it is asked for.
    let world = restart(&place, world).await;
    assert_eq!(world.live(), digest("c"));
    world.versions.reload().await.unwrap();
    assert_eq!(world.live(), digest("slow b"));
}

#[tokio::test]
async fn whatever_was_asked_for_last_is_done() {
    // To stay, to go back, or to go to what the file has by now.
    let place = Place::with("a");
    let world = place.start();
    place.configure("slow b");
    let reload = begin_reload(&world).await;
    world.activate("a").unwrap();
    world.loader.hold(false);
    assert_eq!(reload.await.unwrap().unwrap_err(), overtaken("a"));

    let (_, world, reload) = deploying().await;
    world.versions.rollback(None).unwrap();
    world.loader.hold(false);
    assert_eq!(reload.await.unwrap().unwrap_err(), overtaken("a"));

    let place = Place::with("a");
    let world = place.start();
    place.configure("slow b");
    let reload = begin_reload(&world).await;
    place.configure("a");
    world.versions.reload().await.unwrap();
    world.loader.hold(false);
    assert_eq!(reload.await.unwrap().unwrap_err(), overtaken("a"));
    assert_eq!(world.live(), digest("a"));

    // Twice the same: both get there.
    place.configure("slow c");
    let reload = begin_reload(&world).await;
    let again = world.versions.reload();
    world.loader.hold(false);
    again.await.unwrap();
    reload.await.unwrap().unwrap();
    assert_eq!(world.live(), digest("slow c"));
}

/// Nobody has chosen anything then: what was deployed is to replace what fell.
#[tokio::test]
async fn a_version_that_falls_meanwhile_does_not_stop_it() {
    let (_, world, reload) = deploying().await;
    world.fall("c", "a").await;
    world.loader.hold(false);
    reload.await.unwrap().unwrap();
    assert_eq!(world.live(), digest("slow b"));
}
