//! The configured guest's file, and who decides against it. Which changes of a file
//! are seen is tested beside the code.

use revisions::RevisionError;

use super::fake::{Place, World, digest, wait_until};

fn watched(component: &str) -> (Place, World) {
    let place = Place {
        watch: true,
        ..Place::with(component)
    };
    let world = place.start();
    (place, world)
}

async fn wait_for_live(world: &World, component: &str) {
    wait_until(component, || world.live() == digest(component)).await;
}

fn outcomes(world: &World, outcome: &str) -> f64 {
    world.metric(&format!(
        "fastsentiment_candidates_total{{outcome=\"{outcome}\"}}"
    ))
}

#[tokio::test]
async fn a_file_that_changes_is_followed() {
    let (place, world) = watched("a");
    place.configure("b");
    wait_for_live(&world, "b").await;
    let by_file = "fastsentiment_swaps_total{trigger=\"file\"}";
    assert_eq!(world.metric(by_file), 1.0);
    // Back, without a load.
    place.configure("a");
    wait_for_live(&world, "a").await;
    assert_eq!(world.loader.loads(), 2);
}

/// The bad file is refused once: what follows it is seen, and so it was.
#[tokio::test]
async fn a_bad_file_is_refused_once_and_the_next_one_is_followed() {
    let (place, world) = watched("a");
    place.configure("bad luck");
    wait_until("it is refused", || outcomes(&world, "self_test") > 0.0).await;
    assert_eq!(world.live(), digest("a"));
    place.configure("bad luck");
    place.configure(&"x".repeat(65));
    wait_until("it is refused", || outcomes(&world, "size") > 0.0).await;
    assert_eq!(world.live(), digest("a"));
    place.configure("b");
    wait_for_live(&world, "b").await;
    assert_eq!(outcomes(&world, "self_test"), 1.0);
}

/// After the operator's choice the file is touched and written anew with the same
/// content; the change that follows shows that this was seen.
#[tokio::test]
async fn a_file_that_has_not_changed_undoes_no_decision() {
    let (place, world) = watched("a");
    place.configure("b");
    wait_for_live(&world, "b").await;
    world.versions.rollback(None).unwrap();
    let before = world.loader.loads();
    for _ in 0..3 {
        place.configure("b");
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        assert_eq!(world.live(), digest("a"));
    }
    world.swap("c").await;
    std::fs::remove_file(place.guest()).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    place.configure("b");
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert_eq!(world.live(), digest("c"));
    assert_eq!(world.loader.loads(), before + 1);
    place.configure("d");
    wait_for_live(&world, "d").await;
}

#[tokio::test]
async fn a_file_with_a_quarantined_content_is_refused_by_the_watch() {
    let (place, world) = watched("a");
    place.configure("b");
    wait_for_live(&world, "b").await;
    world.fall("b", "a").await;
    place.configure("c");
    wait_for_live(&world, "c").await;
    place.configure("b");
    wait_until("it is refused", || outcomes(&world, "quarantined") > 0.0).await;
    assert_eq!(world.live(), digest("c"));
}

#[tokio::test]
async fn reading_the_file_again_goes_to_what_is_configured() {
    let place = Place::with("a");
    let world = place.start();
    // There already.
    let (added, change) = world.versions.reload().await.unwrap();
    assert!(added.known);
    assert_eq!(change.live, change.before);
    // The file is as it was, and another version was chosen.
    world.swap("b").await;
    world.versions.reload().await.unwrap();
    assert_eq!(world.live(), digest("a"));
    place.configure("c");
    world.versions.reload().await.unwrap();
    assert_eq!(world.live(), digest("c"));
    let by_signal = "fastsentiment_swaps_total{trigger=\"signal\"}";
    assert_eq!(world.metric(by_signal), 2.0);

    place.configure("bad luck");
    let refused = world.versions.reload().await.unwrap_err();
    assert!(matches!(refused, RevisionError::Refused(_)), "{refused}");
    place.configure(&"x".repeat(65));
    let refused = world.versions.reload().await.unwrap_err();
    assert!(matches!(refused, RevisionError::Refused(_)), "{refused}");
    std::fs::remove_file(place.guest()).unwrap();
    let unreadable = world.versions.reload().await.unwrap_err();
    assert!(matches!(unreadable, RevisionError::Unreadable { .. }));
    assert_eq!(world.live(), digest("c"));
}
