use super::*;
use serde_json::{Value, json};

const ALLOWED: Allowed = Allowed {
    cut: Side::Right,
    activation: Some(Activation::Softmax),
};

fn options(mut options: Value, allowed: Allowed) -> Result<Inputs, FieldError> {
    options["inputs"] = json!(["a"]);
    let request: InputsRequest = serde_json::from_value(options).unwrap();
    request.accept(allowed).map(|(_, options)| options)
}

#[test]
fn options_that_guests_honour_are_accepted() {
    for accepted in [
        json!({"raw_scores": false, "truncate": true, "truncation_direction": "right"}),
        json!({"raw_scores": null, "truncate": null, "truncation_direction": "Right"}),
        json!({"truncation_direction": null, "parameters": null}),
    ] {
        assert_eq!(options(accepted, ALLOWED), Ok(Inputs::default()));
    }
    for (top_k, expected) in [
        (json!(2), Some(2)),
        (json!(2.0), Some(2)),
        (json!(1e300), Some(usize::MAX)),
        (json!(null), None),
    ] {
        let parameters = json!({"top_k": top_k, "function_to_apply": "softmax"});
        let found = options(json!({"parameters": parameters}), ALLOWED).unwrap();
        assert_eq!(found.top_k, expected);
    }
}

#[test]
fn texts_are_truncated_unless_one_option_forbids_it() {
    let long_texts = |mut options: Value| {
        options["inputs"] = json!("a");
        let request: InputsRequest = serde_json::from_value(options).unwrap();
        request.long_texts()
    };
    for allowed in [json!({}), json!({"truncate": true, "truncation": null})] {
        assert_eq!(long_texts(allowed), LongTexts::AsConfigured);
    }
    for refused in [
        json!({"truncate": false}),
        json!({"truncation": false, "truncate": true}),
        json!({"parameters": {"truncation": false}}),
    ] {
        assert_eq!(long_texts(refused), LongTexts::Refuse);
    }
}

#[test]
fn other_options_are_refused_with_the_allowed_value() {
    for (refused, pointer, words) in [
        (json!({"raw_scores": true}), "/raw_scores", "must be false"),
        (
            json!({"truncation_direction": "secret"}),
            "/truncation_direction",
            "\"right\"",
        ),
        (
            json!({"parameters": {"function_to_apply": "secret"}}),
            "/parameters/function_to_apply",
            "\"softmax\"",
        ),
    ] {
        let error = options(refused, ALLOWED).unwrap_err();
        assert_eq!(error.pointer, pointer);
        assert!(error.detail.contains(words), "{}", error.detail);
        assert!(!error.detail.contains("secret"), "{}", error.detail);
    }
}

#[test]
fn the_allowed_values_depend_on_the_model() {
    let unknown = Allowed {
        cut: Side::Left,
        activation: None,
    };
    let direction = |direction| json!({"truncation_direction": direction});
    assert!(options(direction("left"), unknown).is_ok());
    assert!(options(direction("right"), unknown).is_err());
    let function = json!({"parameters": {"function_to_apply": "softmax"}});
    let error = options(function, unknown).unwrap_err();
    assert!(
        error.detail.contains("must be left out"),
        "{}",
        error.detail
    );
}
