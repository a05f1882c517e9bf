use super::*;

fn texts(document: &[u8]) -> Result<Vec<String>, Problem> {
    let read = super::read(document, 100, Allowed::default())?;
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
        let found = read(document, 2, Allowed::default()).unwrap().texts;
        assert_eq!((found.kept.len(), found.given), (2, 5));
    }
}

#[test]
fn every_wrong_field_is_named() {
    let document = r#"{"text": ["a", 1, "b", null, [2], {"text": []}, true]}"#;
    let (pointers, detail) = blamed(document);
    assert_eq!(
        pointers,
        ["/text/1", "/text/3", "/text/4", "/text/5", "/text/6"]
    );
    assert_eq!(
        detail,
        "`/text/1` must be a string, found a number (errors in all: 5)"
    );
}

#[test]
fn many_wrong_fields_are_counted_but_not_listed() {
    let document = format!(r#"{{"text": [{}0]}}"#, "0,".repeat(99));
    let (pointers, detail) = blamed(&document);
    assert_eq!(pointers.len(), MAX_LISTED);
    assert!(detail.ends_with("(errors in all: 100)"), "{detail}");
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
        (br#"{"text": [], "text": []}"#, "given twice"),
        (br#"{"text": [], "\u0074ext": []}"#, "given twice"),
        (br#"{"text": ["\ud800"]}"#, "hex escape"),
        (br#"{"text": ["\udc00"]}"#, "surrogate"),
        (br#"{"text": ["\ud800\ud800"]}"#, "surrogate"),
        (br#"{"text": [], "other": "\ud800"}"#, "hex escape"),
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
