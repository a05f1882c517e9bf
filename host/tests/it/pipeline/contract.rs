//! Invalid components, and components that do not fit the contract: each is refused with
//! a sentence that says what its author must change.

use predictor::Configuration;
use sandbox::{LoadError, Step, load};

use crate::harness::guest;
use crate::hostile::{component, hostile, load_text, prepared, some_files, tight};

const PREDICTOR: &str = "fastsentiment:predict/predictor@0.1.0";

fn refusal(bytes: &[u8]) -> LoadError {
    load(&tight(), None, bytes, &some_files(), &Configuration::NONE)
        .err()
        .expect("it is refused")
}

/// Asserts that a component is refused as one that does not fit the contract,
/// in words that hold all of `words`.
fn assert_misfit(text: &str, words: &[&str]) {
    assert_refused_at(Step::Contract, text, words);
}

/// Asserts that a component is refused at a step, in words that hold all of
/// `words`.
fn assert_refused_at(step: Step, text: &str, words: &[&str]) {
    let error = load_text(&tight(), text).err().expect("it is refused");
    assert_eq!(error.step(), step, "{error:?}");
    for word in words {
        assert!(
            error.to_string().contains(word),
            "{word:?} is not in: {error}"
        );
    }
}

#[test]
fn invalid_components_are_refused() {
    let default = guest();
    let good = component(&hostile());
    let cases: [(&str, &[u8]); 7] = [
        ("empty", b""),
        ("a few bytes", b"\0asm"),
        ("text", b"(component)"),
        ("noise", &[0x5a; 4096]),
        ("a default guest cut in half", &default[..default.len() / 2]),
        (
            "a default guest less its last byte",
            &default[..default.len() - 1],
        ),
        ("half a guest", &good[..good.len() / 2]),
    ];
    for (what, bytes) in cases {
        let error = refusal(bytes);
        assert!(matches!(error, LoadError::Compile(_)), "{what}: {error:?}");
        assert!(error.to_string().contains("component"), "{what}: {error}");
    }
}

/// Some of these are refused at one step, some at another, and some are valid;
/// none may end the process.
#[test]
fn a_damaged_component_does_not_crash_the_host() {
    let good = component(&prepared(""));
    let (runtime, files) = (tight(), some_files());
    let mut refused = 0;
    for at in (0..good.len()).step_by(good.len() / 150) {
        let mut damaged = good.clone();
        damaged[at] ^= 0xff;
        refused +=
            usize::from(load(&runtime, None, &damaged, &files, &Configuration::NONE).is_err());
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn a_core_module_is_named_as_such() {
    let error = refusal(&wat::parse_str("(module)").unwrap());
    assert!(matches!(error, LoadError::Contract(_)), "{error:?}");
    assert!(error.to_string().contains("core module"), "{error}");
    assert!(error.to_string().contains("wasm32-wasip2"), "{error}");
}

#[test]
fn a_missing_export_is_named() {
    assert_misfit("", &[PREDICTOR, "nothing"]);
    let other = hostile().replace("predictor@0.1.0", "predictor@0.2.0");
    assert_misfit(
        &other,
        &[PREDICTOR, "`fastsentiment:predict/predictor@0.2.0`"],
    );
    // The exports of a nested component do not count.
    let inner = format!("(component {})", hostile());
    assert_misfit(&inner, &[PREDICTOR, "nothing"]);
}

#[test]
fn a_wrong_type_is_named() {
    // The code is the same; only the declared types differ.
    let double = hostile().replace("(field \"score\" f32)", "(field \"score\" f64)");
    let renamed = hostile().replace("(field \"label\" string)", "(field \"name\" string)");
    for (text, words) in [(double, ["score", "f64"]), (renamed, ["label", "name"])] {
        assert_misfit(&text, &words);
    }
    let lacking = hostile().replace(
        "(export \"predict\" (func $predict) (func",
        "(export \"guess\" (func $predict) (func",
    );
    assert_misfit(&lacking, &["predict"]);
}

#[test]
fn an_unknown_import_is_named() {
    let import = r#"
        (import "acme:weather/forecast@1.0.0" (instance (export "ask" (func))))
    "#;
    let asks = import.to_owned() + &hostile();
    assert_refused_at(
        Step::Link,
        &asks,
        &["import", "acme:weather/forecast@1.0.0"],
    );
    // Before `prepare` runs, too.
    let asks = import.to_owned() + &prepared("");
    assert_refused_at(
        Step::Link,
        &asks,
        &["import", "acme:weather/forecast@1.0.0"],
    );
    // Before anything is compiled: this has code that no compiler takes.
    let http = r#"(import "wasi:http/types@0.2.3" (instance))"#;
    let asks = format!("{http} (core module (func (result i32))) {}", hostile());
    assert_refused_at(
        Step::Link,
        &asks,
        &["wasi:http/types@0.2.3", "`wasi:cli@0.2.x`", "-d http"],
    );
    // What comes after WASI 0.2 is another thing of the same name.
    let later = r#"(import "wasi:clocks/types@0.3.0" (instance))"#;
    let asks = later.to_owned() + &hostile();
    assert_refused_at(Step::Link, &asks, &["wasi:clocks/types@0.3.0"]);
    // The host has the interface, but not this function.
    let unknown = r#"
        (import "wasi:cli/environment@0.2.0" (instance (export "get-secrets" (func))))
    "#;
    let asks = unknown.to_owned() + &hostile();
    assert_refused_at(
        Step::Link,
        &asks,
        &["import", "wasi:cli/environment@0.2.0", "get-secrets"],
    );
}

#[test]
fn a_prepare_of_a_wrong_kind_is_refused() {
    let instance = hostile() + r#"(instance $none) (export "prepare" (instance $none))"#;
    assert_misfit(&instance, &["prepare", "function"]);
    let asking = hostile()
        + r#"
            (core module $other (func (export "prepare") (param i32)))
            (core instance $other (instantiate $other))
            (func $prepare (param "depth" u32) (canon lift (core func $other "prepare")))
            (export "prepare" (func $prepare))
        "#;
    let error = refusal(&component(&asking));
    assert!(error.to_string().contains("prepare"), "{error}");
}

#[test]
fn asynchronous_components_are_refused_before_they_are_compiled() {
    // No compiler takes the module.
    let broken = "(core module (func (result i32)))";
    let asks = format!("{broken} (core func (canon task.cancel)) {}", hostile());
    let words = ["asynchronous", "--backend-qjs-disable-async"];
    assert_refused_at(Step::Link, &asks, &words);
    let nested = format!(
        "{broken} (component (core func (canon task.cancel))) {}",
        hostile()
    );
    assert_refused_at(Step::Link, &nested, &words);
}

#[test]
fn nested_components_with_code_are_not_prepared() {
    let inner = "(component (core module (func)))";
    let asks = format!("{inner} {}", prepared(""));
    assert_refused_at(Step::Prepare, &asks, &["nested", "without `prepare`"]);
    // They are served as they are.
    assert!(load_text(&tight(), &format!("{inner} {}", hostile())).is_ok());
    // The usual tools make nested components without code.
    assert!(load_text(&tight(), &format!("(component) {}", prepared(""))).is_ok());
}

/// The bytes of a custom section.
fn custom(name: &str, content: &[u8]) -> Vec<u8> {
    let length = |of: usize| {
        u8::try_from(of)
            .ok()
            .filter(|length| *length < 128)
            .unwrap()
    };
    let mut section = vec![
        0,
        length(1 + name.len() + content.len()),
        length(name.len()),
    ];
    section.extend(name.bytes());
    section.extend(content);
    section
}

#[test]
fn a_guest_is_called_what_it_calls_itself() {
    let name = |name: &str| {
        let length = u8::try_from(name.len()).unwrap();
        let content = [&[0, length + 1, length], name.as_bytes()].concat();
        custom("component-name", &content)
    };
    let version = |number: &str| custom("version", number.as_bytes());
    for (sections, called) in [
        (vec![], None),
        (vec![name("mine")], Some("mine")),
        (vec![version("1.2.0"), name("mine")], Some("mine@1.2.0")),
        (vec![version("1.2.0")], None),
        // It would not fit into a header.
        (vec![name("two words")], None),
        (vec![name("mine"), version("\u{202e}")], None),
    ] {
        let bytes = [component(&hostile()), sections.concat()].concat();
        let guest = load(&tight(), None, &bytes, &some_files(), &Configuration::NONE).unwrap();
        let name = guest.revision().name().map(ToString::to_string);
        assert_eq!(name.as_deref(), called);
    }
}
