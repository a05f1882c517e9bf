//! Requests for classification, and their answers.

use super::*;
use crate::problem::Kind;
use predictor::{Activation, Description, ModelCard, Score};
use serde_json::{Value, json};

fn served() -> Served {
    let card = Arc::new(ModelCard {
        name: "tiny".to_owned(),
        description: Description {
            labels: vec!["NEGATIVE".to_owned(), "POSITIVE".to_owned()],
            activation: Some(Activation::Softmax),
            ..Description::UNKNOWN
        },
    });
    Served {
        live: Arc::new(move || (Arc::clone(&card), 1)),
        batch_texts: 1,
        workers: 1,
    }
}

fn read_json(request: &Value) -> Result<(Texts, Classify), Problem> {
    read(request.to_string().as_bytes(), 2, &served())
}

#[test]
fn texts_are_read_with_either_name_of_the_model_and_without() {
    for (request, count) in [
        (json!({"input": "a"}), 1),
        (
            json!({"input": ["a", "b", "c"], "model": "tiny", "user": "x"}),
            3,
        ),
        (
            json!({"model": ALIAS, "input": [], "use_activation": true}),
            0,
        ),
        (json!({"input": ["a"], "truncate_prompt_tokens": -1}), 1),
    ] {
        let (texts, _) = read_json(&request).unwrap();
        assert_eq!((texts.given, texts.kept.len()), (count, count.min(2)));
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (request, kind, expected) in [
        (
            json!({}),
            Kind::InvalidBody,
            "`/input` is missing; send an object such as",
        ),
        (
            json!([]),
            Kind::InvalidBody,
            "the body must be an object such as {\"input\"",
        ),
        (
            json!({"input": [[1, 2]]}),
            Kind::InvalidBody,
            "`/input/0/0` must be a string",
        ),
        (
            json!({"input": 1}),
            Kind::InvalidBody,
            "must be a string or an array of strings",
        ),
        (
            json!({"input": "a", "model": "secret"}),
            Kind::UnknownModel,
            "it is `tiny`, or",
        ),
        (
            json!({"input": "a", "model": 1}),
            Kind::InvalidBody,
            "`/model` must be a string",
        ),
        (
            json!({"input": "a", "activation": false}),
            Kind::InvalidBody,
            "`/activation` must be true or left out",
        ),
        (
            json!({"input": "a", "truncate_prompt_tokens": 9}),
            Kind::InvalidBody,
            "`/truncate_prompt_tokens` must be -1",
        ),
    ] {
        let problem = read_json(&request).unwrap_err();
        assert!(problem.detail.contains(expected), "{}", problem.detail);
        assert!(!problem.detail.contains("secret"), "{}", problem.detail);
        assert_eq!(problem.kind, kind);
    }
}

#[test]
fn probabilities_are_in_the_order_of_the_model() {
    let score = |&(label, score): &(&str, f32)| Score {
        label: label.into(),
        score,
    };
    let of = |scores: &[(&str, f32)]| scores.iter().map(score).collect::<Scores>();
    let predictions = Predictions {
        scores: vec![
            of(&[("POSITIVE", 0.75), ("NEGATIVE", 0.25)]),
            of(&[
                ("Z", 0.5),
                ("A", 0.25),
                ("NEGATIVE", 0.125),
                ("POSITIVE", 0.125),
            ]),
        ],
        ..Predictions::default()
    };
    let (_, classify) = read_json(&json!({"input": ["a", "b"]})).unwrap();
    let written = classify.write(&predictions).unwrap().value().unwrap();
    assert_eq!(
        written["data"],
        json!([
            {"index": 0, "label": "POSITIVE", "probs": [0.25, 0.75], "num_classes": 2},
            {"index": 1, "label": "Z", "probs": [0.125, 0.125, 0.25, 0.5], "num_classes": 4},
        ])
    );
    assert_eq!(
        (&written["object"], &written["model"]),
        (&json!("list"), &json!("tiny"))
    );
}
