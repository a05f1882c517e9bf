//! What versions are called, and what they say of themselves.

use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

use super::swapping::{done, refused};
use super::{client, get};
use crate::harness::{default_model, example_path};
use crate::hostile::{component, hostile, no_golden};
use crate::server_process::ServerProcess;

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

/// Asserts that everything calls the live version so.
async fn assert_called(server: &ServerProcess, name: Option<&str>) {
    let answer = server.post(&["Is it?".to_owned()]).await;
    let header = answer.headers.get("x-fastsentiment-name");
    assert_eq!(header.map(|name| name.to_str().unwrap()), name);
    let version: Value = get(server.url("/version")).await.json();
    assert_eq!(version["revision_name"], json!(name));
    let listing: Value = serde_json::from_str(&done(server, &["versions", "--json"])).unwrap();
    assert_eq!(listing["live"]["name"], json!(name));
    let metrics = get(server.admin_url("/metrics")).await.body;
    let mut lines = metrics.lines();
    let live = lines.find(|line| line.starts_with("fastsentiment_live_version_info{"));
    let label = format!("name=\"{}\"", name.unwrap_or_default());
    assert!(live.unwrap().contains(&label), "{live:?}");
}

#[tokio::test]
async fn a_version_is_called_as_somebody_says() {
    let state = TempDir::new().unwrap();
    let state = state.path().join("state");
    let options = ["--state", state.to_str().unwrap()];
    let mut server = ServerProcess::with(&no_golden(), &options);
    assert_called(&server, None).await;
    let file = NamedTempFile::new().unwrap();
    std::fs::write(&file, component(&hostile().replace("COUNT", "OTHER"))).unwrap();
    done(&server, &["swap", path(&file), "--name", "other@2.0"]);
    assert_called(&server, Some("other@2.0")).await;
    let table = done(&server, &["versions"]);
    assert!(table.contains("  other@2.0  "), "{table}");
    assert!(
        server.log().contains("name=\"other@2.0\""),
        "{}",
        server.log()
    );
    // It is here already.
    done(&server, &["swap", path(&file)]);
    done(&server, &["swap", path(&file), "--name", "other@2.0"]);
    let told = refused(&server, &["swap", path(&file), "--name", "another"]);
    assert!(told.contains("is here already, called other@2.0"), "{told}");
    // A name that nobody could show.
    let url = server.admin_url("/versions?name=two%20words");
    let answer = client().post(url).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let told = answer.text().await.unwrap();
    assert!(told.contains("1 to 100 visible ASCII characters"), "{told}");

    server.terminate();
    server.ended();
    let server = ServerProcess::with(&no_golden(), &options);
    assert_called(&server, Some("other@2.0")).await;
}

#[tokio::test]
async fn info_describes_the_guest_that_is_live() {
    let server = ServerProcess::start(&default_model());
    let info = async || -> Value { get(server.url("/info")).await.json() };
    let labels = |info: &Value| info["model_type"]["classifier"]["id2label"].clone();
    let first = info().await;
    assert_eq!(labels(&first), json!({"0": "NEGATIVE", "1": "POSITIVE"}));
    assert!(first["max_input_length"].as_u64().unwrap() > 100, "{first}");

    done(
        &server,
        &["swap", example_path("neutral").to_str().unwrap()],
    );
    let second = info().await;
    let three = json!({"0": "NEGATIVE", "1": "POSITIVE", "2": "NEUTRAL"});
    assert_eq!(labels(&second), three);
    assert_eq!(second["max_input_length"], first["max_input_length"]);

    done(
        &server,
        &["swap", example_path("lexicon").to_str().unwrap()],
    );
    let third = info().await;
    assert_eq!(labels(&third), labels(&first));
    assert_eq!(third["max_input_length"], Value::Null);
}
