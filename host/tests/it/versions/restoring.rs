//! What a server begins with after a restart, and what can be asked of it while it
//! is not yet all there.

use std::time::Duration;

use revisions::RevisionError;
use rollout::{Share, TrialKind};

use super::fake::{Place, World, digest, revision, wait_until};
use super::restart::restart;

const LONG: Duration = Duration::from_secs(3600);

fn on_probation() -> Place {
    Place {
        probation: LONG,
        ..Place::with("a")
    }
}

/// What stands by for the live version.
pub(super) fn standby(world: &World) -> Option<predictor::Digest> {
    let probation = world.versions.status().probation;
    probation.map(|probation| probation.fallback.guest())
}

/// Ends a server once its live version is trusted, and that is written with this history.
pub(super) async fn end_trusted(place: &Place, world: World, history: &[&str]) {
    wait_until("it is trusted", || standby(&world).is_none()).await;
    let guests: Vec<_> = history
        .iter()
        .map(|live| digest(live).to_string())
        .collect();
    place
        .wait_until_written("that is written", |record| {
            super::fake::history(record) == guests && record["standby"].is_null()
        })
        .await;
    drop(world);
    place.wait_until_free().await;
}

#[tokio::test]
async fn a_version_that_is_still_being_loaded_is_not_unknown() {
    let place = Place::with("a");
    let world = place.start();
    world.add("slow b").await.unwrap();
    let slow = digest("slow b");
    world
        .versions
        .begin_trial(&revision("slow b"), TrialKind::Shadow, Share::ALL)
        .unwrap();
    drop(world);
    place.wait_until_free().await;
    let place = Place {
        held: true,
        ..place
    };
    let world = place.start();
    let not_ready = RevisionError::NotReady(revision("slow b").short());
    let found = world.versions.find(&slow.to_string()[..8]);
    assert_eq!(found.unwrap_err(), not_ready);
    assert_eq!(world.activate("slow b").unwrap_err(), not_ready);
    assert_eq!(world.versions.promote().unwrap_err(), not_ready);
    let unknown = world.versions.find(&digest("c").to_string());
    assert!(matches!(unknown, Err(RevisionError::Unknown(_))));
    // Its trial can be ended, and does not go on then.
    assert_eq!(world.versions.end_trial().unwrap().guest(), slow);
    assert_eq!(
        world.versions.end_trial().unwrap_err(),
        RevisionError::NoTrial
    );
    world.loader.hold(false);
    wait_until("it is there", || world.knows("slow b")).await;
    // Loads come in turn.
    world.add("y").await.unwrap();
    world.add("z").await.unwrap();
    assert!(world.versions.status().trial.is_none());
    assert!(world.versions.find(&slow.to_string()).is_ok());
}

#[tokio::test]
async fn a_restart_makes_no_version_trusted() {
    let place = on_probation();
    let world = place.start();
    world.swap("b").await;
    assert_eq!(standby(&world), Some(digest("a")));
    let mut world = restart(&place, world).await;
    for _ in 0..2 {
        // At once, and with what stood by for it.
        assert_eq!(world.live(), digest("b"));
        assert_eq!(standby(&world), Some(digest("a")));
        assert!(world.knows("a") && world.knows("b"));
        assert_eq!(world.loader.loads(), 2);
        world = restart(&place, world).await;
    }
    // It falls as it would have before.
    world.fall("b", "a").await;
    let world = restart(&place, world).await;
    assert_eq!((world.live(), standby(&world)), (digest("a"), None));
    assert_eq!(world.versions.quarantined().len(), 1);
}

#[tokio::test]
async fn a_chain_of_versions_on_probation_goes_on_where_it_was() {
    let place = on_probation();
    let world = place.start();
    world.swap("b").await;
    world.swap("c").await;
    let world = restart(&place, world).await;
    assert_eq!(world.live(), digest("c"));
    assert_eq!(standby(&world), Some(digest("a")));
    wait_until("all is known", || world.knows("b")).await;
    let change = world.versions.rollback(None).unwrap();
    assert_eq!(change.live.guest(), digest("b"));
    // Chosen, and so trusted.
    assert_eq!(standby(&world), None);
    let world = restart(&place, world).await;
    assert_eq!((world.live(), standby(&world)), (digest("b"), None));
}

#[tokio::test]
async fn without_what_stood_by_the_version_is_live_alone() {
    let place = on_probation();
    let world = place.start();
    world.swap("b").await;
    drop(world);
    place.wait_until_free().await;
    let component = format!("{}.wasm", digest("a"));
    std::fs::write(place.state().join(component), "damaged").unwrap();
    let world = place.start();
    assert_eq!((world.live(), standby(&world)), (digest("b"), None));
}

#[tokio::test]
async fn a_version_that_has_come_to_be_trusted_stays_so() {
    let place = Place {
        probation: Duration::from_millis(300),
        ..Place::with("a")
    };
    let world = place.start();
    world.swap("b").await;
    end_trusted(&place, world, &["a", "b"]).await;
    let place = Place {
        probation: LONG,
        ..place
    };
    let world = place.start();
    assert_eq!((world.live(), standby(&world)), (digest("b"), None));
}
