//! Texts that are longer than the model's limit, of 32 tokens: truncated, or refused where a
//! client or the configuration says so. (`truth/windows.rs` is about windows.)

use std::fmt::Write as _;

use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::harness::{build_guest, fixture};
use crate::server_process::{Answer, ServerProcess, answer, bare, run, subcommand};

/// With the two special tokens, this has 43 tokens.
fn long() -> String {
    vec!["film"; 41].join(" ")
}

const REASON: &str = "the text has 43 tokens; at most 32 are allowed";

async fn post(server: &ServerProcess, path: &str, document: &Value) -> Answer {
    let client = testing::client().build().unwrap();
    answer(client.post(server.url(path)).json(document)).await
}

fn hits(answer: &Answer) -> &str {
    answer.headers["x-fastsentiment-cache-hits"]
        .to_str()
        .unwrap()
}

fn assert_refused(answer: &Answer, pointer: &str) {
    assert_eq!(answer.status, 422, "{}", answer.body);
    let document = answer.json();
    let detail = format!("`{pointer}`: {REASON}");
    let error = json!({"pointer": pointer, "detail": detail});
    assert_eq!(document["errors"], json!([error]));
}

#[tokio::test]
async fn a_request_may_forbid_truncation() {
    let server = ServerProcess::start(&fixture("tiny-bert"));
    let (long, short) = (long(), "a good film".to_owned());
    let texts = [short.clone(), long.clone()];
    let expected = server.predict(&texts).await;
    // Both are cached now, and the long one as it was truncated.
    let forbidden = json!({"text": texts, "truncation": false});
    assert_refused(&post(&server, "/predict", &forbidden).await, "/text/1");
    for document in [
        json!({"inputs": texts, "truncate": false}),
        json!({"inputs": texts, "parameters": {"truncation": false}}),
    ] {
        assert_refused(&post(&server, "/tei/predict", &document).await, "/inputs/1");
    }
    // The short one has the same answer, whatever is said of long ones.
    let whole = json!({"text": [short], "truncation": false});
    let first = post(&server, "/predict", &whole).await;
    assert_eq!(first.json(), json!({"predictions": [expected[0]]}));
    let again = post(&server, "/predict", &whole).await;
    assert_eq!((again.body.as_str(), hits(&again)), (&*first.body, "1"));
    // Nothing of it has changed for others.
    let allowed = json!({"text": texts, "truncation": true});
    let same = post(&server, "/predict", &allowed).await;
    assert_eq!(same.json(), json!({"predictions": expected}));
    assert_eq!(hits(&same), "2");
}

#[tokio::test]
async fn a_line_may_forbid_it_for_itself() {
    let server = ServerProcess::start(&fixture("tiny-bert"));
    let (long, short) = (long(), "a good film");
    let expected = server.predict(&[short.to_owned(), long.clone()]).await;
    let lines = [
        (json!({"text": long, "truncation": false}), None),
        (json!(long), Some(1)),
        (json!({"text": short, "truncation": false}), Some(0)),
        (json!({"text": long, "truncation": false}), None),
        (json!({"text": long, "truncation": null}), Some(1)),
    ];
    // More than are in progress at a time.
    let lines: Vec<_> = std::iter::repeat_n(lines, 200).flatten().collect();
    let mut body = String::new();
    for (line, _) in &lines {
        writeln!(body, "{line}").unwrap();
    }
    let client = testing::client().build().unwrap();
    let request = client.post(server.url("/predict"));
    let request = request.header(CONTENT_TYPE, "application/x-ndjson");
    // So that lines of both kinds wait in the queue together.
    let request = request.header(CACHE_CONTROL, "no-store");
    let answered = answer(request.body(body)).await;
    let found: Vec<Value> = answered
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(found.len(), lines.len(), "{}", answered.body);
    for ((line, place), found) in lines.iter().zip(&found) {
        match place {
            Some(place) => assert_eq!(found["predictions"], expected[*place], "{line}"),
            None => {
                let error = json!({"pointer": "/text", "detail": REASON});
                assert_eq!(found["error"]["errors"], json!([error]), "{found}");
            }
        }
    }
}

#[tokio::test]
async fn the_configuration_may_forbid_it_for_all() {
    let server = ServerProcess::with(&fixture("tiny-bert"), &["--long-texts", "refuse"]);
    assert_refused(&server.post(&[long()]).await, "/text/0");
    assert_eq!(server.post(&["short".to_owned()]).await.status, 200);
}

/// The lexicon knows no limit, so that it scores all texts as a whole; and reads no
/// configuration.
#[tokio::test]
async fn a_guest_without_a_limit_scores_any_text() {
    let lexicon = build_guest("lexicon");
    let how = ["--long-texts", "refuse"];
    let server = ServerProcess::of_guest(&fixture("tiny-bert"), &lexicon, &how);
    let document = json!({"text": [long()], "truncation": false});
    let whole = post(&server, "/predict", &document).await;
    assert_eq!(whole.status, 200, "{}", whole.body);
    let told = server.log();
    let words = "does not read its configuration, so that these of its keys change nothing: \
                 long-texts";
    assert!(told.contains(words), "{told}");
}

#[test]
fn other_ways_are_refused_with_what_is_allowed() {
    let mut unknown = subcommand("check", &fixture("tiny-bert"));
    let unknown = run(unknown.args(["--set", "long-texts=sometimes"]));
    let told = String::from_utf8_lossy(&unknown.stderr).into_owned();
    let words = "the setting `long-texts` must be truncate, refuse, window or window-max, and is";
    assert!(!unknown.status.success() && told.contains(words), "{told}");
    for (options, words) in [
        (&["--long-texts", "sometimes"][..], "'sometimes'"),
        (
            &["--long-texts", "refuse", "--set", "long-texts=window"],
            "mean the same value: leave one out",
        ),
    ] {
        let refused = run(bare().arg("serve").args(options));
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{told}");
        assert!(told.contains(words), "{told}");
    }
}
