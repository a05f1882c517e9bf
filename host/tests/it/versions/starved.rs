//! Loads that fail for want of something: no verdict on the guest, and tried again.

use std::time::Duration;

use revisions::{RevisionError, StartError};

use super::fake::{Place, digest, wait_until};
use super::restart::restart;

fn watched(configured: &str) -> Place {
    Place {
        watch: true,
        ..Place::with(configured)
    }
}

fn is_unavailable(error: &RevisionError) -> bool {
    matches!(error, RevisionError::Unavailable(_))
}

#[tokio::test]
async fn a_deployed_file_is_tried_until_it_can_be_loaded() {
    let place = watched("a");
    let world = place.start();
    place.configure("starved b");
    wait_until("it is tried again", || world.loader.loads() >= 3).await;
    assert_eq!(world.live(), digest("a"));
    let fault = world.versions.configured_fault().unwrap();
    assert!(fault.contains("there are no threads"), "{fault}");
    world.loader.feed();
    wait_until("it is live", || world.live() == digest("starved b")).await;
    assert_eq!(world.versions.configured_fault(), None);
}

#[tokio::test]
async fn a_restart_tries_it_too() {
    let place = Place::with("a");
    let world = place.start();
    place.configure("starved b");
    let error = world.versions.reload().await.unwrap_err();
    assert!(is_unavailable(&error), "{error}");
    // Still not.
    let world = restart(&place, world).await;
    assert_eq!(world.live(), digest("a"));
    let place = Place {
        watch: true,
        ..place
    };
    let world = restart(&place, world).await;
    assert_eq!(world.live(), digest("a"));
    assert!(world.versions.configured_fault().is_some());
    world.loader.feed();
    wait_until("it is live", || world.live() == digest("starved b")).await;
}

#[tokio::test]
async fn whoever_chooses_a_version_meanwhile_is_not_overruled() {
    let place = watched("a");
    let world = place.start();
    place.configure("starved b");
    wait_until("it is tried", || world.loader.loads() >= 2).await;
    world.swap("c").await;
    world.loader.feed();
    // It is tried once more, at the latest, before this is followed.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.live(), digest("c"));
    place.configure("d");
    wait_until("it is live", || world.live() == digest("d")).await;
}

#[tokio::test]
async fn an_upload_and_a_start_say_that_it_may_be_tried_again() {
    let place = Place::with("a");
    let world = place.start();
    let error = world.add("starved b").await.unwrap_err();
    assert!(is_unavailable(&error), "{error}");
    assert!(!world.knows("starved b"));
    world.loader.feed();
    world.swap("starved b").await;
    // What was live is not given up for that.
    let world = restart(&place, world).await;
    assert_eq!(world.live(), digest("a"));
    assert!(!world.knows("starved b"));
    assert!(matches!(
        world.activate("starved b").unwrap_err(),
        RevisionError::NotReady(_)
    ));

    let alone = Place::with("starved a");
    let error = alone.try_start(alone.options()).err().unwrap();
    assert!(matches!(error, StartError::Unavailable { .. }), "{error}");
}
