//! A rollout file that is in charge.

use std::sync::Arc;
use std::time::Duration;

use revisions::{ConditionKind, DesiredState, Report, RevisionError, Role};
use rollout::{Share, TrialKind};

use super::fake::{Place, World, digest, logged, revision, wait_until};

/// A place where `image` is configured, and `live` and the rest are declared.
fn declaring(live: &str, rest: &str) -> Place {
    let mut place = Place::with("image");
    place.declare(1, live, rest);
    place.rollout = Some(Arc::new(DesiredState::new(place.file("rollout.toml"))));
    place
}

/// Tells whether a condition holds, and why.
fn condition(report: &Report, kind: ConditionKind) -> (bool, &'static str, String) {
    let mut conditions = report.conditions.iter();
    let found = conditions.find(|condition| condition.kind == kind).unwrap();
    (found.holds, found.reason, found.message.clone())
}

impl World {
    async fn wait_until_in_sync_with(&self, component: &str) {
        wait_until("what is declared is in use", || {
            self.versions.report().in_sync && self.live() == digest(component)
        })
        .await;
    }

    /// Waits until it is degraded for a reason, and nothing more is done. Returns the message.
    async fn wait_until_degraded(&self, reason: &str) -> String {
        let mut message = String::new();
        wait_until(reason, || {
            let report = self.versions.report();
            let degraded = condition(&report, ConditionKind::Degraded);
            message = degraded.2;
            degraded.0 && degraded.1 == reason
        })
        .await;
        message
    }
}

#[tokio::test]
async fn what_is_declared_is_followed() {
    let place = declaring("a", "");
    let world = place.start();
    // At the start already.
    assert_eq!(world.live(), digest("a"));
    world.wait_until_in_sync_with("a").await;

    place.declare(2, "b", "[canary]\nshare = 0.25\nguest = \"c.wasm\"\n");
    world.wait_until_in_sync_with("b").await;
    let trial = world.versions.status().trial.unwrap();
    assert_eq!(trial.revision, revision("c"));
    assert_eq!(
        (trial.kind, trial.share),
        (TrialKind::Canary, Share::new(0.25).unwrap())
    );
    let declared = world.versions.report().desired.unwrap();
    assert_eq!(declared.generation, Some(2));
    let roles: Vec<_> = declared.roles.iter().map(|role| role.role).collect();
    assert_eq!(roles, [Role::Live, Role::Trial(TrialKind::Canary)]);

    // Another share, then a shadow, then none; and what the image brings.
    place.declare(3, "b", "[canary]\nshare = 0.5\nguest = \"c.wasm\"\n");
    wait_until("the share is another one", || {
        let trial = world.versions.status().trial.unwrap();
        trial.share.get() == 0.5 && world.versions.report().in_sync
    })
    .await;
    place.declare(4, "b", "[shadow]\nshare = 1\nguest = \"c.wasm\"\n");
    wait_until("it is a shadow", || {
        let trial = world.versions.status().trial.unwrap();
        trial.kind == TrialKind::Shadow && world.versions.report().in_sync
    })
    .await;
    place.write("rollout.toml", "generation = 5");
    world.wait_until_in_sync_with("image").await;
    assert!(world.versions.status().trial.is_none());
    for (name, value) in [
        ("fastsentiment_rollout_in_sync", 1.0),
        ("fastsentiment_rollout_generation", 5.0),
        ("fastsentiment_swaps_total{trigger=\"file\"}", 2.0),
    ] {
        wait_until(name, || world.metric(name) == value).await;
    }
}

#[tokio::test]
async fn what_cannot_be_done_leaves_what_serves_and_is_reported() {
    let place = declaring("a", "");
    let world = place.start();
    world.wait_until_in_sync_with("a").await;
    place.declare(2, "bad luck", "[canary]\nshare = 1\nguest = \"c.wasm\"\n");
    assert_eq!(
        world.wait_until_degraded("NotLoaded").await,
        "live: self_test: it says `bad luck`"
    );
    let report = world.versions.report();
    assert!(!report.in_sync);
    assert!(condition(&report, ConditionKind::Ready).0);
    // It is no use to try the same again, and nothing is tried beside another live revision.
    wait_until("it is settled", || {
        let report = world.versions.report();
        condition(&report, ConditionKind::Progressing).1 == "Settled"
    })
    .await;
    assert_eq!(world.live(), digest("a"));
    assert!(world.versions.status().trial.is_none());
    let metric = "fastsentiment_rollout_in_sync";
    wait_until(metric, || world.metric(metric) == 0.0).await;

    // A bad canary is no reason not to change the live revision.
    place.declare(3, "b", "[canary]\nshare = 1\nguest = \"bad luck.wasm\"\n");
    wait_until("b is live", || world.live() == digest("b")).await;
    let message = world.wait_until_degraded("NotLoaded").await;
    assert!(message.starts_with("canary: self_test: "), "{message}");
    // The same file, after a repair.
    place.write("bad luck.wasm", "repaired");
    place.declare(4, "b", "[canary]\nshare = 1\nguest = \"bad luck.wasm\"\n");
    world.wait_until_in_sync_with("b").await;
    assert_eq!(
        world.versions.status().trial.unwrap().revision,
        revision("repaired")
    );
}

#[tokio::test]
async fn a_file_that_makes_no_sense_is_refused_and_the_one_before_holds() {
    let place = declaring("a", "");
    let world = place.start();
    world.wait_until_in_sync_with("a").await;
    let tag = "generation = 2\n[live]\nguest = \"oci://registry.example/g:v1\"";
    for (content, expected) in [
        ("generation = \n", "line 1: "),
        (tag, "`oci://registry.example/g:v1` has no digest"),
        (&"#".repeat(70_000), "it is larger than 65536 bytes"),
    ] {
        place.write("rollout.toml", content);
        wait_until(expected, || {
            let report = world.versions.report();
            let (holds, reason, message) = condition(&report, ConditionKind::Degraded);
            holds && reason == "FileRefused" && message.contains(expected)
        })
        .await;
        let declared = world.versions.report().desired.unwrap();
        assert_eq!(declared.generation, Some(1));
        assert_eq!(world.live(), digest("a"));
    }
    std::fs::remove_file(place.file("rollout.toml")).unwrap();
    wait_until("it is gone", || {
        let report = world.versions.report();
        condition(&report, ConditionKind::Degraded).2 == "it is gone"
    })
    .await;
    // The same content as before is followed again.
    place.declare(1, "a", "");
    world.wait_until_in_sync_with("a").await;
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let place = declaring("a", "");
    let world = place.start();
    place.declare(2, "starved", "");
    assert!(
        world
            .wait_until_degraded("NotLoaded")
            .await
            .contains("there are no threads")
    );
    wait_until("it is going to be tried again", || {
        let report = world.versions.report();
        condition(&report, ConditionKind::Progressing).1 == "WaitingToRetry"
            && report.desired.unwrap().retry_at.is_some()
    })
    .await;
    world.loader.feed();
    world.wait_until_in_sync_with("starved").await;

    // A file that comes after the one that names it.
    place.write(
        "rollout.toml",
        "generation = 3\n[live]\nguest = \"later.wasm\"",
    );
    world.wait_until_degraded("NotFetched").await;
    place.write("later.wasm", "later");
    world.wait_until_in_sync_with("later").await;
}

#[tokio::test]
async fn the_newest_content_wins() {
    let place = declaring("a", "");
    let world = place.start();
    world.loader.hold(true);
    place.declare(2, "slow b", "");
    wait_until("it is loaded", || world.loader.loads() == 2).await;
    for generation in 3..13 {
        place.declare(generation, &format!("c{generation}"), "");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    wait_until("the last one is read", || {
        world.versions.report().desired.unwrap().generation == Some(12)
    })
    .await;
    world.loader.hold(false);
    world.wait_until_in_sync_with("c12").await;
    // What was under way has ended without being made live.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.live(), digest("c12"));
}

#[tokio::test]
async fn a_change_by_hand_has_to_be_an_override_and_lasts_until_the_file_is_followed_again() {
    let place = declaring("a", "");
    let world = place.start();
    world.wait_until_in_sync_with("a").await;
    let refused = world.versions.permit(false).unwrap_err();
    assert!(matches!(refused, RevisionError::Declared(_)), "{refused}");
    assert_eq!(world.versions.permit(true), Ok(()));
    // To add one changes nothing that is in use.
    world.add("by hand").await.unwrap();
    assert!(world.versions.report().in_sync);
    world.activate("by hand").unwrap();
    assert!(!world.versions.report().in_sync);
    world.wait_until_degraded("Overridden").await;
    // Nothing undoes it by itself.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(world.live(), digest("by hand"));

    let (_, change) = world.versions.reload().await.unwrap();
    assert_eq!(change.before, revision("by hand"));
    assert_eq!(change.live, revision("a"));
    world.wait_until_in_sync_with("a").await;

    let (trial, share) = (TrialKind::Shadow, Share::ALL);
    world
        .versions
        .begin_trial(&revision("by hand"), trial, share)
        .unwrap();
    world.wait_until_degraded("Overridden").await;
    place.declare(2, "a", "");
    world.wait_until_in_sync_with("a").await;
    assert!(world.versions.status().trial.is_none());
}

#[tokio::test]
async fn what_a_path_leads_to_is_read_again_on_reload() {
    let place = declaring("a", "");
    let world = place.start();
    world.wait_until_in_sync_with("a").await;
    place.write("a.wasm", "another a");
    let (_, change) = world.versions.reload().await.unwrap();
    assert_eq!(change.live, revision("another a"));
    assert!(world.versions.report().in_sync);
}

#[tokio::test]
async fn a_revision_that_fails_in_use_is_not_made_live_again() {
    let place = declaring("a", "");
    let world = place.start();
    place.declare(2, "b", "");
    world.wait_until_in_sync_with("b").await;
    world.fall("b", "a").await;
    assert_eq!(
        world.wait_until_degraded("Quarantined").await,
        "live: `b` has failed"
    );
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(world.live(), digest("a"));
    assert!(!world.versions.report().in_sync);
    let refused = world.versions.reload().await.unwrap_err();
    assert!(refused.to_string().contains("`b` has failed"), "{refused}");

    // Nor by a restart.
    place
        .wait_until_written("the quarantine", |record| {
            !record["quarantine"].as_array().unwrap().is_empty()
        })
        .await;
    let mut later = place.as_it_is_now();
    for name in ["a.wasm", "b.wasm", "rollout.toml"] {
        std::fs::copy(place.file(name), later.file(name)).unwrap();
    }
    later.rollout = Some(Arc::new(DesiredState::new(later.file("rollout.toml"))));
    let world = later.start();
    assert_eq!(world.live(), digest("a"));
    world.wait_until_degraded("Quarantined").await;
    later.declare(3, "c", "");
    world.wait_until_in_sync_with("c").await;
}

#[tokio::test]
async fn a_start_falls_back_from_live_to_trusted_to_what_the_image_brings() {
    let trusted = "[trusted]\nguest = \"t.wasm\"\n";
    for (live, trusted, expected) in [
        ("a", trusted, "a"),
        ("bad luck", trusted, "t"),
        ("bad luck", "", "image"),
        ("bad luck", "[trusted]\nguest = \"missing.wasm\"\n", "image"),
    ] {
        let place = declaring(live, trusted);
        place.write("t.wasm", "t");
        let (world, log) = logged(|| place.start());
        assert_eq!(world.live(), digest(expected), "{live} {trusted}");
        if live == expected {
            world.wait_until_in_sync_with("a").await;
            continue;
        }
        assert!(log.contains("it says `bad luck`"), "{log}");
        world.wait_until_degraded("NotLoaded").await;
        // A better file mends it.
        place.declare(2, "b", trusted);
        wait_until("b is live", || world.live() == digest("b")).await;
    }
    // Nor does a file that cannot be read keep a server from starting.
    for content in [None, Some("generation")] {
        let mut place = Place::with("image");
        let file = place.file("rollout.toml");
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        place.rollout = Some(Arc::new(DesiredState::new(file)));
        let world = place.start();
        assert_eq!(world.live(), digest("image"));
        world.wait_until_degraded("FileRefused").await;
        place.declare(1, "a", "");
        world.wait_until_in_sync_with("a").await;
    }
}

#[tokio::test]
async fn what_is_trusted_stands_by_after_a_start() {
    let mut place = declaring("a", "[trusted]\nguest = \"t.wasm\"\n");
    place.probation = Duration::from_secs(600);
    place.write("t.wasm", "t");
    let world = place.start();
    let probation = world.versions.status().probation.unwrap();
    assert_eq!(probation.fallback, revision("t"));
    drop(world);
    // Without a trusted one, what the image brings does.
    let mut place = declaring("a", "");
    place.probation = Duration::from_secs(600);
    let world = place.start();
    let probation = world.versions.status().probation.unwrap();
    assert_eq!(probation.fallback, revision("image"));
}

#[tokio::test]
async fn a_model_is_declared_like_a_guest() {
    let place = declaring("a", "");
    let world = place.start();
    for (generation, weights) in [(2, "second"), (3, "third")] {
        let dir = place.file(weights);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("weights"), weights).unwrap();
        let content =
            format!("generation = {generation}\n[live]\nguest = \"a.wasm\"\nmodel = \"{weights}\"");
        place.write("rollout.toml", &content);
        wait_until(weights, || {
            world.versions.status().live.model() == digest(weights)
                && world.versions.report().in_sync
        })
        .await;
    }
    // Those that are kept are bounded.
    assert_eq!(world.loader.models().len(), 2);
}

/// What the configured guest's file says is of no interest.
#[tokio::test]
async fn the_configured_file_is_not_followed() {
    let mut place = declaring("a", "");
    place.watch = true;
    let world = place.start();
    world.wait_until_in_sync_with("a").await;
    place.configure("other");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(world.live(), digest("a"));
    assert_eq!(world.versions.configured_fault(), None);
    assert!(!world.knows("other"));
}
