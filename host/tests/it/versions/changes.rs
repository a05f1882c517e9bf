//! Adding, making live, going back, forgetting.

use std::sync::Arc;

use futures_util::future::join_all;
use revisions::{Origin, RevisionError, Standing};
use rollout::{Share, TrialKind};

use super::fake::{Place, World, digest, revision, wait_until};

const SHADOW: (TrialKind, Share) = (TrialKind::Shadow, Share::ALL);

fn try_out(world: &World, component: &str) -> Result<(), RevisionError> {
    world
        .versions
        .begin_trial(&revision(component), SHADOW.0, SHADOW.1)
}

#[tokio::test]
async fn a_version_is_added_made_live_and_gone_back_from() {
    let world = Place::with("a").start();
    let added = world.add("b").await.unwrap();
    assert_eq!((added.known, added.compiled), (false, true));
    assert_eq!(world.live(), digest("a"));
    let change = world.activate("b").unwrap();
    assert_eq!(change.before.guest(), digest("a"));
    assert_eq!(change.live.guest(), digest("b"));
    // Nothing changes if it is said again.
    let change = world.activate("b").unwrap();
    assert_eq!(change.before, change.live);

    let change = world.versions.rollback(None).unwrap();
    assert_eq!(change.live.guest(), digest("a"));
    assert_eq!(world.live(), digest("a"));
    let nothing = world.versions.rollback(None).unwrap_err();
    assert_eq!(nothing, RevisionError::NothingBefore);
    // The version is ready still.
    let added = world.add("b").await.unwrap();
    assert!(added.known && !added.compiled);
    assert_eq!(world.loader.loads(), 2);
    for (trigger, times) in [("api", 1.0), ("rollback", 1.0), ("file", 0.0)] {
        let name = format!("fastsentiment_swaps_total{{trigger=\"{trigger}\"}}");
        assert_eq!(world.metric(&name), times, "{trigger}");
    }
    assert_eq!(world.metric("fastsentiment_known_versions"), 2.0);
    assert!(world.metric("fastsentiment_last_swap_timestamp_seconds") > 1.7e9);
}

#[tokio::test]
async fn going_back_again_because_the_answer_was_lost_does_not_go_further() {
    let world = Place::with("a").start();
    world.swap("b").await;
    world.swap("c").await;
    let back = || world.versions.rollback(Some(&revision("c")));
    assert_eq!(back().unwrap().live.guest(), digest("b"));
    assert_eq!(
        back().unwrap_err(),
        RevisionError::NotLive {
            given: revision("c").short(),
            live: revision("b").short(),
        }
    );
    assert_eq!(world.live(), digest("b"));
}

#[tokio::test]
async fn what_can_not_be_loaded_changes_nothing_and_says_why() {
    let world = Place::with("a").start();
    let refused = world.add("bad luck").await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the candidate was refused at the step `self_test`: it says `bad luck`"
    );
    let too_large = world.add(&"x".repeat(65)).await.unwrap_err();
    assert!(matches!(too_large, RevisionError::Refused(refusal) if refusal.step == "size"));
    assert_eq!(world.add("panic").await.unwrap_err(), RevisionError::Ended);
    assert_eq!(world.versions.list().len(), 1);
    world.swap("b").await;
    for (outcome, times) in [
        ("self_test", 1.0),
        ("size", 1.0),
        ("failed", 1.0),
        ("ready", 1.0),
    ] {
        let name = format!("fastsentiment_candidates_total{{outcome=\"{outcome}\"}}");
        assert_eq!(world.metric(&name), times, "{outcome}");
    }
    let unknown = world.activate("never seen").unwrap_err();
    assert_eq!(
        unknown,
        RevisionError::Unknown(revision("never seen").short())
    );
}

#[tokio::test]
async fn nothing_but_another_load_waits_for_a_load() {
    let world = Place::with("a").start();
    world.swap("b").await;
    world.loader.hold(true);
    let slow = world.add("slow");
    let mut slow = Box::pin(slow);
    tokio::select! {
        _ = &mut slow => panic!("it is held"),
        () = wait_until("the load has begun", || world.loader.loads() == 3) => {}
    }
    // All this while it goes on.
    assert!(world.add("a").await.unwrap().known);
    world.activate("a").unwrap();
    world.versions.rollback(None).unwrap();
    try_out(&world, "a").unwrap();
    world.versions.end_trial().unwrap();
    world.versions.remove(&revision("a")).unwrap();
    assert_eq!(world.live(), digest("b"));
    // Another load waits, and is made once, however many ask for it.
    let more = [world.add("c"), world.add("c"), world.add("slow")];
    world.loader.hold(false);
    slow.await.unwrap();
    let added = join_all(more).await;
    let known = added.iter().filter(|added| added.as_ref().unwrap().known);
    assert_eq!(known.count(), 2);
    assert_eq!(world.loader.loads(), 4);
}

#[tokio::test]
async fn an_addition_that_nobody_waits_for_goes_on() {
    let world = Place::with("a").start();
    world.loader.hold(true);
    let adding = world.add("slow");
    let adding = tokio::time::timeout(std::time::Duration::from_millis(50), adding);
    assert!(adding.await.is_err());
    world.loader.hold(false);
    wait_until("it is there", || world.knows("slow")).await;
}

#[tokio::test]
async fn the_versions_in_use_longest_ago_are_forgotten_and_none_in_use_is() {
    let place = Place {
        keep: 3,
        ..Place::with("a")
    };
    let world = place.start();
    world.swap("b").await;
    world.swap("c").await;
    world.swap("a").await;
    world.add("d").await.unwrap();
    // `b` was live before all others.
    assert!(!world.knows("b") && world.knows("c"));
    try_out(&world, "c").unwrap();
    for component in ["e", "f", "g"] {
        world.add(component).await.unwrap();
    }
    assert!(world.knows("a") && world.knows("c") && world.knows("g"));
    assert_eq!(world.versions.list().len(), 3);
    for (component, _) in [("a", "live"), ("c", "on trial")] {
        let refused = world.versions.remove(&revision(component)).unwrap_err();
        assert_eq!(refused, RevisionError::InUse(revision(component).short()));
    }
    // What was forgotten is not gone back to.
    let change = world.versions.rollback(None).unwrap();
    assert_eq!(change.live.guest(), digest("c"));
}

#[tokio::test]
async fn one_version_at_a_time_can_be_swapped_too() {
    let place = Place {
        keep: 1,
        ..Place::with("a")
    };
    let world = place.start();
    for component in ["b", "c", "d"] {
        world.swap(component).await;
        assert!(world.knows(component));
    }
    assert_eq!(world.versions.list().len(), 1);
    assert_eq!(
        world.versions.rollback(None).unwrap_err(),
        RevisionError::NothingBefore
    );
}

#[tokio::test]
async fn a_version_on_trial_is_promoted_or_dropped() {
    let world = Place::with("a").start();
    world.add("b").await.unwrap();
    let standing = |component| {
        let known = world.versions.find(&digest(component).to_string());
        known.unwrap().standing
    };
    assert_eq!(
        world.versions.promote().unwrap_err(),
        RevisionError::NoTrial
    );
    try_out(&world, "b").unwrap();
    assert_eq!(standing("a"), Standing::Live);
    assert_eq!(standing("b"), Standing::OnTrial(SHADOW.0, SHADOW.1));
    world.versions.end_trial().unwrap();
    assert_eq!(standing("b"), Standing::Ready);
    assert_eq!(
        world.versions.end_trial().unwrap_err(),
        RevisionError::NoTrial
    );
    try_out(&world, "b").unwrap();
    world.versions.promote().unwrap();
    assert_eq!(standing("b"), Standing::Live);
    assert_eq!(standing("a"), Standing::Ready);
    let live = try_out(&world, "b").unwrap_err();
    assert_eq!(live, RevisionError::IsLive(revision("b").short()));
}

#[tokio::test]
async fn many_who_swap_at_the_same_time_leave_one_of_their_versions() {
    let world = Arc::new(Place::with("a").start());
    let mut swaps = tokio::task::JoinSet::new();
    for number in 0..40 {
        let world = Arc::clone(&world);
        swaps.spawn(async move {
            let component = format!("c{}", number % 4);
            world.add(&component).await.unwrap();
            world.activate(&component).unwrap();
            // There is nothing before it only if others have gone back too.
            let _ = world.versions.rollback(None);
        });
    }
    swaps.join_all().await;
    assert_eq!(world.loader.loads(), 5);
    let live: Vec<_> = world
        .versions
        .list()
        .into_iter()
        .filter(|known| known.standing == Standing::Live)
        .collect();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].revision.guest(), world.live());
}

#[tokio::test]
async fn a_version_is_found_by_the_beginning_of_its_name() {
    let place = Place::with("a");
    let world = place.start();
    let name = digest("a").to_string();
    assert_eq!(world.versions.find(&name[..5]).unwrap().size, 1);
    let found = world.versions.find(&name).unwrap();
    assert_eq!(found.origin, Origin::File(place.guest()));
    let by_revision = world.versions.find(&revision("a").short()).unwrap();
    assert_eq!(by_revision, found);
    for wrong in ["", "zz"] {
        let unknown = world.versions.find(wrong).unwrap_err();
        assert_eq!(unknown, RevisionError::Unknown(wrong.to_owned()));
    }
}

#[tokio::test]
async fn one_can_go_back_over_the_last_swaps_and_no_further() {
    let world = Place::with("a").start();
    world.add("b").await.unwrap();
    for _ in 0..50 {
        world.activate("b").unwrap();
        world.activate("a").unwrap();
    }
    let mut steps = 0;
    while world.versions.rollback(None).is_ok() {
        steps += 1;
    }
    assert_eq!(steps, 63);
}
