//! What a running server exports is what `deployment/monitoring/README.md` says, and
//! nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::harness::{example_path, fixture, repository};
use crate::redis_server::RedisServer;
use crate::server_process::{Answer, ServerProcess, answer};

/// A metric, in the words of the documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
    meaning: String,
}

type Metrics = BTreeMap<String, Metric>;

/// What a server exports, in Prometheus's text format.
fn exported(text: &str) -> Metrics {
    let mut found = Metrics::new();
    let mut kinds = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let (first, second) = (words.next().unwrap(), words.next().unwrap());
        let name = words.next().unwrap_or_default().to_owned();
        match (first, second) {
            ("#", "HELP") => {
                let meaning = words.next().unwrap().replace("\\\\", "\\");
                let metric = Metric {
                    kind: String::new(),
                    labels: BTreeSet::new(),
                    meaning,
                };
                assert!(found.insert(name, metric).is_none(), "{line}");
            }
            ("#", "TYPE") => {
                let kind = words.next().unwrap().to_owned();
                kinds.insert(name.clone(), kind.clone());
                found.get_mut(&name).unwrap().kind = kind;
            }
            _ => {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                let of_histogram = |suffix: &&str| name.ends_with(*suffix);
                let suffix = ["_bucket", "_sum", "_count"].into_iter().find(of_histogram);
                let base = suffix.map_or(name, |suffix| name.strip_suffix(suffix).unwrap());
                let is_histogram = kinds.get(base).is_some_and(|kind| kind == "histogram");
                let metric = found.get_mut(if is_histogram { base } else { name });
                let metric = metric.unwrap_or_else(|| panic!("{line}"));
                let names = labels
                    .split("\",")
                    .filter_map(|label| label.split_once('='));
                let names = names.map(|(name, _)| name.to_owned());
                metric.labels.extend(names.filter(|name| name != "le"));
            }
        }
    }
    found
}

/// The table of the documentation, which names each metric once.
fn documented() -> (Metrics, BTreeMap<String, String>) {
    let path = repository().join("deployment/monitoring/README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (mut found, mut units) = (Metrics::new(), BTreeMap::new());
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, kind, unit, labels, meaning] = cells[..] else {
            continue;
        };
        let name = name.trim_matches('`').to_owned();
        let labels = labels.split(", ").map(|label| label.trim_matches('`'));
        let metric = Metric {
            kind: kind.to_owned(),
            labels: labels
                .filter(|label| *label != "-")
                .map(str::to_owned)
                .collect(),
            meaning: meaning.to_owned(),
        };
        assert!(
            found.insert(name.clone(), metric).is_none(),
            "{name} comes twice"
        );
        units.insert(name, unit.to_owned());
    }
    (found, units)
}

/// A row of the table.
fn row(name: &str, metric: &Metric, unit: &str) -> String {
    let labels: Vec<_> = metric
        .labels
        .iter()
        .map(|label| format!("`{label}`"))
        .collect();
    let labels = if labels.is_empty() {
        "-".to_owned()
    } else {
        labels.join(", ")
    };
    let Metric { kind, meaning, .. } = metric;
    format!("| `{name}` | {kind} | {unit} | {labels} | {meaning} |")
}

/// What a metric counts, by the end of its name.
fn unit(name: &str) -> &str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    name.rsplit('_').next().unwrap()
}

/// A server, with a Redis, to which a little of everything has happened.
async fn of_everything() -> (ServerProcess, RedisServer) {
    let redis = RedisServer::start();
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let options = ["--redis-url", &url, "--public-metrics"];
    let server = ServerProcess::with(&fixture("tiny-bert"), &options);
    let client = testing::client().build().unwrap();
    let upload = async |query: &str, example: &str| {
        let component = std::fs::read(example_path(example)).unwrap();
        let request = client.post(server.admin_url(&format!("/versions?{query}")));
        let request = request.header("content-type", "application/wasm");
        answer(request.body(component)).await
    };
    for text in ["a", "a", "b"] {
        server.predict(&[text.to_owned()]).await;
    }
    assert_eq!(upload("activate=true", "lexicon").await.status, 201);
    assert_eq!(upload("shadow=1", "neutral").await.status, 201);
    server.predict(&["c".to_owned()]).await;
    let lines = client.post(server.url("/predict")).body("\"a\"\n5\n");
    let lines = lines.header("content-type", "application/x-ndjson");
    assert_eq!(answer(lines).await.status, 200);
    for (path, status) in [("/nothing", 404), ("/predict", 405)] {
        assert_eq!(answer(client.get(server.url(path))).await.status, status);
    }
    let refused = client
        .post(server.url("/predict"))
        .json(&json!({"text": 1}));
    assert_eq!(answer(refused).await.status, 422);
    (server, redis)
}

async fn metrics_at(url: String) -> Answer {
    let client = testing::client().build().unwrap();
    answer(client.get(url)).await
}

/// What a server exports about API keys, which this one has.
async fn of_api_keys() -> Metrics {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    let key = format!("[[key]]\nname = \"a\"\nsha256 = \"{}\"\n", "0".repeat(64));
    std::fs::write(&file, key).unwrap();
    let options = ["--api-keys", file.to_str().unwrap()];
    let server = ServerProcess::with(&fixture("tiny-bert"), &options);
    let all = exported(&metrics_at(server.admin_url("/metrics")).await.body);
    let of_keys = |name: &str| name.starts_with("fastsentiment_api_key_");
    all.into_iter().filter(|(name, _)| of_keys(name)).collect()
}

#[tokio::test]
async fn what_is_exported_is_what_is_documented() {
    let (server, _redis) = of_everything().await;
    let mut found = exported(&metrics_at(server.admin_url("/metrics")).await.body);
    found.extend(of_api_keys().await);
    let (documented, units) = documented();
    let rows: Vec<String> = found
        .iter()
        .map(|(name, metric)| row(name, metric, units.get(name).map_or("?", |unit| unit)))
        .collect();
    assert_eq!(
        found,
        documented,
        "the table should be:\n{}\n",
        rows.join("\n")
    );
    // Base units are in the name, and in the name only if they are the unit.
    for (name, unit_of) in &units {
        let is_base = |word| ["seconds", "bytes", "ratio"].contains(&word);
        assert!(!unit_of.is_empty(), "{name}");
        if is_base(unit(name)) || is_base(unit_of) {
            assert_eq!(unit(name), unit_of, "{name}");
        }
    }
}

#[tokio::test]
async fn names_follow_the_conventions_of_prometheus() {
    let (documented, _) = documented();
    assert!(documented.len() > 40, "{}", documented.len());
    for (
        name,
        Metric {
            kind,
            labels,
            meaning,
        },
    ) in documented
    {
        let ours = name.starts_with("fastsentiment_") || name.starts_with("process_");
        let lower = |byte: u8| byte == b'_' || byte.is_ascii_lowercase();
        assert!(ours && name.bytes().all(lower), "{name}");
        assert_eq!(
            kind == "counter",
            name.ends_with("_total"),
            "{name}: {kind}"
        );
        assert!(!name.ends_with("_info") || kind == "gauge", "{name}");
        assert!(kind != "histogram" || !labels.contains("le"), "{name}");
        for small in [
            "_ms",
            "_milliseconds",
            "_micros",
            "_kib",
            "_mib",
            "_percent",
        ] {
            assert!(!name.contains(small), "{name} is not in a base unit");
        }
        assert!(
            meaning.ends_with('.') && !meaning.contains('|'),
            "{name}: {meaning}"
        );
    }
}

#[tokio::test]
async fn the_main_listener_has_metrics_if_that_is_asked_for() {
    let server = ServerProcess::with(&fixture("tiny-bert"), &["--public-metrics", "true"]);
    let (main, admin) = (
        metrics_at(server.url("/metrics")).await,
        metrics_at(server.admin_url("/metrics")).await,
    );
    for answer in [&main, &admin] {
        assert_eq!(answer.status, 200);
        let format = "text/plain; version=0.0.4; charset=utf-8";
        assert_eq!(answer.headers["content-type"], format);
    }
    let names = |answer: &Answer| exported(&answer.body).into_keys().collect::<BTreeSet<_>>();
    assert!(names(&main).is_subset(&names(&admin)), "{}", main.body);
    assert!(
        main.body.contains("fastsentiment_build_info"),
        "{}",
        main.body
    );
    let paths = async |server: &ServerProcess| {
        let document = metrics_at(server.url("/openapi.json")).await;
        document.json()["paths"].as_object().unwrap().clone()
    };
    assert!(paths(&server).await.contains_key("/metrics"));
    let build = exported(&admin.body)["fastsentiment_build_info"].clone();
    let labels = ["onnxruntime", "rustc", "version", "wasmtime"].map(str::to_owned);
    assert_eq!(build.labels, BTreeSet::from(labels));
    let line = admin
        .body
        .lines()
        .find(|line| line.starts_with("fastsentiment_build_info{"));
    let line = line.unwrap();
    assert!(
        line.contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))),
        "{line}"
    );
    for version in line.split("=\"").skip(1) {
        assert!(
            version.starts_with(|first: char| first.is_ascii_digit()),
            "{line}"
        );
    }

    let server = ServerProcess::start(&fixture("tiny-bert"));
    assert_eq!(metrics_at(server.url("/metrics")).await.status, 404);
    assert!(!paths(&server).await.contains_key("/metrics"));
}
