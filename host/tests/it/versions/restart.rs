//! What a server knows of the one before it, and what damage costs.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use revisions::{Origin, RevisionError, StartError};
use rollout::{Share, TrialKind};

use super::fake::{Place, World, digest, names, revision, wait_until};

/// Ends a server, and begins the next one.
pub(super) async fn restart(place: &Place, world: World) -> World {
    drop(world);
    place.wait_until_free().await;
    place.start()
}

/// Waits until a server has loaded what it knows from before.
async fn wait_for(world: &World, components: &[&str]) {
    wait_until("all is known", || {
        components.iter().all(|component| world.knows(component))
    })
    .await;
}

/// A place whose configured guest is `a`, where `b` was live and then `c`.
async fn used() -> Place {
    let place = Place::with("a");
    let world = place.start();
    world.swap("b").await;
    world.swap("c").await;
    drop(world);
    place.wait_until_free().await;
    place
}

#[tokio::test]
async fn everything_is_as_it_was() {
    let place = Place::with("a");
    let world = place.start();
    for component in ["b", "c", "d"] {
        world.swap(component).await;
    }
    world.fall("d", "c").await;
    world.add("e").await.unwrap();
    let share = Share::new(0.25).unwrap();
    let trial = (TrialKind::Canary, share);
    world
        .versions
        .begin_trial(&revision("e"), trial.0, trial.1)
        .unwrap();
    let mut before = world.versions.list();
    let quarantined = world.versions.quarantined();

    let world = restart(&place, world).await;
    // At once, without any other load.
    assert_eq!(world.live(), digest("c"));
    wait_for(&world, &["a", "b", "c", "d", "e"]).await;
    wait_until("the trial goes on", || {
        world.versions.status().trial.is_some()
    })
    .await;
    let mut after = world.versions.list();
    for known in [&mut before, &mut after] {
        known.sort_by_key(|known| known.revision.guest().0);
        for known in known {
            // Kept in whole milliseconds.
            let ms = |time: std::time::SystemTime| {
                time.duration_since(std::time::UNIX_EPOCH)
                    .unwrap()
                    .as_millis()
            };
            known.added = std::time::UNIX_EPOCH
                + std::time::Duration::from_millis(u64::try_from(ms(known.added)).unwrap());
            known.activated = None;
        }
    }
    let origins = |known: &[revisions::KnownRevision]| -> Vec<_> {
        known
            .iter()
            .map(|known| {
                (
                    known.revision.guest(),
                    known.origin.clone(),
                    known.size,
                    known.added,
                )
            })
            .collect()
    };
    assert_eq!(origins(&before), origins(&after));
    let again = world.versions.quarantined();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].reason, quarantined[0].reason);
    assert!(matches!(
        world.activate("d").unwrap_err(),
        RevisionError::Quarantined { .. }
    ));
    let on_trial = world.versions.status().trial.unwrap();
    assert_eq!(on_trial.revision.guest(), digest("e"));
    assert_eq!((on_trial.kind, on_trial.share), trial);
    // Back over what was before the restart.
    for component in ["b", "a"] {
        let change = world.versions.rollback(None).unwrap();
        assert_eq!(change.live.guest(), digest(component));
    }
    assert_eq!(
        world
            .versions
            .find(&digest("a").to_string())
            .unwrap()
            .origin,
        Origin::File(place.guest())
    );
}

#[tokio::test]
async fn a_file_deployed_while_no_server_ran_is_made_live() {
    let place = used().await;
    place.configure("d");
    let world = place.start();
    assert_eq!(world.live(), digest("d"));
    wait_for(&world, &["c"]).await;
    assert_eq!(
        world.versions.rollback(None).unwrap().live.guest(),
        digest("c")
    );
    // That is a decision, and the file is as it was.
    let world = restart(&place, world).await;
    assert_eq!(world.live(), digest("c"));
}

#[tokio::test]
async fn a_quarantined_file_is_not_made_live_by_a_start() {
    let place = Place::with("a");
    let world = place.start();
    world.swap("b").await;
    world.fall("b", "a").await;
    place.configure("b");
    let world = restart(&place, world).await;
    assert_eq!(world.live(), digest("a"));
    let world = restart(&place, world).await;
    assert_eq!(world.live(), digest("a"));
    // With nothing else there is to serve, it is served.
    drop(world);
    place.wait_until_free().await;
    for name in names(&place.state()) {
        let path = place.state().join(name);
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(place.start().live(), digest("b"));
}

#[tokio::test]
async fn without_a_good_file_the_last_good_version_is_served() {
    let place = used().await;
    place.configure("bad luck");
    let world = place.start();
    assert_eq!(world.live(), digest("c"));
    fs::remove_file(place.guest()).unwrap();
    let world = restart(&place, world).await;
    assert_eq!(world.live(), digest("c"));
    // Without any version there is nothing to serve.
    let nothing = Place::with("bad luck");
    let error = nothing.try_start(nothing.options()).err().unwrap();
    assert!(matches!(error, StartError::Refused { .. }), "{error}");
    fs::remove_file(nothing.guest()).unwrap();
    let error = nothing.try_start(nothing.options()).err().unwrap();
    assert!(matches!(error, StartError::Unreadable { .. }), "{error}");
}

#[tokio::test]
async fn a_state_cut_at_any_byte_costs_no_start() {
    let place = used().await;
    let state = place.state().join("state.json");
    let whole = fs::read(&state).unwrap();
    let components = |world: &World| world.versions.list().len();
    for end in (0..whole.len()).step_by(7) {
        fs::write(&state, &whole[..end]).unwrap();
        let world = place.start();
        assert_eq!(world.live(), digest("a"), "{end}");
        assert_eq!(components(&world), 1);
        drop(world);
        place.wait_until_free().await;
        // What could not be read is there for whoever wants to know.
        let damaged = fs::read(place.state().join("state.json.damaged"));
        assert_eq!(damaged.unwrap(), &whole[..end]);
    }
    for garbage in [
        "[]".to_owned(),
        "\0\u{1}\u{2}".to_owned(),
        String::from_utf8(whole.clone()).unwrap() + "x",
        String::from_utf8(whole.clone())
            .unwrap()
            .replace("\"format\": 2", "\"format\": 99"),
        "9".repeat(5 << 20),
    ] {
        fs::write(&state, garbage).unwrap();
        let world = place.start();
        assert_eq!(world.live(), digest("a"));
        drop(world);
        place.wait_until_free().await;
    }
}

#[tokio::test]
async fn a_component_that_is_damaged_or_missing_costs_only_itself() {
    let file = |component: &str| format!("{}.wasm", digest(component));
    for cut in [None, Some(0), Some(1)] {
        for lost in ["b", "c"] {
            let place = used().await;
            let path = place.state().join(file(lost));
            match cut {
                None => fs::remove_file(&path).unwrap(),
                Some(0) => fs::write(&path, "").unwrap(),
                Some(_) => fs::write(&path, "x").unwrap(),
            }
            let world = place.start();
            let (live, other) = match lost {
                "c" => ("a", "b"),
                _ => ("c", "a"),
            };
            assert_eq!(world.live(), digest(live));
            wait_for(&world, &[other]).await;
            assert!(!world.knows(lost));
            wait_until("it is given up", || {
                world.activate(lost).unwrap_err() == RevisionError::Unknown(revision(lost).short())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_second_server_keeps_nothing_and_harms_nothing() {
    let place = used().await;
    let first = place.start();
    assert_eq!(first.live(), digest("c"));
    wait_for(&first, &["a", "b"]).await;
    // Written in the order in which they were loaded.
    let mut loaded = first.versions.list();
    loaded.reverse();
    let loaded: Vec<String> = loaded
        .iter()
        .map(|known| known.revision.guest().to_string())
        .collect();
    place
        .wait_until_written("all is written", |record| {
            let written = record["revisions"].as_array().unwrap().iter();
            written.map(|kept| &kept["revision"]["guest"]).eq(&loaded)
        })
        .await;
    // The first server may be writing the same record once more.
    let kept = || {
        let mut names = names(&place.state());
        names.retain(|name| !name.starts_with(".fastsentiment-"));
        (names, place.record())
    };
    let before = kept();
    let second = place.start();
    assert_eq!(second.live(), digest("a"));
    assert_eq!(second.versions.state_dir(), None);
    second.swap("d").await;
    drop(second);
    assert_eq!(before, kept());
    assert_eq!(restart(&place, first).await.live(), digest("c"));
}

#[tokio::test]
async fn no_more_is_kept_than_is_known() {
    let place = Place {
        keep: 2,
        ..Place::with("a")
    };
    let world = place.start();
    for number in 0..20 {
        world.swap(&format!("c{number}")).await;
    }
    let (orphan, foreign) = (format!("{}.wasm", digest("orphan")), "README");
    fs::write(place.state().join(&orphan), "orphan").unwrap();
    fs::write(place.state().join(".fastsentiment-x"), "half").unwrap();
    fs::write(place.state().join(foreign), "not ours").unwrap();
    let world = restart(&place, world).await;
    assert_eq!(world.live(), digest("c19"));
    let mut expected: Vec<String> = ["c18", "c19"]
        .map(|component| format!("{}.wasm", digest(component)))
        .into();
    expected.extend([foreign, "lock", "state.json"].map(str::to_owned));
    expected.sort();
    wait_until("nothing else is there", || {
        names(&place.state()) == expected
    })
    .await;
    // A server that keeps fewer goes on with fewer.
    drop(world);
    place.wait_until_free().await;
    let fewer = Place { keep: 1, ..place };
    let world = fewer.start();
    assert_eq!(world.live(), digest("c19"));
    drop(world);
    fewer.wait_until_free().await;
    assert_eq!(names(&fewer.state()).len(), 4);
    let mode = fs::metadata(fewer.state()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn a_directory_that_others_can_write_to_is_refused_and_no_directory_is_not() {
    let place = Place::with("a");
    fs::create_dir(place.state()).unwrap();
    fs::set_permissions(place.state(), Permissions::from_mode(0o770)).unwrap();
    let error = place.try_start(place.options()).err().unwrap();
    assert!(matches!(error, StartError::State(_)));
    assert!(error.to_string().contains("(mode 770)"), "{error}");
    // One that can not be made.
    fs::remove_dir(place.state()).unwrap();
    fs::write(place.state(), "a file").unwrap();
    let world = place.start();
    assert_eq!(world.versions.state_dir(), None);
    world.swap("b").await;
}

#[tokio::test]
async fn a_state_that_can_not_be_written_stops_no_swap() {
    let place = used().await;
    let world = place.start();
    let file = |component: &str| place.state().join(format!("{}.wasm", digest(component)));
    // No file can get the name of a directory.
    fs::create_dir(file("d")).unwrap();
    world.swap("d").await;
    assert_eq!(
        world.versions.rollback(None).unwrap().live.guest(),
        digest("c")
    );
    // Components are written before the record that names them.
    let d = digest("d").to_string();
    place
        .wait_until_written("the record", |record| {
            let mut known = record["revisions"].as_array().unwrap().iter();
            known.any(|entry| entry["revision"]["guest"] == *d)
        })
        .await;
    // With the next change, what could not be written is.
    fs::remove_dir(file("d")).unwrap();
    world.swap("e").await;
    wait_until("both are written", || {
        ["d", "e"].iter().all(|component| file(component).is_file())
    })
    .await;
}

/// The directory is held open: whoever can rename one on the way cannot make the server
/// take another state for its own.
#[tokio::test]
async fn the_state_stays_in_the_directory_that_was_checked() {
    let place = used().await;
    let away = place.dir.path().join("away");
    let world = place.start();
    fs::rename(place.state(), &away).unwrap();
    fs::create_dir(place.state()).unwrap();
    world.swap("d").await;
    drop(world);
    let component = format!("{}.wasm", digest("d"));
    wait_until("it is written", || names(&away).contains(&component)).await;
    assert_eq!(names(&place.state()), [""; 0]);
}

/// What another user has put there while they could, and what they can still write to, is
/// not read, whatever the directory's permissions are now.
#[tokio::test]
async fn files_that_others_could_change_are_not_read() {
    let place = used().await;
    let component = place.state().join(format!("{}.wasm", digest("b")));
    fs::set_permissions(&component, Permissions::from_mode(0o666)).unwrap();
    let world = place.start();
    assert_eq!(world.live(), digest("c"));
    wait_for(&world, &["a"]).await;
    wait_until("it is given up", || {
        world.activate("b").unwrap_err() == RevisionError::Unknown(revision("b").short())
    })
    .await;
    drop(world);
    place.wait_until_free().await;
    let state = place.state().join("state.json");
    if chown(&state, Some(65_534), None).is_err() {
        eprintln!("*** SKIPPED: only root can give a file to another user");
        fs::set_permissions(&state, Permissions::from_mode(0o602)).unwrap();
    }
    let world = place.start();
    assert_eq!(world.live(), digest("a"));
    assert!(place.state().join("state.json.damaged").exists());
}
