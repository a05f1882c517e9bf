use super::*;

fn texts(document: &[u8]) -> Result<Vec<String>, Problem> {
    let read = super::read(document, 100, Allowed::default)?;
    assert_eq!(read.form, Form::Text);
    Ok(read.texts.kept)
}

/// The pointers and the first detail of a document of the wrong shape.
fn blamed(document: &str) -> (Vec<String>, String) {
    let problem = texts(document.as_bytes()).unwrap_err();
    assert_eq!(problem.kind, Kind::InvalidBody, "{document}");
    let pointers = problem.errors.into_iter().map(|error| error.pointer);
    (pointers.collect(), problem.detail.into_owned())
}

fn invalid(document: &[u8]) -> String {
    let problem = texts(document).unwrap_err();
    assert_eq!(problem.kind, Kind::InvalidJson, "{document:?}");
    problem.detail.into_owned()
}

#[test]
fn texts_keep_their_order_and_other_fields_are_ignored() {
    let document = r#" {"a": [{"text": 1}], "text": ["b", "", "\u00e9\ud83d\ude00"], "c": null} "#;
    assert_eq!(texts(document.as_bytes()).unwrap(), ["b", "", "é😀"]);
    assert!(texts(br#"{"text": []}"#).unwrap().is_empty());
}

#[test]
fn texts_beyond_the_limit_are_counted_and_not_kept() {
    for document in [
        br#"{"text": ["a", "b", "", "", ""]}"#,
        &br#"{"inputs": ["a", ["b"], "", [""], ""]}"#[..],
    ] {
        let found = read(document, 2, Allowed::default).unwrap().texts;
        assert_eq!((found.kept.len(), found.given), (2, 5));
    }
}

#[test]
fn the_first_wrong_field_is_named() {
    for (document, pointer, detail) in [
        (
            r#"{"text": ["a", 1, "b", null, [2], {"text": []}, true]}"#,
            "/text/1",
            "`/text/1` must be a string, found a number",
        ),
        (
            r#"{"text": ["secret", -0.5]}"#,
            "/text/1",
            "`/text/1` must be a string, found a number",
        ),
        (
            r#"{"inputs": ["a", ["secret", "b"]]}"#,
            "/inputs/1",
            "`/inputs/1` must be a string, or an array of one string, found an array of 2; \
             pairs of texts cannot be scored",
        ),
        (
            r#"{"inputs": [["a"], [true]]}"#,
            "/inputs/1/0",
            "`/inputs/1/0` must be a string, found a boolean",
        ),
        (
            r#"{"inputs": {"secret": 1}}"#,
            "/inputs",
            "`/inputs` must be a string or an array of strings, found an object",
        ),
        (
            r#"{"inputs": "a", "truncate": "secret, expected secret"}"#,
            "/truncate",
            "`/truncate` must be a boolean, found a string",
        ),
        (
            r#"{"parameters": {"top_k": -1}, "inputs": "a"}"#,
            "/parameters/top_k",
            "`/parameters/top_k` must be a whole number, at least 1",
        ),
        (
            r#"{"inputs": "a", "parameters": {"top_k": 1, "secret/secret, expected secret": 1}}"#,
            "/parameters",
            "`/parameters` must hold `top_k`, `function_to_apply`, `truncation` and nothing else",
        ),
        (
            r#"{"inputs": "a", "parameters": ["secret"]}"#,
            "/parameters",
            "`/parameters` must be an object, found an array",
        ),
        (
            r#"{"text": ["a"], "truncation": "secret, expected secret"}"#,
            "/truncation",
            "`/truncation` must be a boolean, found a string",
        ),
        (
            r#"{"text": ["a"], "text_pair": ["secret"]}"#,
            "/text_pair",
            "`/text_pair` must be left out: pairs of texts cannot be scored",
        ),
        (
            r#"{"inputs": "a", "text": ["secret"]}"#,
            "/text",
            "`/text` must be left out: only one of `text` and `inputs` can be given",
        ),
    ] {
        assert_eq!(
            blamed(document),
            (vec![pointer.to_owned()], detail.to_owned()),
            "{document}"
        );
    }
}

/// Serde's errors quote strings, and take six bytes for each of these.
#[test]
fn long_strings_are_refused_without_being_quoted() {
    let long = "\u{7f}".repeat(1 << 20);
    for (document, pointer, words) in [
        (format!("\"{long}\""), "", "an object"),
        (
            format!(r#"{{"text": "{long}"}}"#),
            "/text",
            "an array of strings",
        ),
        (
            format!(r#"{{"raw_scores": "{long}", "inputs": "a"}}"#),
            "",
            "256 bytes",
        ),
        (
            format!(r#"{{"inputs": "a", "parameters": {{"{long}": 1}}}}"#),
            "",
            "256 bytes",
        ),
    ] {
        let (pointers, detail) = blamed(&document);
        assert_eq!(pointers, [pointer]);
        assert!(detail.contains(words), "{detail}");
    }
    let beside_text = format!(r#"{{"raw_scores": "{long}", "text": ["a"]}}"#);
    assert_eq!(texts(beside_text.as_bytes()).unwrap(), ["a"]);
}

#[test]
fn options_are_fields_like_any_other_beside_text() {
    let document = br#"{"truncate": false, "text": ["a"], "parameters": {"top_k": 0}}"#;
    assert_eq!(texts(document).unwrap(), ["a"]);
}

#[test]
fn a_byte_order_mark_is_skipped() {
    assert_eq!(texts(b"\xef\xbb\xbf{\"text\": [\"a\"]}").unwrap(), ["a"]);
    // One only, and nowhere else.
    assert!(invalid(b"\xef\xbb\xbf\xef\xbb\xbf{}").contains("column 1"));
}

#[test]
fn the_shape_around_the_texts_is_checked() {
    for (document, pointer, words) in [
        ("{}", "/text", "missing"),
        (r#"{"texts": ["a"]}"#, "/text", "missing"),
        (r#"{"text": null}"#, "/text", "found null"),
        (r#"{"text": "secret"}"#, "/text", "found a string"),
        (r#"{"text": {"a": 1}}"#, "/text", "found an object"),
        (r#"["secret"]"#, "", "found an array"),
        (r#""secret""#, "", "found a string"),
        ("1.5", "", "found a number"),
        ("null", "", "found null"),
    ] {
        let (pointers, detail) = blamed(document);
        assert_eq!(pointers, [pointer], "{document}");
        assert!(detail.contains(words), "{document}: {detail}");
        assert!(!detail.contains("secret"), "{document}: {detail}");
    }
}

#[test]
fn what_is_not_json_says_where() {
    for (document, words) in [
        (&b""[..], "empty"),
        (b" ", "line 1 column 1"),
        (b"{\"text\": [\n\"secret\" 1]}", "line 2 column 10"),
        (br#"{"text": ["secret"]} x"#, "trailing characters"),
        (br#"{"text": ["secret"#, "EOF"),
        (br#"{"text": [], "text": []}"#, "duplicate field `text`"),
        (
            br#"{"text": [], "\u0074ext": []}"#,
            "duplicate field `text`",
        ),
        (
            br#"{"inputs": "a", "inputs": 1}"#,
            "duplicate field `inputs`",
        ),
        (
            br#"{"text": ["a", "\ud800"]}"#,
            "one half of a surrogate pair at line 1 column 23, in `/text/1`",
        ),
        (
            br#"{"inputs": "a", "truncate": true, "truncate": true}"#,
            "duplicate field `truncate`",
        ),
        (br#"{"inputs": [["\ud800"]]}"#, "in `/inputs/0/0`"),
        (
            b"{\"text\": [\n\"a\", NaN]}",
            "NaN is not a JSON value at line 2 column 6, in `/text/1`",
        ),
        (
            br#"{"secret": -Infinity, "text": []}"#,
            "Infinity is not a JSON value at line 1 column 13",
        ),
        (br#"{"text": ["\udc00"]}"#, "one half of a surrogate pair"),
        (
            br#"{"text": ["a", "b", "\ud800\ud800"]}"#,
            "one half of a surrogate pair at line 1 column 33, in `/text/2`",
        ),
        (
            br#"{"text": ["\ud83dx"]}"#,
            "pair at line 1 column 18, in `/text/0`",
        ),
        (br#"{"text": ["\ud83d\n"]}"#, "one half of a surrogate pair"),
        (br#"{"text": [], "other": "\ud800"}"#, "surrogate pair"),
        (br#"{"text": ["\u12"]}"#, "invalid escape"),
        (b"{\"text\": [\"a\xff\"]}", "byte 12"),
        // The wrong field comes first, but it is not JSON as a whole.
        (br#"{"text": [1], }"#, "line 1"),
    ] {
        let detail = invalid(document);
        assert!(detail.contains(words), "{detail}");
        assert!(!detail.contains("secret"), "{detail}");
    }
}

#[test]
fn deep_nesting_is_refused_wherever_it_is() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for document in [
        deep.clone(),
        format!(r#"{{"text": {deep}}}"#),
        format!(r#"{{"other": {deep}, "text": []}}"#),
        "[".repeat(1_000_000),
    ] {
        assert!(invalid(document.as_bytes()).contains("recursion limit"));
    }
}
