//! The whole of it: the guests of this repository, and bad ones, swapped over HTTP
//! in a server that answers meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{PATIENCE, artifacts, default_model, example_path, guest_path, onnxruntime};
use crate::hostile::{component, hostile, no_golden};
use crate::server_process::{Answer, ServerProcess, answer, bare};

/// Texts that the three guests do not answer alike.
const TEXTS: [&str; 4] = [
    "What a wonderful film.",
    "It was a terrible waste of time.",
    "The parcel arrived on Tuesday.",
    "Not bad, but not good either.",
];

fn client() -> reqwest::Client {
    let client = testing::client().timeout(PATIENCE);
    client.build().unwrap()
}

/// A call of the admin listener that has to be granted.
async fn call(server: &ServerProcess, path: &str, component: Vec<u8>) -> Value {
    let request = client().post(server.admin_url(path)).body(component);
    let answer = answer(request.header("content-type", "application/wasm")).await;
    assert!(matches!(answer.status, 200 | 201), "{}", answer.body);
    answer.json()
}

async fn versions(server: &ServerProcess) -> Value {
    let answer = answer(client().get(server.admin_url("/versions"))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

async fn post(client: &reqwest::Client, url: &str, texts: &[&str]) -> Answer {
    answer(client.post(url).json(&json!({ "text": texts }))).await
}

/// The guests that have answered, as the header names them.
fn guests(answer: &Answer) -> Vec<String> {
    let names = answer.headers["x-fastsentiment-guest"].to_str().unwrap();
    names.split(", ").map(str::to_owned).collect()
}

/// Makes a component live; its short name, and what it says of [`TEXTS`].
async fn swap_in(server: &ServerProcess, component: Vec<u8>) -> (String, Value) {
    let swapped = call(server, "/versions?activate=true", component).await;
    let name = swapped["version"]["short"].as_str().unwrap().to_owned();
    (name.clone(), says(server, &name).await)
}

/// What the live guest says of [`TEXTS`], which has to be `name`.
async fn says(server: &ServerProcess, name: &str) -> Value {
    let answer = post(&client(), &server.url("/predict"), &TEXTS).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(guests(&answer), [name]);
    answer.json()["predictions"].take()
}

/// Swaps while clients ask without a pause. Each answer has to be that of the
/// guest that its header names, and none may fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_are_swapped_in_and_out_while_clients_are_served() {
    let server = ServerProcess::start(&default_model());
    let first = versions(&server).await["live"]["short"].clone();
    let mut known = vec![(first.as_str().unwrap().to_owned(), Value::Null)];
    known[0].1 = says(&server, &known[0].0).await;
    for example in ["lexicon", "neutral"] {
        let component = std::fs::read(example_path(example)).unwrap();
        known.push(swap_in(&server, component).await);
    }
    for (at, (_, answers)) in known.iter().enumerate() {
        assert!(known[..at].iter().all(|(_, other)| other != answers));
    }
    assert_eq!(known[2].1[3][0]["label"], "NEUTRAL", "{}", known[2].1);

    let known = Arc::new(known);
    let ended = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..4 {
        let (known, ended, url) = (
            Arc::clone(&known),
            Arc::clone(&ended),
            server.url("/predict"),
        );
        clients.spawn(async move {
            let client = client();
            let mut answered = 0;
            while !ended.load(Ordering::Relaxed) {
                let at = (number + answered) % TEXTS.len();
                let answer = post(&client, &url, &TEXTS[at..=at]).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                let names = guests(&answer);
                let (_, answers) = known.iter().find(|(name, _)| names == [&**name]).unwrap();
                assert_eq!(answer.json()["predictions"][0], answers[at], "of {names:?}");
                answered += 1;
            }
            answered
        });
    }
    for round in 0..30 {
        let (name, answers) = &known[round % known.len()];
        call(&server, &format!("/versions/{name}/activate"), Vec::new()).await;
        assert_eq!(&says(&server, name).await, answers);
    }
    ended.store(true, Ordering::Relaxed);
    while let Some(answered) = clients.join_next().await {
        assert!(answered.unwrap() > 0);
    }
    // Back, as far as is asked for: what was kept before is found again.
    let (last, before) = (&known[29 % known.len()].0, &known[28 % known.len()]);
    let rolled_back = call(&server, &format!("/rollback?from={last}"), Vec::new()).await;
    assert_eq!(rolled_back["live"]["short"], before.0.as_str());
    let answer = post(&client(), &server.url("/predict"), &TEXTS).await;
    assert_eq!(answer.headers["x-fastsentiment-cache-hits"], "4");
    assert_eq!(answer.json()["predictions"], before.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_proves_bad_is_rolled_back_and_fails_no_request() {
    let mut command = bare();
    command.arg("serve").arg("--model").arg(no_golden());
    command.arg("--guest").arg(guest_path());
    command.arg("--onnxruntime").arg(onnxruntime());
    command.arg("--artifacts").arg(artifacts());
    command.args(["--guest-timeout-ms", "1000", "--deadline-ms", "240000"]);
    let server = ServerProcess::spawn(&mut command);
    let good = versions(&server).await["live"]["short"].clone();
    let good = good.as_str().unwrap();
    // It passes its self-test, and traps on some texts, never ends on others, and
    // gives bad answers to more.
    let bad = call(&server, "/versions?activate=true", component(&hostile())).await;
    let revision = bad["version"]["revision"].as_str().unwrap()[..12].to_owned();
    let bad = bad["version"]["short"].as_str().unwrap();
    assert_eq!(
        versions(&server).await["probation"]["fallback"]["short"],
        good
    );
    let mut clients = JoinSet::new();
    for number in 0..8 {
        let url = server.url("/predict");
        clients.spawn(async move {
            let client = client();
            let mut answers = Vec::new();
            for round in 0..6 {
                let order = ["trap", "loop", "nan", "memory", "end"][(number + round) % 5];
                let text = format!("{order} {number} {round}");
                answers.push(post(&client, &url, &[&text]).await);
            }
            answers
        });
    }
    while let Some(answers) = clients.join_next().await {
        for answer in answers.unwrap() {
            assert_eq!(answer.status, 200, "{}", answer.body);
            // Whoever answered, it was not with an order that was carried out.
            assert_eq!(guests(&answer), [good]);
        }
    }
    let listing = versions(&server).await;
    assert_eq!(listing["live"]["short"], good);
    let entry = listing["versions"].as_array().unwrap();
    let entry = entry.iter().find(|entry| entry["short"] == bad).unwrap();
    assert_eq!(entry["standing"], "quarantined");
    let reason = entry["quarantine"]["reason"].as_str().unwrap();
    assert!(reason.contains("calls have failed"), "{reason}");
    assert!(server.log().contains(reason), "{}", server.log());
    assert!(server.metric("fastsentiment_version_falls_total").await > 0.5);
    let rescued = format!(
        r#"fastsentiment_version_rescued_texts_total{{guest="{bad}",revision="{revision}"}}"#
    );
    assert!(server.metric(&rescued).await > 4.5);
    // It is not taken again by accident.
    let again = client().post(server.admin_url(&format!("/versions/{bad}/activate")));
    let again = answer(again).await;
    assert_eq!(again.status, 409, "{}", again.body);
    assert!(again.body.contains("quarantined"), "{}", again.body);
}

#[tokio::test]
async fn a_canary_answers_its_share_and_a_shadow_nothing() {
    let server = ServerProcess::start(&default_model());
    let live = versions(&server).await["live"]["short"].clone();
    let live = live.as_str().unwrap();
    let lexicon = std::fs::read(example_path("lexicon")).unwrap();
    let texts: Vec<String> = (0..200).map(|n| format!("{} {n}", TEXTS[n % 4])).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let url = server.url("/predict");

    let shadow = call(&server, "/versions?shadow=1", lexicon.clone()).await;
    let name = shadow["version"]["short"].as_str().unwrap();
    let before = post(&client(), &url, &texts).await;
    assert_eq!(guests(&before), [live]);
    let compared = async {
        loop {
            let comparison = versions(&server).await["trial"]["comparison"].clone();
            let count = |what: &str| comparison[what].as_u64().unwrap();
            if count("texts") + count("skipped") == 200 {
                return comparison;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let compared = tokio::time::timeout(PATIENCE, compared).await.unwrap();

    let canary = call(
        &server,
        &format!("/versions/{name}/canary?share=0.3"),
        Vec::new(),
    )
    .await;
    assert_eq!(canary["share"], 0.3, "{canary}");
    let during = post(&client(), &url, &texts).await;
    assert_eq!(during.status, 200, "{}", during.body);
    let mut both = guests(&during);
    both.sort();
    let mut expected = vec![live.to_owned(), name.to_owned()];
    expected.sort();
    assert_eq!(both, expected);
    let again = post(&client(), &url, &texts).await;
    assert_eq!(during.json(), again.json(), "a text does not flap");

    call(&server, "/trial/promote", Vec::new()).await;
    let after = post(&client(), &url, &texts).await;
    assert_eq!(guests(&after), [name]);
    let lists = [&before, &during, &after].map(|answer| answer.json()["predictions"].take());
    let [before, during, after] = lists.each_ref().map(|list| list.as_array().unwrap());
    let (mut by_canary, mut agreed) = (0, 0);
    for at in 0..texts.len() {
        assert!(during[at] == before[at] || during[at] == after[at]);
        by_canary += u32::from(during[at] == after[at] && before[at] != after[at]);
        agreed += u64::from(before[at][0]["label"] == after[at][0]["label"]);
    }
    assert!((30..=90).contains(&by_canary), "{by_canary} of 200");
    if compared["skipped"] == 0 {
        assert_eq!(compared["agreed"], agreed, "{compared}");
        assert!(agreed < 200, "they do differ");
    }
}
