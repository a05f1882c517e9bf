//! A configuration is a part of what answers: set, deployed, declared, gone back from, and
//! kept over a restart.

use std::sync::Arc;

use predictor::{Configuration, ConfigurationError, Revision};
use revisions::{ConditionKind, ConfiguredValues, DesiredState, RevisionError, StartError};
use rollout::{Share, TrialKind};

use super::fake::{FIRST_MODEL, Place, World, digest, guest, logged, wait_until};
use super::restart::restart;

fn set(pairs: &[(&str, &str)]) -> Configuration {
    let pairs = pairs
        .iter()
        .map(|&(key, value)| (key.to_owned(), Some(value.to_owned())));
    Configuration::NONE.with(pairs).unwrap()
}

fn of(component: &str, pairs: &[(&str, &str)]) -> Arc<Revision> {
    let (guest, model) = (digest(component), digest(FIRST_MODEL));
    Arc::new(Revision::new(guest, model, set(pairs)))
}

/// A place with a file for the configuration of its guest.
fn configured(content: &str) -> Place {
    let mut place = Place::with("a");
    place.write("guest.toml", content);
    place.configuration = ConfiguredValues {
        file: Some(place.file("guest.toml")),
        set: vec![("set".to_owned(), "1".to_owned())],
    };
    place
}

impl World {
    /// Makes the live guest live with a configuration.
    async fn set(&self, changes: &[(&str, Option<&str>)]) -> Arc<Revision> {
        let live = self.versions.status().live;
        let changes = changes
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.map(str::to_owned)));
        let received = self.versions.receive_configuration(Some(&live), changes);
        let mut guest = self.versions.guest(None).unwrap();
        guest.configuration = received.unwrap().0;
        let model = self.versions.model(None).unwrap();
        let added = self.versions.add(guest, model).await.unwrap();
        self.versions.activate(&added.revision, false).unwrap();
        added.revision
    }
}

#[tokio::test]
async fn only_the_configuration_is_swapped_and_gone_back_from() {
    let place = Place::with("a");
    let world = place.start();
    assert_eq!(world.versions.status().live, of("a", &[]));
    let second = world
        .set(&[("margin", Some("0.3")), ("x", Some("y"))])
        .await;
    assert_eq!(second, of("a", &[("margin", "0.3"), ("x", "y")]));
    let third = world.set(&[("x", None)]).await;
    assert_eq!(third, of("a", &[("margin", "0.3")]));
    assert_eq!(world.versions.status().live, third);
    world.versions.rollback(None).unwrap();
    assert_eq!(world.versions.status().live, second);
    // Known already: no load.
    let loads = world.loader.loads();
    assert_eq!(world.set(&[("x", None)]).await, third);
    assert_eq!(world.loader.loads(), loads);
    // Each is a version of its own, also on trial.
    let share = Share::new(0.5).unwrap();
    world
        .versions
        .begin_trial(&second, TrialKind::Canary, share)
        .unwrap();
    assert_eq!(world.versions.status().trial.unwrap().revision, second);
}

#[tokio::test]
async fn a_configuration_is_named_by_its_digest() {
    let place = Place::with("a");
    let world = place.start();
    let versions = &world.versions;
    let receive = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|&(key, value)| (key.to_owned(), Some(value.to_owned())));
        versions.receive_configuration(None, pairs.collect::<Vec<_>>())
    };
    let first = set(&[("n", "first")]);
    assert_eq!(receive(&[("n", "first")]).unwrap(), (first.clone(), false));
    assert_eq!(receive(&[("n", "first")]).unwrap(), (first.clone(), true));
    let find = |digest: predictor::Digest| versions.configuration(Some(&digest.to_string()[..12]));
    assert_eq!(find(first.digest()).unwrap(), first);
    assert_eq!(
        find(Configuration::NONE.digest()).unwrap(),
        Configuration::NONE
    );
    assert_eq!(versions.configuration(None).unwrap(), Configuration::NONE);
    // Those that came first are forgotten, unless a version has them.
    let mut kept = guest("b");
    kept.configuration = first.clone();
    versions
        .add(kept, versions.model(None).unwrap())
        .await
        .unwrap();
    let other = receive(&[("n", "other")]).unwrap().0;
    for n in 0..16 {
        receive(&[("n", &n.to_string())]).unwrap();
    }
    assert_eq!(find(first.digest()).unwrap(), first);
    let unknown = find(other.digest()).unwrap_err();
    assert!(matches!(unknown, RevisionError::UnknownConfiguration(_)));
    let refused = receive(&[("a b", "")]).unwrap_err();
    let key = ConfigurationError::Key("a b".to_owned());
    assert_eq!(refused, RevisionError::Configuration(key));
}

#[tokio::test]
async fn a_restart_knows_every_configuration() {
    let place = Place::with("a");
    let world = place.start();
    let second = world
        .set(&[("margin", Some("0.3")), ("secret", Some("s"))])
        .await;
    let third = world.set(&[("margin", Some("0.4"))]).await;
    let (failed, live) = (Arc::clone(&second), Arc::clone(&third));
    world.tell_of(failed, live, "it failed".to_owned()).await;
    let world = restart(&place, world).await;
    assert_eq!(world.versions.status().live, third);
    let live = world.versions.status().live;
    assert_eq!(
        live.configuration(),
        &set(&[("margin", "0.4"), ("secret", "s")])
    );
    let quarantined = world.versions.quarantined();
    assert_eq!(quarantined[0].revision, second);
    // Nothing is known against the same guest with other values.
    assert_eq!(quarantined.len(), 1);
}

#[tokio::test]
async fn a_changed_file_is_deployed_and_a_wrong_one_is_not() {
    let mut place = configured("margin = 0.1");
    place.watch = true;
    let world = place.start();
    assert_eq!(
        world.versions.status().live,
        of("a", &[("margin", "0.1"), ("set", "1")])
    );
    place.write("guest.toml", "margin = 0.2\nset = 2 # overruled");
    let second = of("a", &[("margin", "0.2"), ("set", "1")]);
    wait_until("the file is followed", || {
        world.versions.status().live == second
    })
    .await;

    place.write("guest.toml", "margin = [0.3]");
    wait_until("the fault is reported", || {
        world.versions.configured_fault().is_some()
    })
    .await;
    let fault = world.versions.configured_fault().unwrap();
    assert!(
        fault.contains("guest.toml, line 1: invalid type: sequence"),
        "{fault}"
    );
    assert_eq!(world.versions.status().live, second);

    place.write("guest.toml", "margin = 0.4");
    let third = of("a", &[("margin", "0.4"), ("set", "1")]);
    wait_until("the file is followed", || {
        world.versions.status().live == third
    })
    .await;
    assert_eq!(world.versions.configured_fault(), None);
}

#[tokio::test]
async fn a_start_with_a_wrong_file_serves_what_it_can() {
    let mut place = configured("margin = 0.1");
    let world = place.start();
    drop(world);
    place.wait_until_free().await;
    place.write("guest.toml", "margin");
    let (world, log) = logged(|| place.start());
    assert_eq!(
        world.versions.status().live,
        of("a", &[("margin", "0.1"), ("set", "1")])
    );
    assert!(
        log.contains("THE CONFIGURED GUEST IS NOT SERVED: the configuration "),
        "{log}"
    );
    drop(world);
    place.wait_until_free().await;

    // Without a state there is only the fallback, which has no configuration.
    std::fs::remove_dir_all(place.state()).unwrap();
    let error = place.try_start(place.options()).err().unwrap();
    assert!(matches!(error, StartError::Configuration(_)), "{error}");
    place.has_fallback = true;
    let world = place.start();
    assert_eq!(world.versions.status().live, of("fallback", &[]));
}

#[tokio::test]
async fn each_role_of_a_rollout_file_has_its_own() {
    let mut place = configured("margin = 0.1");
    let image = "[live]\n[canary]\nshare = 0.5\nconfiguration = { margin = 0.3, fast = true }";
    place.write("rollout.toml", &format!("generation = 1\n{image}"));
    place.rollout = Some(Arc::new(DesiredState::new(place.file("rollout.toml"))));
    let world = place.start();
    let live = of("a", &[("margin", "0.1"), ("set", "1")]);
    let canary = of("a", &[("fast", "true"), ("margin", "0.3")]);
    wait_until("both are in use", || world.versions.report().in_sync).await;
    let status = world.versions.status();
    assert_eq!(
        (&status.live, &status.trial.unwrap().revision),
        (&live, &canary)
    );

    place.write(
        "rollout.toml",
        "generation = 2\n[live]\nconfiguration = { margin = 0.3, fast = true }\n\
         [trusted]\nconfiguration = {}",
    );
    wait_until("the canary is live", || {
        world.versions.report().in_sync && world.versions.status().live == canary
    })
    .await;
    let report = world.versions.report();
    let conditions = &report.conditions;
    let degraded = conditions
        .iter()
        .find(|one| one.kind == ConditionKind::Degraded);
    assert!(!degraded.unwrap().holds);
    let trusted = of("a", &[]);
    wait_until("the trusted one is here as well", || {
        let roles = world.versions.report().desired.unwrap().roles;
        roles[1].revision.as_ref() == Some(&trusted)
    })
    .await;
}
