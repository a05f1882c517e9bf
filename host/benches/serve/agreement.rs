//! Do servers give the same answers? What does another job is no comparison.

use std::collections::BTreeMap;

use crate::client::{Api, Connection};
use crate::figures::figure;
use crate::peers::name;
use crate::process::Server;
use crate::scenario::Traffic;
use crate::settings::NamedModel;

/// How many texts are answered by all, and how far scores may be from each other.
const SAMPLES: usize = 16;
const TOLERANCE: f64 = 1e-3;

/// The scores of texts, by label.
type Scores = Vec<BTreeMap<String, f64>>;

/// Servers whose answers are not those of the first, and have to be. Also prints how much other
/// texts of a request change a text's scores.
pub(crate) fn disagreements<'a>(
    model: &NamedModel,
    traffic: &Traffic,
    servers: impl Iterator<Item = (&'a str, &'a Server, bool)>,
) -> Vec<String> {
    let texts = traffic.samples(SAMPLES);
    // With a space more, so that no cache takes them for the same.
    let others: Vec<String> = texts.iter().map(|text| format!("{text} ")).collect();
    let mut faults = Vec::new();
    let mut expected: Option<Scores> = None;
    for (server_name, server, has_to_agree) in servers {
        let mut connection = Connection::to(server.address);
        let mut ask = |texts: &[String]| ask(&mut connection, server.api, texts);
        let own: Scores = texts
            .iter()
            .flat_map(|text| ask(std::slice::from_ref(text)))
            .collect();
        let beside = difference(&own, &ask(&others));
        let name = name(model, server_name);
        let print = |what: &str, value: f64| {
            figure(&format!("{name}_{what}_difference_millionths"), value * 1e6);
        };
        print("beside_others", beside);
        let largest = difference(expected.get_or_insert_with(|| own.clone()), &own);
        print("score", largest);
        if !has_to_agree {
            continue;
        }
        // A model that does not say so may give other scores beside others.
        if largest > TOLERANCE || (model.batch_invariant() && beside > TOLERANCE) {
            faults.push(format!(
                "{name}: scores differ by {largest}, and by {beside} beside others"
            ));
        }
    }
    faults
}

/// The scores that are computed now, none of them from a cache.
fn ask(connection: &mut Connection, api: Api, texts: &[String]) -> Scores {
    let answer = connection.exchange(&api.request(texts)).unwrap();
    // Others do not say.
    let hits = answer.hits.unwrap_or_default();
    assert_eq!((answer.status, hits), (200, 0));
    let body: serde_json::Value = serde_json::from_slice(connection.body(&answer)).unwrap();
    let texts = api.scores(&body).iter();
    texts
        .map(|text| {
            let scores = text.as_array().unwrap().iter();
            scores
                .map(|score| {
                    let label = score["label"].as_str().unwrap().to_owned();
                    (label, score["score"].as_f64().unwrap())
                })
                .collect()
        })
        .collect()
}

/// The largest difference of a score; infinite if one side has what the other lacks.
fn difference(expected: &[BTreeMap<String, f64>], found: &[BTreeMap<String, f64>]) -> f64 {
    let mut largest = 0.0_f64;
    for (expected, found) in expected.iter().zip(found) {
        if !expected.keys().eq(found.keys()) {
            return f64::INFINITY;
        }
        for (label, score) in expected {
            largest = largest.max((score - found[label]).abs());
        }
    }
    if expected.len() == found.len() {
        largest
    } else {
        f64::INFINITY
    }
}
