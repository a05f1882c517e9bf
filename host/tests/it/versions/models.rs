//! A model is swapped like a guest: uploaded or deployed, live, gone back to, kept over a
//! restart, and let go of.

use std::fs;
use std::sync::Arc;

use predictor::Digest;
use revisions::{Origin, RevisionError};
use rollout::{Share, TrialKind};

use super::fake::{FIRST_MODEL, Place, World, digest, guest, names, revision_with, wait_until};
use super::restart::restart;

/// Uploads a model, and makes it live with the live guest.
async fn swap_model(world: &World, weights: &str) {
    let model = world.receive(weights).await.unwrap();
    let guest = world.versions.guest(None).unwrap();
    let added = world.versions.add(guest, model).await.unwrap();
    world.versions.activate(&added.revision, false).unwrap();
    assert_eq!(live_model(world), digest(weights));
}

fn live_model(world: &World) -> Digest {
    world.versions.status().live.model()
}

/// The digests of what these models say, as the loader lists them.
fn digests(models: &[&str]) -> Vec<Digest> {
    let mut digests: Vec<_> = models.iter().map(|model| digest(model)).collect();
    digests.sort();
    digests
}

/// The models in the state directory.
fn kept(place: &Place) -> Vec<String> {
    names(&place.state().join("models"))
}

#[tokio::test]
async fn a_model_is_made_live_and_gone_back_from_and_the_oldest_is_freed() {
    let place = Place::with("a");
    let world = place.start();
    assert_eq!(live_model(&world), digest(FIRST_MODEL));
    swap_model(&world, "second").await;
    assert_eq!(world.versions.status().live, revision_with("a", "second"));
    let (card, _) = world.versions.live_model().unwrap();
    assert_eq!(card.name, "second");
    let known = world.versions.list();
    assert_eq!(known[0].model_origin, Origin::Upload);
    assert_eq!(known[1].model_origin, Origin::File(place.model()));

    world.versions.rollback(None).unwrap();
    assert_eq!(live_model(&world), digest(FIRST_MODEL));
    assert_eq!(world.loader.models(), digests(&[FIRST_MODEL, "second"]));
    // Known already: no load.
    let loads = world.loader.loads();
    swap_model(&world, "second").await;
    assert_eq!(world.loader.loads(), loads);

    // A new guest is loaded with the live model, and a known one with another model.
    world.swap("b").await;
    assert_eq!(live_model(&world), digest("second"));
    swap_model(&world, "third").await;
    assert_eq!(world.loader.models(), digests(&["second", "third"]));
    assert_eq!(world.metric("fastsentiment_loaded_models"), 2.0);
    world.versions.rollback(None).unwrap();
    assert_eq!(world.versions.status().live, revision_with("b", "second"));
}

#[tokio::test]
async fn a_guest_and_a_model_are_named_by_what_they_begin_with() {
    let place = Place::with("a");
    let world = place.start();
    swap_model(&world, "second").await;
    let name = |digest: Digest| digest.to_string()[..12].to_owned();
    let (guest, model) = (name(digest("a")), name(digest(FIRST_MODEL)));
    // Two revisions have the guest, which is one guest all the same.
    assert!(world.versions.guest(Some(&guest)).is_ok());
    let ambiguous = world.versions.find(&guest).unwrap_err();
    assert_eq!(ambiguous, RevisionError::Ambiguous(guest));
    let found = world.versions.model(Some(&model)).unwrap();
    assert_eq!(found.digest, digest(FIRST_MODEL));
    assert_eq!(world.versions.model(None).unwrap().digest, digest("second"));
    let unknown = world.versions.model(Some("0000")).unwrap_err();
    assert_eq!(unknown, RevisionError::UnknownModel("0000".to_owned()));
}

#[tokio::test]
async fn a_deployed_model_goes_live_and_a_bad_one_does_not() {
    let place = Place {
        watch: true,
        ..Place::with("a")
    };
    let world = place.start();
    world.swap("b").await;
    place.configure_model("second");
    wait_until("what is configured is live", || {
        world.versions.status().live == revision_with("a", "second")
    })
    .await;
    assert_eq!(
        world.metric("fastsentiment_swaps_total{trigger=\"file\"}"),
        1.0
    );
    place.configure_model("bad");
    wait_until("it is refused", || {
        let fault = world.versions.configured_fault();
        fault.is_some_and(|fault| fault.contains("it says `bad`"))
    })
    .await;
    assert_eq!(live_model(&world), digest("second"));
    place.configure_model("third");
    wait_until("the next one is live", || {
        live_model(&world) == digest("third") && world.versions.configured_fault().is_none()
    })
    .await;
}

#[tokio::test]
async fn what_is_configured_is_read_again_when_asked_for() {
    let place = Place::with("a");
    let world = place.start();
    place.configure_model("second");
    let (added, change) = world.versions.reload().await.unwrap();
    assert_eq!(added.revision, revision_with("a", "second"));
    assert_eq!(change.before, revision_with("a", FIRST_MODEL));
    fs::remove_dir_all(place.model()).unwrap();
    let error = world.versions.reload().await.unwrap_err();
    assert!(matches!(error, RevisionError::Unreadable { .. }), "{error}");
    assert_eq!(live_model(&world), digest("second"));
}

#[tokio::test]
async fn an_uploaded_model_is_live_after_a_restart() {
    let place = Place::with("a");
    let world = place.start();
    swap_model(&world, "second").await;
    let live = world.versions.status().live;
    let world = restart(&place, world).await;
    assert_eq!(world.versions.status().live, live);
    wait_until("the other one is known", || {
        world.versions.list().len() == 2
    })
    .await;
    world.versions.rollback(None).unwrap();
    assert_eq!(live_model(&world), digest(FIRST_MODEL));

    // Without the model, its guest is loaded with the configured one.
    world.versions.activate(&live, false).unwrap();
    world.swap("b").await;
    assert_eq!(live_model(&world), digest("second"));
    drop(world);
    place.wait_until_free().await;
    fs::remove_dir_all(place.state().join("models")).unwrap();
    let world = place.start();
    assert_eq!(
        world.versions.status().live,
        revision_with("b", FIRST_MODEL)
    );
}

#[tokio::test]
async fn a_model_that_was_deployed_while_no_server_ran_goes_live() {
    let place = Place::with("a");
    let world = place.start();
    world.swap("b").await;
    drop(world);
    place.wait_until_free().await;
    place.configure_model("second");
    let world = place.start();
    assert_eq!(world.versions.status().live, revision_with("a", "second"));
}

#[tokio::test]
async fn a_model_makes_room_if_it_is_not_in_use_and_otherwise_not() {
    let place = Place::with("a");
    let world = place.start();
    swap_model(&world, "second").await;
    swap_model(&world, "large third").await;
    // The first one was forgotten before the load, and the second after it.
    assert_eq!(world.loader.models(), digests(&["large third", "second"]));

    let model = world
        .versions
        .model(Some(&digest("second").to_string()))
        .unwrap();
    let added = world.versions.add(guest("b"), model).await.unwrap();
    let share = Share::new(0.5).unwrap();
    world
        .versions
        .begin_trial(&added.revision, TrialKind::Canary, share)
        .unwrap();
    let large = world.receive("large fourth").await.unwrap();
    let refused = world.versions.add(guest("a"), large).await.unwrap_err();
    assert_eq!(
        refused,
        RevisionError::Unavailable("there is no room".to_owned())
    );
    assert_eq!(live_model(&world), digest("large third"));
    assert!(world.versions.status().trial.is_some());
}

#[tokio::test]
async fn only_the_latest_uploads_are_kept_that_no_version_has() {
    let place = Place::with("a");
    let world = place.start();
    for weights in ["one", "two", "three", "four"] {
        world.receive(weights).await.unwrap();
    }
    let unknown = world.versions.model(Some(&digest("two").to_string()));
    assert!(matches!(unknown, Err(RevisionError::UnknownModel(_))));
    wait_until("the others are deleted", || {
        let mut expected: Vec<_> = [digest("three"), digest("four")]
            .map(|d| d.to_string())
            .into();
        expected.sort();
        kept(&place) == expected
    })
    .await;
    // None has a version, and none is needed after a restart.
    let world = restart(&place, world).await;
    assert_eq!(kept(&place), Vec::<String>::new());
    assert!(world.receive("bad").await.is_err());
    assert_eq!(kept(&place), Vec::<String>::new());
}

#[tokio::test]
async fn without_state_no_model_is_received() {
    let place = Place::with("a");
    let mut options = place.options();
    options.state = None;
    let world = place.try_start(options).unwrap();
    assert_eq!(world.receive("second").await, Err(RevisionError::NoState));
}

/// The same upload while the same model is swept, many times over: what was said to be kept
/// is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_not_swept_away() {
    let place = Place::with("a");
    let world = Arc::new(place.start());
    let busy = {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            for round in 0..200 {
                world.swap(["b", "c"][round % 2]).await;
            }
        })
    };
    for round in 0..60 {
        let model = world
            .receive(&format!("model {}", round % 4))
            .await
            .unwrap();
        assert!(model.dir.join("weights").is_file(), "{round}");
    }
    busy.await.unwrap();
}
