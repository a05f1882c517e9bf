//! The tokens that the guest sends to the model, against `golden.json`.

use std::path::Path;

use serde_json::{Value, json};

use super::golden::Golden;
use super::recorder::Recorder;
use crate::harness::{copy_of, default_model, fixture};

/// How many texts a call of a guest holds in the product.
const TEXTS_PER_CALL: usize = 8;

pub(super) fn config(dir: &Path) -> Value {
    let file = std::fs::read(dir.join("config.json")).unwrap();
    serde_json::from_slice(&file).unwrap()
}

/// Every golden text alone, then in calls of several.
fn assert_ids(dir: &Path, golden: &Golden) -> usize {
    let recorder = Recorder::new(dir);
    let is_xlnet = config(dir)["model_type"] == "xlnet";
    for answer in &golden.answers {
        let row = recorder.row(&answer.text());
        assert_eq!(row.ids, wide(&answer.ids), "{}", answer.name);
        assert!(row.padding.is_empty(), "{}: {row:?}", answer.name);
        if let Some(types) = row.types {
            let mut expected = vec![0; answer.ids.len()];
            if is_xlnet {
                // Its last token is in a segment of its own.
                expected[answer.ids.len() - 1] = 2;
            }
            assert_eq!(types, expected, "{}", answer.name);
        }
    }
    // A guest may run the texts of a call in any order, so that only the rows
    // as a whole can be compared; that answers reach their texts is for the
    // scores to tell.
    let pad_id = config(dir)["pad_token_id"].as_i64().unwrap_or(0);
    let mut padding = 0;
    for answers in golden.answers.chunks(TEXTS_PER_CALL) {
        let texts: Vec<String> = answers.iter().map(super::golden::Answer::text).collect();
        let rows = recorder.rows(&texts);
        let mut found: Vec<_> = rows.iter().map(|row| row.ids.clone()).collect();
        let mut expected: Vec<_> = answers.iter().map(|answer| wide(&answer.ids)).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        for row in rows {
            assert!(row.padding.iter().all(|id| *id == pad_id), "{row:?}");
            padding += row.padding.len();
        }
    }
    padding
}

fn wide(ids: &[u32]) -> Vec<i64> {
    ids.iter().map(|id| i64::from(*id)).collect()
}

macro_rules! ids_are_golden {
    ($($test:ident: $dir:expr;)*) => {$(
        #[test]
        fn $test() {
            assert_ids(&$dir, &Golden::read(&$dir));
        }
    )*};
}

ids_are_golden! {
    ids_of_the_default_model: default_model();
    ids_of_tiny_bert: fixture("tiny-bert");
    ids_of_tiny_roberta: fixture("tiny-roberta");
    ids_of_tiny_distilbert_5: fixture("tiny-distilbert-5");
    ids_of_tiny_multilabel: fixture("tiny-multilabel");
    ids_of_tiny_fp16: fixture("tiny-fp16");
    ids_of_tiny_int32: fixture("tiny-int32");
    ids_of_tiny_f32: fixture("tiny-f32");
    ids_of_tiny_albert: fixture("tiny-albert");
    ids_of_tiny_deberta_v2: fixture("tiny-deberta-v2");
    ids_of_tiny_modernbert: fixture("tiny-modernbert");
    ids_of_tiny_mpnet: fixture("tiny-mpnet");
    ids_of_tiny_xlnet: fixture("tiny-xlnet");
}

/// Which inputs a graph takes is tried while the guest is prepared, and is part of
/// the snapshot: no call tries again.
#[test]
fn the_inputs_of_a_graph_are_found_out_once() {
    for name in ["tiny-bert", "tiny-int32", "tiny-f32"] {
        let recorder = Recorder::new(&fixture(name));
        for text in ["first", "second"] {
            assert_eq!(recorder.attempts(text), 1, "{name}");
        }
    }
}

/// A model that says of itself that its answers do not depend on neighbours is
/// given several texts a run; short ones are filled up with the model's own
/// padding, here with an id other than 0.
#[test]
fn ids_in_padded_runs() {
    for name in ["tiny-roberta", "tiny-distilbert-5"] {
        let dir = copy_of(name);
        let golden = Golden::read(dir.path());
        let mut config = config(dir.path());
        assert_ne!(config["pad_token_id"], 0);
        config["fastsentiment"] = json!({"batch_invariant": true});
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let padding = assert_ids(dir.path(), &golden);
        assert!(padding > 0, "{name}: no run had padding");
    }
}
