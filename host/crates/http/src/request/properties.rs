//! What the reader makes of any input, compared with `serde_json::Value`.

use predictor::{Activation, Description, ModelCard};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use super::*;

const MAX_TEXTS: usize = 3;

/// In every string and name that is not the API's, and in none of its messages.
const MARK: char = 'Ж';

fn string() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|string| format!("{MARK}{string}"))
}

pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec![1.0, 2.0, 0.0]).prop_map(Value::from),
        select(vec!["right", "Right", "left", "softmax"]).prop_map(Value::from),
        string().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let name = prop_oneof![
            string(),
            select(vec!["text", "top_k", "function_to_apply"]).prop_map(str::to_owned),
        ];
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map(name, inner, 0..4).prop_map(|map| Value::from(Map::from_iter(map))),
        ]
    })
}

/// Requests of which about half are valid, and some are no objects.
fn request() -> impl Strategy<Value = Value> {
    let texts = || vec(string(), 0..MAX_TEXTS + 2);
    let text = prop_oneof![3 => texts().prop_map(Value::from), 1 => value()];
    let input = string().prop_flat_map(|text| select(vec![json!(text), json!([text])]));
    let inputs = prop_oneof![
        string().prop_map(Value::from),
        vec(input, 0..MAX_TEXTS + 2).prop_map(Value::from),
        value(),
    ];
    let options = btree_map(
        select(vec![
            "raw_scores",
            "truncate",
            "truncation",
            "truncation_direction",
            "parameters",
        ]),
        value(),
        0..2,
    );
    let fields = (
        prop_oneof![
            text.prop_map(|text| vec![("text", text)]),
            inputs.prop_map(|inputs| vec![("inputs", inputs)]),
            Just(vec![]),
            (value(), value()).prop_map(|(text, inputs)| vec![("text", text), ("inputs", inputs)]),
        ],
        options,
        btree_map(string(), value(), 0..2),
    );
    let object = fields.prop_map(|(texts, options, others)| {
        let named = texts.into_iter().chain(options);
        let named = named.map(|(name, value)| (name.to_owned(), value));
        Value::from(named.chain(others).collect::<Map<_, _>>())
    });
    prop_oneof![9 => object, 1 => value()]
}

fn allowed() -> Allowed {
    Allowed::from(&ModelCard {
        name: String::new(),
        description: Description {
            activation: Some(Activation::Softmax),
            ..Description::UNKNOWN
        },
    })
}

/// What a request should be read as: its texts and its form, or `None` if it has a
/// wrong field.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number, and one that is too large becomes the largest"
)]
fn expected(request: &Value) -> Option<(Vec<String>, Form)> {
    let string = |value: &Value| value.as_str().map(str::to_owned);
    let fields = request.as_object()?;
    let allow = |fields: &Map<String, Value>, name: &str, values: &[Value]| {
        let value = fields.get(name).unwrap_or(&Value::Null);
        (value.is_null() || values.contains(value)).then_some(())
    };
    // In both forms.
    allow(fields, "truncation", &[json!(true), json!(false)])?;
    let (inputs, is_one) = match (fields.get("text"), fields.get("inputs")) {
        (Some(text), None) => {
            let texts = text.as_array()?.iter().map(string).collect::<Option<_>>()?;
            return Some((texts, Form::Text));
        }
        (None, Some(Value::String(text))) => (vec![text.clone()], true),
        (None, Some(Value::Array(inputs))) => {
            let text = |input: &Value| match input {
                Value::Array(alone) if alone.len() == 1 => string(&alone[0]),
                input => string(input),
            };
            (inputs.iter().map(text).collect::<Option<_>>()?, false)
        }
        _ => return None,
    };
    let mut form = Inputs {
        is_one,
        ..Inputs::default()
    };
    allow(fields, "raw_scores", &[json!(false)])?;
    allow(fields, "truncate", &[json!(true), json!(false)])?;
    let directions = [json!("right"), json!("Right")];
    allow(fields, "truncation_direction", &directions)?;
    match fields.get("parameters").unwrap_or(&Value::Null) {
        Value::Null => {}
        Value::Object(parameters) => {
            allow(parameters, "function_to_apply", &[json!("softmax")])?;
            for (name, value) in parameters {
                match (&**name, value.as_f64()) {
                    ("function_to_apply", _) => {}
                    ("truncation", _) if value.is_null() || value.is_boolean() => {}
                    ("top_k", None) if value.is_null() => {}
                    ("top_k", Some(count)) if count >= 1.0 && count.fract() == 0.0 => {
                        form.top_k = Some(count as usize);
                    }
                    _ => return None,
                }
            }
        }
        _ => return None,
    }
    Some((inputs, Form::Inputs(form)))
}

fn reveals(problem: &Problem) -> bool {
    let pointers = problem.errors.iter().map(|error| &*error.pointer);
    let details = problem.errors.iter().map(|error| &*error.detail);
    let mut all = pointers.chain(details).chain([&*problem.detail]);
    all.any(|message| message.contains(MARK))
}

/// A JSON string in which every UTF-16 unit is escaped.
pub(crate) fn escaped(text: &str) -> String {
    let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
    format!("\"{}\"", units.collect::<String>())
}

proptest! {
    #[test]
    fn any_json_is_read_as_expected(request in request()) {
        let found = read(request.to_string().as_bytes(), MAX_TEXTS, allowed);
        match (found, expected(&request)) {
            (Ok(Read { texts, form, .. }), Some((expected, expected_form))) => {
                prop_assert_eq!(texts.given, expected.len());
                prop_assert_eq!(texts.kept, &expected[..expected.len().min(MAX_TEXTS)]);
                prop_assert_eq!(form, expected_form);
            }
            (Err(problem), None) => {
                prop_assert_eq!(problem.kind, Kind::InvalidBody);
                prop_assert_eq!(problem.errors.len(), 1);
                let pointer = &problem.errors[0].pointer;
                // A field that is missing is not there.
                let is_missing = problem.detail.contains("is missing");
                prop_assert!(is_missing || request.pointer(pointer).is_some());
                prop_assert!(!reveals(&problem), "{problem:?}");
            }
            (found, expected) => prop_assert!(false, "{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn broken_json_is_refused_as_such(
        request in request(),
        at in any::<Index>(),
        insert in select(vec!["", "\"", "{", "]", ",", "\\", "\\ud800", "1e999", "\0", "NaN"]),
        remove in 0_usize..3,
    ) {
        let mut bytes = request.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + remove).min(bytes.len()), insert.bytes());
        let is_json = serde_json::from_slice::<Value>(&bytes).is_ok();
        match read(&bytes, MAX_TEXTS, allowed) {
            Ok(_) => prop_assert!(is_json),
            Err(problem) => {
                let is_repeated = problem.detail.contains("duplicate field");
                let kind = if is_json && !is_repeated {
                    Kind::InvalidBody
                } else {
                    Kind::InvalidJson
                };
                prop_assert_eq!(problem.kind, kind, "{}", problem.detail);
                prop_assert!(!reveals(&problem), "{problem:?}");
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..64)) {
        let is_json = serde_json::from_slice::<Value>(&bytes).is_ok();
        let found = read(&bytes, MAX_TEXTS, allowed);
        prop_assert_eq!(found.is_err_and(|problem| problem.kind == Kind::InvalidJson), !is_json);
    }

    #[test]
    fn any_texts_survive_every_form(texts in vec(any::<String>(), 1..4), escape in any::<bool>()) {
        let quote = |text: &String| if escape { escaped(text) } else { json!(text).to_string() };
        let quoted: Vec<_> = texts.iter().map(quote).collect();
        let (list, nested) = (quoted.join(", "), quoted.join("], ["));
        for document in [
            format!(r#"{{"text": [{list}]}}"#),
            format!(r#"{{"inputs": [{list}]}}"#),
            format!(r#"{{"inputs": [[{nested}]], "truncate": true}}"#),
        ] {
            let read = read(document.as_bytes(), MAX_TEXTS, allowed).unwrap();
            prop_assert_eq!(&read.texts.kept, &texts);
        }
        for (text, quoted) in texts.iter().zip(&quoted) {
            let one = format!(r#"{{"inputs": {quoted}}}"#);
            let read = read(one.as_bytes(), MAX_TEXTS, allowed).unwrap();
            prop_assert_eq!(&read.texts.kept, std::slice::from_ref(text));
        }
    }
}
