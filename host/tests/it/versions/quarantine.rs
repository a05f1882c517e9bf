//! What becomes of a version that has failed in use.

use revisions::{RevisionError, Standing};
use rollout::{Share, TrialKind};

use super::fake::{Place, World, digest, revision};

fn refusal(component: &str) -> RevisionError {
    RevisionError::Quarantined {
        revision: revision(component).short(),
        reason: format!("`{component}` has failed"),
    }
}

fn try_out(world: &World, component: &str) -> Result<(), RevisionError> {
    let (trial, share) = (TrialKind::Canary, Share::new(0.5).unwrap());
    world
        .versions
        .begin_trial(&revision(component), trial, share)
}

#[tokio::test]
async fn a_version_that_fell_is_kept_out_of_use_until_somebody_insists() {
    let world = Place::with("a").start();
    world.swap("b").await;
    world.swap("c").await;
    world.fall("c", "b").await;
    assert_eq!(world.live(), digest("b"));
    let known = world.versions.find(&digest("c").to_string()).unwrap();
    assert!(
        matches!(known.standing, Standing::Quarantined { reason, .. } if reason == "`c` has failed")
    );
    assert_eq!(world.activate("c").unwrap_err(), refusal("c"));
    assert_eq!(try_out(&world, "c").unwrap_err(), refusal("c"));
    // It is known already, and may be added: that sends it no text.
    assert!(world.add("c").await.unwrap().known);
    assert_eq!(world.metric("fastsentiment_quarantined_guests"), 1.0);
    let automatic = "fastsentiment_swaps_total{trigger=\"automatic\"}";
    assert_eq!(world.metric(automatic), 1.0);

    let change = world.versions.activate(&revision("c"), true).unwrap();
    assert_eq!(change.live.guest(), digest("c"));
    assert_eq!(world.metric("fastsentiment_quarantined_guests"), 0.0);
    // It is a version like any other now.
    assert_eq!(
        world.versions.rollback(None).unwrap().live.guest(),
        digest("b")
    );
    world.activate("c").unwrap();
}

#[tokio::test]
async fn what_fell_is_not_gone_back_to() {
    let world = Place::with("a").start();
    world.swap("b").await;
    world.fall("b", "a").await;
    world.swap("c").await;
    assert_eq!(
        world.versions.rollback(None).unwrap().live.guest(),
        digest("a")
    );
    assert_eq!(
        world.versions.rollback(None).unwrap_err(),
        RevisionError::NothingBefore
    );
}

#[tokio::test]
async fn what_fell_on_trial_is_not_gone_back_to_either() {
    let world = Place::with("a").start();
    world.swap("b").await;
    world.swap("c").await;
    try_out(&world, "b").unwrap();
    world.rollout.end_trial().unwrap();
    world.tell("b", "c").await;
    assert_eq!(world.live(), digest("c"));
    assert_eq!(
        world.versions.rollback(None).unwrap().live.guest(),
        digest("a")
    );
    let automatic = "fastsentiment_swaps_total{trigger=\"automatic\"}";
    assert_eq!(world.metric(automatic), 0.0);
}

/// Somebody chose it in the moment between its fall and the news of it.
#[tokio::test]
async fn a_version_that_is_live_once_more_when_its_fall_is_told_goes() {
    let world = Place::with("a").start();
    world.swap("b").await;
    world.tell("b", "a").await;
    assert_eq!(world.live(), digest("a"));
    assert_eq!(world.activate("b").unwrap_err(), refusal("b"));
}

/// Somebody tried it in that moment.
#[tokio::test]
async fn a_version_that_is_on_trial_when_its_fall_is_told_is_so_no_more() {
    let world = Place::with("a").start();
    world.swap("b").await;
    world.versions.rollback(None).unwrap();
    try_out(&world, "b").unwrap();
    world.tell("b", "a").await;
    assert!(world.versions.status().trial.is_none());
    assert_eq!(try_out(&world, "b").unwrap_err(), refusal("b"));
}

#[tokio::test]
async fn a_content_stays_out_when_its_bytes_come_again() {
    let world = Place::with("a").start();
    world.swap("b").await;
    world.fall("b", "a").await;
    world.versions.remove(&revision("b")).unwrap();
    assert!(!world.knows("b"));
    assert!(!world.add("b").await.unwrap().known);
    assert_eq!(world.activate("b").unwrap_err(), refusal("b"));
    assert_eq!(world.versions.quarantined().len(), 1);
    // Insisting on what is not known lifts nothing.
    world.versions.remove(&revision("b")).unwrap();
    let unknown = world.versions.activate(&revision("b"), true).unwrap_err();
    assert_eq!(unknown, RevisionError::Unknown(revision("b").short()));
    world.add("b").await.unwrap();
    assert_eq!(world.activate("b").unwrap_err(), refusal("b"));
}

#[tokio::test]
async fn quarantine_is_bounded() {
    let world = Place::with("a").start();
    for number in 0..70 {
        world.tell(&format!("c{number}"), "a").await;
    }
    let quarantined = world.versions.quarantined();
    assert_eq!(quarantined.len(), 64);
    assert_eq!(quarantined[0].revision, revision("c6"));
}

#[tokio::test]
async fn a_file_with_a_quarantined_content_is_not_followed() {
    let place = Place::with("a");
    let world = place.start();
    world.swap("b").await;
    world.fall("b", "a").await;
    place.configure("b");
    assert_eq!(world.versions.reload().await.unwrap_err(), refusal("b"));
    assert_eq!(world.live(), digest("a"));
}
