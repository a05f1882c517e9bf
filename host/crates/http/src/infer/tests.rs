//! Requests that are read, and what is said of those that are not.

mod refusals;

use super::*;
use crate::request::Texts;
use axum::http::header::HeaderValue;
use predictor::{ErrorKind, Score, Scores};
use proptest::prelude::*;
use serde_json::{Value, json};
use service::Predictions;

const MAX: usize = 3;

/// A request with these parts of its tensor instead of the usual ones.
fn with(parts: &Value) -> Value {
    let mut tensor = json!({"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]});
    for (name, part) in parts.as_object().unwrap() {
        match part {
            Value::Null => tensor.as_object_mut().unwrap().remove(name),
            part => tensor
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), part.clone()),
        };
    }
    json!({"inputs": [tensor]})
}

fn read_json(request: &Value) -> Result<(Texts, Infer), Problem> {
    read(request.to_string().as_bytes(), None, MAX)
}

/// The JSON and its length, with bytes behind it.
fn followed(json: &Value, binary: &[u8]) -> (Vec<u8>, usize) {
    let json = json.to_string();
    ([json.as_bytes(), binary].concat(), json.len())
}

/// Texts as a binary tensor.
fn packed(texts: &[&str]) -> Vec<u8> {
    let mut binary = Vec::new();
    for text in texts {
        binary.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        binary.extend(text.as_bytes());
    }
    binary
}

fn read_binary(shape: &Value, size: &Value, binary: &[u8]) -> Result<(Texts, Infer), Problem> {
    let parameters = json!({"binary_data_size": size});
    let request = with(&json!({"shape": shape, "parameters": parameters, "data": null}));
    let (body, json) = followed(&request, binary);
    read(&body, Some(json), MAX)
}

#[test]
fn texts_are_read_in_every_form() {
    for (shape, data) in [
        (json!([2]), json!(["a", "é\n"])),
        (json!([2, 1]), json!(["a", "é\n"])),
        (json!([2, 1]), json!([["a"], ["é\n"]])),
        (json!([2.0, 1.0]), json!(["a", ["é\n"]])),
    ] {
        let (texts, infer) = read_json(&with(&json!({"shape": shape, "data": data}))).unwrap();
        assert_eq!(texts.kept, ["a", "é\n"]);
        assert_eq!(infer.id, None);
    }
    let binary = packed(&["a", "", "é\n"]);
    let (texts, _) = read_binary(&json!([3, 1]), &json!(binary.len()), &binary).unwrap();
    assert_eq!(texts.kept, ["a", "", "é\n"]);
    let (texts, _) = read_binary(&json!([0]), &json!(0), b"").unwrap();
    assert_eq!(texts, Texts::default());
}

#[test]
fn texts_beyond_the_limit_are_counted_and_not_kept() {
    let many = ["a"; 5];
    let (texts, _) = read_json(&with(&json!({"shape": [5], "data": many}))).unwrap();
    assert_eq!((texts.kept.len(), texts.given), (MAX, 5));
    let binary = packed(&many);
    let (texts, _) = read_binary(&json!([5]), &json!(binary.len()), &binary).unwrap();
    assert_eq!((texts.kept.len(), texts.given), (MAX, 5));
}

#[test]
fn outputs_are_those_that_are_asked_for() {
    use Output::{Labels, Scores};
    for (request, expected) in [
        (json!({}), vec![(Labels, false), (Scores, false)]),
        (
            json!({"outputs": []}),
            vec![(Labels, false), (Scores, false)],
        ),
        (
            json!({"parameters": {"binary_data_output": true, "other": [1]}}),
            vec![(Labels, true), (Scores, true)],
        ),
        (
            json!({"outputs": [{"name": "scores"}]}),
            vec![(Scores, false)],
        ),
        (
            json!({
                "parameters": {"binary_data_output": true},
                "outputs": [
                    {"name": "scores", "parameters": {"binary_data": false}},
                    {"name": "labels", "parameters": {"priority": 7}},
                ],
            }),
            vec![(Scores, false), (Labels, true)],
        ),
    ] {
        let mut whole = with(&json!({}));
        for (name, part) in request.as_object().unwrap() {
            whole[name] = part.clone();
        }
        let (_, infer) = read_json(&whole).unwrap();
        let outputs = infer.outputs.iter();
        let outputs: Vec<_> = outputs
            .map(|wanted| (wanted.output, wanted.binary))
            .collect();
        assert_eq!(outputs, expected, "{request}");
    }
}

#[test]
fn a_request_may_have_an_id_and_a_time_limit() {
    let mut request = with(&json!({}));
    request["id"] = json!("7");
    for (timeout, expected) in [
        (json!(null), None),
        (json!(0), None),
        (json!(1500), Some(Duration::from_micros(1500))),
    ] {
        request["parameters"] = json!({"timeout": timeout});
        let (_, infer) = read_json(&request).unwrap();
        assert_eq!((infer.id.as_deref(), infer.timeout), (Some("7"), expected));
    }
}

#[test]
fn the_length_of_the_json_is_a_number() {
    let length = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER_LENGTH, HeaderValue::from_static(value));
        }
        header_length(&headers)
    };
    assert_eq!(length(&[]), Ok(None));
    assert_eq!(length(&["0"]), Ok(Some(0)));
    assert_eq!(length(&["99999999999999999999999"]), Ok(Some(usize::MAX)));
    for values in [&[""][..], &["-1"], &["+1"], &["1.0"], &["0x1"], &["1", "1"]] {
        let problem = length(values).unwrap_err();
        assert_eq!(problem.kind, Kind::InvalidHeader, "{values:?}");
    }
}

fn scores(scores: &[(&str, f32)]) -> Scores {
    let score = |&(label, score): &(&str, f32)| Score {
        label: label.into(),
        score,
    };
    scores.iter().map(score).collect()
}

fn predictions(scores: Vec<Scores>) -> Predictions {
    Predictions {
        scores,
        ..Predictions::default()
    }
}

#[test]
fn texts_with_different_numbers_of_labels_have_no_tensor() {
    let (_, infer) = read_json(&with(&json!({}))).unwrap();
    let uneven = vec![scores(&[("A", 0.5), ("B", 0.5)]), scores(&[("A", 1.0)])];
    let problem = infer.write(&predictions(uneven), "1").err().unwrap();
    assert_eq!(problem.kind, Kind::Failed);
    assert!(infer.write(&predictions(vec![]), "1").is_ok());
}

#[test]
fn problems_point_into_the_tensor() {
    let of = |kind| Infer::problem(PredictError::new(kind, "a sentence")).detail;
    assert_eq!(
        of(ErrorKind::InvalidText { index: 2 }),
        "`/inputs/0/data/2`: a sentence"
    );
    let many = ErrorKind::TooManyTexts {
        given: 9,
        allowed: 1,
    };
    assert_eq!(of(many), "`/inputs/0/data`: a sentence");
}

proptest! {
    #[test]
    fn any_texts_are_read_as_they_were_written(texts in prop::collection::vec(".{0,9}", 0..=MAX)) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let binary = packed(&texts);
        let (read, _) = read_binary(&json!([texts.len()]), &json!(binary.len()), &binary).unwrap();
        prop_assert_eq!(read.kept, &texts[..]);
    }

    #[test]
    fn any_bytes_are_texts_or_a_sentence(binary in prop::collection::vec(any::<u8>(), 0..40), n in 0..5) {
        match read_binary(&json!([n]), &json!(binary.len()), &binary) {
            Ok((texts, _)) => {
                let bytes: usize = texts.kept.iter().map(|text| 4 + text.len()).sum();
                prop_assert!(bytes <= binary.len());
            }
            Err(problem) => prop_assert_eq!(problem.kind, Kind::InvalidBody),
        }
    }

    #[test]
    fn any_length_of_the_json_is_read_or_refused(length in 0_usize..200, tail in ".{0,20}") {
        let (body, _) = followed(&with(&json!({"shape": [1, 1]})), tail.as_bytes());
        if let Err(problem) = read(&body, Some(length), MAX) {
            let kinds = [Kind::InvalidHeader, Kind::InvalidJson, Kind::InvalidBody];
            prop_assert!(kinds.contains(&problem.kind));
            prop_assert!(problem.detail.len() < 512);
        }
    }
}
