//! What is said of requests that are refused. Nothing of a request is repeated.

use super::*;

fn refused(cases: Vec<(Value, &str)>) {
    for (request, expected) in cases {
        let problem = read_json(&request).unwrap_err();
        let detail = problem.detail;
        assert!(detail.contains(expected), "{request}: {detail}");
        assert!(!detail.contains("secret"), "{detail}");
        assert_eq!(problem.kind, Kind::InvalidBody, "{detail}");
    }
}

#[test]
fn what_is_wrong_with_tensors_is_said() {
    let tensor = with(&json!({}))["inputs"][0].clone();
    let long = "secret".repeat(100);
    refused(vec![
        (json!([]), "the body must be an object, found an array"),
        (
            json!({}),
            "`/inputs` is missing; send an object such as {\"inputs\"",
        ),
        (
            json!({"inputs": {}}),
            "`/inputs` must be an array of one tensor, found an object",
        ),
        (
            json!({"inputs": []}),
            "`/inputs` must hold one tensor, found 0",
        ),
        (
            json!({"inputs": [tensor, tensor]}),
            "`/inputs` must hold one tensor, found 2",
        ),
        (
            json!({"inputs": ["secret"]}),
            "`/inputs/0` must be an object, found a string",
        ),
        (
            with(&json!({"name": "secret"})),
            "`/inputs/0/name` must be \"text\"",
        ),
        (with(&json!({"name": null})), "`/inputs/0/name` is missing"),
        (
            with(&json!({"datatype": "FP32"})),
            "`/inputs/0/datatype` must be \"BYTES\"",
        ),
        (
            with(&json!({"datatype": "FP32", "data": [1.5]})),
            "`/inputs/0/datatype` must be \"BYTES\"",
        ),
        (
            with(&json!({"data": [1.5]})),
            "`/inputs/0/data/0` must be a string",
        ),
        (
            with(&json!({"data": "secret"})),
            "`/inputs/0/data` must be an array of strings",
        ),
        (with(&json!({"data": [["a", "b"]]})), "found an array of 2"),
        (
            with(&json!({"data": null})),
            "`/inputs/0/data` must be an array of strings, unless",
        ),
        (
            with(&json!({"name": long})),
            "must hold no option with a string of more than 256 bytes",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_shapes_and_options_is_said() {
    refused(vec![
        (
            with(&json!({"shape": [2]})),
            "`/inputs/0/shape` is of 2 texts, and the tensor has 1",
        ),
        (
            with(&json!({"shape": [18_446_744_073_709_551_615_u64]})),
            "and the tensor has 1",
        ),
        (with(&json!({"shape": [1e300]})), "and the tensor has 1"),
        (
            with(&json!({"shape": [-1]})),
            "`/inputs/0/shape/0` must be a whole number, at least 0",
        ),
        (
            with(&json!({"shape": [0.5]})),
            "`/inputs/0/shape/0` must be a whole number",
        ),
        (
            with(&json!({"shape": ["secret"]})),
            "must be a whole number, at least 0, found a string",
        ),
        (
            with(&json!({"shape": []})),
            "`/inputs/0/shape` must be [n] or [n, 1]",
        ),
        (
            with(&json!({"shape": [1, 2]})),
            "`/inputs/0/shape` must be [n] or [n, 1]",
        ),
        (
            with(&json!({"shape": [1, 1, 1, 1]})),
            "`/inputs/0/shape` must be [n] or [n, 1]",
        ),
        (
            with(&json!({"data": null, "parameters": {"binary_data_size": 5}})),
            "`/inputs/0/parameters/binary_data_size` is 5, and 0 bytes follow",
        ),
        (
            with(&json!({"parameters": {"shared_memory_region": "secret"}})),
            "shared memory cannot be used",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_outputs_is_said() {
    let outputs = |outputs: Value| {
        let mut request = with(&json!({}));
        request["outputs"] = outputs;
        request
    };
    refused(vec![
        (
            outputs(json!([{"name": "secret"}])),
            "`/outputs/0/name` must be \"labels\" or \"scores\"",
        ),
        (
            outputs(json!([{"name": "labels"}, {"name": "labels"}])),
            "`/outputs/1/name` must be given once",
        ),
        (
            outputs(json!([{"name": "labels", "parameters": {"classification": 2}}])),
            "`/outputs/0/parameters/classification` must be left out",
        ),
        (
            outputs(json!([{"name": "labels", "parameters": {"binary_data": 1}}])),
            "`/outputs/0/parameters/binary_data` must be a boolean, found a number",
        ),
        (
            outputs(json!(["secret"])),
            "`/outputs/0` must be an object, found a string",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_binary_is_said() {
    let good = packed(&["ab", "c"]);
    let size = json!(good.len());
    let changed = |at: usize, byte: u8| {
        let mut binary = good.clone();
        binary[at] = byte;
        binary
    };
    for (shape, size, binary, expected) in [
        (
            json!([1]),
            &size,
            good.clone(),
            "`/inputs/0/shape` is of 1 texts, and the tensor has 2",
        ),
        (
            json!([2]),
            &json!(4),
            good.clone(),
            "is 4, and 11 bytes follow the JSON",
        ),
        (
            json!([2]),
            &size,
            good[..9].to_vec(),
            "is 11, and 9 bytes follow the JSON",
        ),
        (
            json!([2]),
            &json!(u64::MAX),
            good.clone(),
            "and 11 bytes follow the JSON",
        ),
        (
            json!([2]),
            &json!(-1),
            good.clone(),
            "must be a whole number, at least 0",
        ),
        (
            json!([2]),
            &size,
            changed(0, 9),
            "text 0 of the binary tensor is 9 bytes long by its",
        ),
        (
            json!([2]),
            &size,
            changed(3, 0xff),
            "is 4278190082 bytes long by its length, and 7",
        ),
        (
            json!([2]),
            &size,
            changed(6, 0),
            "text 2 of the binary tensor has 1 of the 4 bytes",
        ),
        (
            json!([2]),
            &size,
            changed(5, 0xff),
            "text 0 of the binary tensor is not UTF-8 at its byte 1",
        ),
    ] {
        let problem = read_binary(&shape, size, &binary).unwrap_err();
        assert!(problem.detail.contains(expected), "{}", problem.detail);
        assert_eq!(problem.kind, Kind::InvalidBody);
    }
    let (body, json) = followed(&with(&json!({})), b"tail");
    let problem = read(&body, Some(json), MAX).unwrap_err();
    assert!(
        problem.detail.contains("4 bytes follow the JSON"),
        "{}",
        problem.detail
    );
    let sized = with(&json!({"parameters": {"binary_data_size": 11}}));
    let (body, json) = followed(&sized, &good);
    let problem = read(&body, Some(json), MAX).unwrap_err();
    assert!(
        problem.detail.contains("`/inputs/0/data` must be left out"),
        "{}",
        problem.detail
    );
    for header in [body.len() + 1, usize::MAX] {
        let problem = read(&body, Some(header), MAX).unwrap_err();
        assert_eq!(problem.kind, Kind::InvalidHeader);
        assert!(
            problem.detail.contains("and the body has only"),
            "{}",
            problem.detail
        );
    }
    for header in [0, 1, json - 1, json + 1] {
        let problem = read(&body, Some(header), MAX).unwrap_err();
        assert_eq!(problem.kind, Kind::InvalidJson, "{header}");
    }
}

#[test]
fn what_is_not_json_is_said() {
    let nan = br#"{"inputs": [{"name": "text", "shape": [NaN]}]}"#;
    let half = br#"{"inputs": [{"secret": "\ud800"}]}"#;
    let twice = br#"{"inputs": [{"data": [], "data": []}]}"#;
    for (body, expected) in [
        (
            &b""[..],
            "the body is empty; it must be a JSON object such as {\"inputs\"",
        ),
        (&nan[..], "NaN is not a JSON value"),
        (&half[..], "one half of a surrogate pair"),
        (&twice[..], "duplicate field `data`"),
        (&b"\xff"[..], "not UTF-8"),
    ] {
        let problem = read(body, None, MAX).unwrap_err();
        assert_eq!(problem.kind, Kind::InvalidJson);
        assert!(problem.detail.contains(expected), "{}", problem.detail);
        assert!(!problem.detail.contains("secret"), "{}", problem.detail);
    }
}
