//! A server whose guest is a tag of a real registry.

use std::path::Path;

use tempfile::TempDir;
use testing::registry::RegistryServer;

use crate::admin::swapping::on;
use crate::fleet::labels;
use crate::harness::{PATIENCE, example_path, fixture, guest_path};
use crate::push::pushed;
use crate::server_process::{ServerProcess, run, subcommand_with};

/// Waits until it answers with so many labels.
async fn wait_for_labels(server: &ServerProcess, wanted: usize) {
    let until = async {
        while labels(server).await != wanted {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, until).await;
    assert!(in_time.is_ok(), "{}", server.log());
}

#[tokio::test]
async fn a_tag_is_followed_and_without_the_registry_what_it_stood_for_serves() {
    let dir = TempDir::new().unwrap();
    let registry = RegistryServer::start(dir.path(), "");
    let address = registry.address.clone();
    let reference = format!("oci://{address}/guest:stable");
    let push = |guest: &Path| {
        let plain = ["--registry-plain-http", &address];
        let path = ["--guest", guest.to_str().unwrap()];
        pushed(&[&[reference.as_str()][..], &plain, &path].concat())
            .trim_end()
            .to_owned()
    };
    let state = dir.path().join("state");
    let serve = || {
        let plain = ["--registry-plain-http", &address, "--oci-poll", "1"];
        let state = ["--state", state.to_str().unwrap()];
        let options = [&plain[..], &state].concat();
        ServerProcess::of_guest(&fixture("tiny-bert"), Path::new(&reference), &options)
    };
    let first = push(&example_path("lexicon"));
    let server = serve();
    assert!(server.greeting.contains(&first), "{}", server.greeting);
    // The tag moves.
    push(&example_path("neutral"));
    wait_for_labels(&server, 3).await;
    let said = on(&server, &["status"]);
    assert_eq!(said.code, Some(0), "{said:?}");

    // A change by hand needs no override, and lasts until the tag moves again.
    let said = on(&server, &["swap", guest_path().to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let by_hand = said.stdout.split(' ').nth(1).unwrap().to_owned();
    let lookups = server.log().matches("followed").count();
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    let versions = on(&server, &["versions", "--json"]).stdout;
    assert!(
        versions.contains(&format!("\"revision_short\":\"{by_hand}\"")),
        "{versions}"
    );
    assert_eq!(server.log().matches("followed").count(), lookups);
    push(&example_path("lexicon"));
    let said = on(&server, &["status", "--wait", "120s"]);
    assert_eq!(said.code, Some(0), "{said:?}");

    // What is live stays, and a restart begins with it.
    drop(registry);
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert_eq!(labels(&server).await, 2);
    let log = server.log();
    assert_eq!(
        log.matches("what is declared cannot be followed").count(),
        1,
        "{log}"
    );
    drop(server);
    let server = serve();
    assert!(server.greeting.contains(&first), "{}", server.greeting);
    let said = on(&server, &["status"]);
    assert!(said.stdout.contains("fetch: "), "{said:?}");
}

#[test]
fn what_does_not_go_together_with_a_registry_is_refused() {
    let (model, guest) = (
        fixture("tiny-bert"),
        Path::new("oci://127.0.0.1:9/guest:v1"),
    );
    let library = crate::harness::onnxruntime();
    let said = |name: &str, options: &[&str]| {
        let output = run(subcommand_with(name, &model, guest, &library).args(options));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let lacking = said("serve", &[]);
    assert!(lacking.contains("add --state DIR"), "{lacking}");
    let both = said("serve", &["--state", "s", "--rollout", "r.toml"]);
    assert!(
        both.contains("cannot be in a registry with --rollout"),
        "{both}"
    );
    let elsewhere = said("predict", &["a text"]);
    assert!(elsewhere.contains("only `serve` takes"), "{elsewhere}");
}
