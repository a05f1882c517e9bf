//! Do servers give the same answers? What does another job is no comparison.

use std::collections::BTreeMap;

use crate::client::Connection;
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

/// Servers whose answers are not those of the first. Also prints how much other texts of a
/// request change a text's scores.
pub(crate) fn disagreements<'a>(
    model: &NamedModel,
    traffic: &Traffic,
    servers: impl Iterator<Item = (&'a str, &'a Server)>,
) -> Vec<String> {
    let (alone, together) = traffic.samples(SAMPLES);
    let mut faults = Vec::new();
    let mut expected: Option<Scores> = None;
    for (server_name, server) in servers {
        let mut connection = Connection::to(server.address);
        let own: Scores = alone
            .iter()
            .flat_map(|request| ask(&mut connection, request))
            .collect();
        let beside = difference(&own, &ask(&mut connection, &together));
        let name = name(model, server_name);
        let print = |what: &str, value: f64| {
            figure(&format!("{name}_{what}_difference_millionths"), value * 1e6);
        };
        print("beside_others", beside);
        let largest = difference(expected.get_or_insert_with(|| own.clone()), &own);
        print("score", largest);
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
fn ask(connection: &mut Connection, request: &[u8]) -> Scores {
    let answer = connection.exchange(request).unwrap();
    assert_eq!((answer.status, answer.hits), (200, Some(0)));
    let body: serde_json::Value = serde_json::from_slice(connection.body(&answer)).unwrap();
    let texts = body["predictions"].as_array().unwrap().iter();
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
