//! The labels of a model.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::ConfigError;

/// `id2label` of `config.json`: usually texts, but numbers and booleans occur.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct RawLabels(BTreeMap<String, Value>);

/// The most labels that the contract of guests allows.
const MAX_LABELS: usize = 1000;

/// How many labels Transformers assumes.
const DEFAULT_LABELS: usize = 2;

/// The labels in the order of the logits. Without names they are `LABEL_0`, `LABEL_1`
/// and so on, as in Transformers.
pub(crate) fn labels(
    id2label: Option<RawLabels>,
    num_labels: Option<usize>,
) -> Result<Vec<String>, ConfigError> {
    let refused = |why: String| Err(ConfigError::Labels(why));
    let count = match &id2label {
        Some(RawLabels(names)) => names.len(),
        None => num_labels.unwrap_or(DEFAULT_LABELS),
    };
    if count > MAX_LABELS {
        return refused(format!(
            "it has {count} labels, and at most {MAX_LABELS} can be served"
        ));
    }
    let Some(RawLabels(names)) = id2label else {
        return Ok((0..count).map(|id| format!("LABEL_{id}")).collect());
    };
    let mut labels: Vec<Option<String>> = vec![None; count];
    for (id, name) in names {
        let place = id.trim().parse::<usize>().ok();
        let place = place.and_then(|id| labels.get_mut(id));
        let Some(place) = place.filter(|place| place.is_none()) else {
            return refused(format!("`id2label` has the unexpected id {id:?}"));
        };
        *place = Some(match name {
            Value::String(name) => name,
            // As in JSON, since that is how an answer would have it.
            Value::Number(_) | Value::Bool(_) => name.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return refused(format!("`id2label` gives the id {id} no name, but {name}"));
            }
        });
    }
    // Every id was in range and none came twice, so no place is empty.
    let labels: Vec<String> = labels.into_iter().flatten().collect();
    if labels.is_empty() {
        return refused("`id2label` is empty".to_owned());
    }
    // Answers name labels, so that equal ones could not be told apart.
    let mut ids = BTreeMap::new();
    for (id, label) in labels.iter().enumerate() {
        if let Some(other) = ids.insert(label, id) {
            return refused(format!(
                "`id2label` gives the ids {other} and {id} the same label {label:?}; rename one, \
                 since an answer has every label once"
            ));
        }
    }
    Ok(labels)
}
