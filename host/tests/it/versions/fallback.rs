//! What a start falls back to, and what stands by for a guest that nothing vouches for.

use std::fs;
use std::time::Duration;

use revisions::{Origin, StartError};
use serde_json::json;

use super::fake::{Place, digest, logged, wait_until};
use super::restart::restart;
use super::restoring::{end_trusted, standby};
use crate::harness::{default_model, guest_path};
use crate::limits::hostile_path;
use crate::server_process::{ServerProcess, answer};

const UNSERVED: &str = "fastsentiment_configured_guest_unserved";

fn place(configured: &str) -> Place {
    Place {
        has_fallback: true,
        probation: Duration::from_secs(3600),
        ..Place::with(configured)
    }
}

#[tokio::test]
async fn a_start_falls_back_from_a_guest_that_cannot_be_served() {
    for (configured, reason) in [
        ("bad luck".to_owned(), "it says `bad luck`"),
        ("x".repeat(65), "larger than 64 bytes"),
        ("starved a".to_owned(), "there are no threads"),
        (String::new(), "No such file"),
    ] {
        let place = place(&configured);
        if configured.is_empty() {
            fs::remove_file(place.guest()).unwrap();
        }
        let (world, log) = logged(|| place.start());
        assert_eq!(world.live(), digest("fallback"), "{reason}");
        assert!(log.contains("THE CONFIGURED GUEST IS NOT SERVED"), "{log}");
        assert!(log.contains(reason), "{log}");
        let known = world.versions.list();
        assert_eq!(known[0].origin, Origin::File(place.fallback()));
        let fault = world.versions.configured_fault().unwrap();
        assert!(fault.contains(reason), "{fault}");
        assert_eq!(world.metric(UNSERVED), 1.0);
        // It is the last resort, and nothing stands by for it.
        assert_eq!(standby(&world), None);
        // A file that can be served ends the condition.
        place.configure("a");
        world.versions.reload().await.unwrap();
        assert_eq!(world.live(), digest("a"));
        assert_eq!(world.versions.configured_fault(), None);
        assert_eq!(world.metric(UNSERVED), 0.0);
        assert_eq!(standby(&world), Some(digest("fallback")));
    }
}

#[tokio::test]
async fn a_guest_that_was_not_live_before_is_on_probation() {
    let place = place("a");
    let world = place.start();
    assert_eq!(world.live(), digest("a"));
    assert_eq!(standby(&world), Some(digest("fallback")));
    assert_eq!(world.metric(UNSERVED), 0.0);
    assert!(world.knows("fallback"));
    // As it was at the end, once more.
    let world = restart(&place, world).await;
    assert_eq!(world.live(), digest("a"));
    assert_eq!(standby(&world), Some(digest("fallback")));
    // It falls, and the next start knows.
    world.fall("a", "fallback").await;
    let fault = world.versions.configured_fault().unwrap();
    assert!(fault.contains("`a` has failed"), "{fault}");
    assert_eq!(world.metric(UNSERVED), 1.0);
    let world = restart(&place, world).await;
    assert_eq!(world.live(), digest("fallback"));
    assert_eq!(standby(&world), None);
    assert!(world.versions.configured_fault().is_some());
}

#[tokio::test]
async fn what_was_trusted_before_stands_by_for_a_new_file() {
    let place = Place {
        probation: Duration::from_millis(200),
        ..place("a")
    };
    let world = place.start();
    end_trusted(&place, world, &["a"]).await;
    let place = Place {
        probation: Duration::from_secs(3600),
        ..place
    };
    place.configure("b");
    let world = place.start();
    assert_eq!(world.live(), digest("b"));
    assert_eq!(standby(&world), Some(digest("a")));
    // Where that is lost, the fallback guest does.
    drop(world);
    place.wait_until_free().await;
    fs::remove_file(place.state().join(format!("{}.wasm", digest("a")))).unwrap();
    let world = place.start();
    assert_eq!(world.live(), digest("b"));
    assert_eq!(standby(&world), Some(digest("fallback")));
}

#[tokio::test]
async fn a_fallback_that_is_of_no_use_costs_nothing_but_itself() {
    // The configured guest itself.
    let same = place("fallback");
    let world = same.start();
    assert_eq!((world.loader.loads(), standby(&world)), (1, None));
    for fallback in ["bad too", "missing"] {
        let place = place("a");
        match fallback {
            "missing" => fs::remove_file(place.fallback()).unwrap(),
            component => fs::write(place.fallback(), component).unwrap(),
        }
        let (world, log) = logged(|| place.start());
        assert_eq!((world.live(), standby(&world)), (digest("a"), None));
        assert!(log.contains("the fallback guest cannot be used"), "{log}");
        drop(world);
        place.wait_until_free().await;
        // If both are bad, it is told what is wrong with the configured one.
        let place = Place {
            has_fallback: true,
            ..Place::with("bad luck")
        };
        fs::write(place.fallback(), "bad too").unwrap();
        let error = place.try_start(place.options()).err().unwrap();
        assert!(matches!(error, StartError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("bad luck"), "{error}");
    }
}

/// What a client sees of a fresh server whose guest is garbage, or fails on real texts.
#[tokio::test]
async fn a_fresh_server_with_a_bad_guest_answers_every_request() {
    let dir = tempfile::tempdir().unwrap();
    let garbage = dir.path().join("guest.wasm");
    fs::write(&garbage, "no component").unwrap();
    let fallback = ["--fallback-guest", guest_path().to_str().unwrap()];
    let client = testing::client().build().unwrap();
    let ready = async |server: &ServerProcess, path: fn(&ServerProcess, &str) -> String| {
        let ready = answer(client.get(path(server, "/health/ready"))).await;
        assert_eq!(ready.status, 200, "{}", ready.body);
        ready.json()
    };
    let degraded = json!({"status": "ready", "conditions": ["configured-guest-not-served"]});

    let server = ServerProcess::of_guest(&default_model(), &garbage, &fallback);
    server.predict(&["a text".to_owned()]).await;
    assert_eq!(ready(&server, ServerProcess::url).await, degraded);
    assert_eq!(ready(&server, ServerProcess::admin_url).await, degraded);
    assert_eq!(server.metric(UNSERVED).await, 1.0);
    let greeting = &server.greeting;
    assert!(
        greeting.contains(&format!("NOT {}", garbage.display())),
        "{greeting}"
    );
    let log = server.log();
    assert!(log.contains("THE CONFIGURED GUEST IS NOT SERVED"), "{log}");
    let listing = answer(client.get(server.admin_url("/versions"))).await;
    let fault = listing.json()["configured_fault"].take();
    assert!(fault.as_str().unwrap().contains("refused"), "{fault}");

    // One that passes its self-test.
    let server = ServerProcess::of_guest(&default_model(), hostile_path(), &fallback);
    assert_eq!(
        ready(&server, ServerProcess::url).await,
        json!({"status": "ready"})
    );
    for number in 0..20 {
        let predictions = server.predict(&[format!("do panic: {number}")]).await;
        assert_eq!(predictions[0].as_array().unwrap().len(), 2);
    }
    wait_until("it has fallen", || {
        server
            .log()
            .contains("QUARANTINED: a revision has failed in use")
    })
    .await;
    assert_eq!(ready(&server, ServerProcess::url).await, degraded);
}

/// Without a fallback, and after its probation, nothing answers for a guest.
#[tokio::test]
async fn a_server_that_answers_nothing_is_not_ready() {
    let server = ServerProcess::of_guest(&default_model(), hostile_path(), &[]);
    let client = testing::client().build().unwrap();
    let ready = async || answer(client.get(server.url("/health/ready"))).await;
    let ask = async |text: &str| server.post(&[text.to_owned()]).await.status;
    let mut asked = 0.0;
    let failing = loop {
        let ready = ready().await;
        if ready.status != 200 {
            break ready;
        }
        assert_eq!(ask("do panic: again").await, 500);
        asked += 1.0;
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(failing.status, 503);
    assert_eq!(failing.json()["type"], "urn:fastsentiment:problem:failing");
    let failures = server.metric("fastsentiment_failures_since_answer").await;
    assert_eq!(failures, asked);
    // A single answer is enough.
    assert_eq!(ask("a text").await, 200);
    assert_eq!(ready().await.status, 200);
}
