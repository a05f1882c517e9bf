//! What the author of a guest learns of a trap.

use super::*;

/// The error of a guest whose order `trap` does `body`, with some functions beside it.
fn trapped(functions: &str, body: &str) -> String {
    let order = "(i32.const 0x74)) (then unreachable))";
    let text = hostile().replace(order, &format!("(i32.const 0x74)) (then {body}))"));
    let text = text.replace("(func $is ", &format!("{functions} (func $is "));
    let guest = load_text(&roomy(), &text).unwrap();
    order_error(&guest, "trap")
}

fn order_error(guest: &Guest, name: &str) -> String {
    order(guest, name).unwrap_err().to_string()
}

#[test]
fn the_kind_of_a_trap_comes_first() {
    let table = "(table 1 funcref) (type $none (func))";
    let cases = [
        ("", "unreachable", "unreachable"),
        (
            "",
            "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
            "integer divide by zero",
        ),
        (
            "",
            "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
            "integer overflow",
        ),
        (
            "",
            "(drop (i32.trunc_f32_s (f32.const nan)))",
            "invalid conversion to integer",
        ),
        (
            "",
            "(drop (i32.load (i32.const 0x7ffffff0)))",
            "out of bounds memory access",
        ),
        ("", "(drop (call $recurse (i32.const 0)))", "stack overflow"),
        (
            table,
            "(call_indirect (type $none) (i32.const 0))",
            "uninitialized element",
        ),
        (
            table,
            "(call_indirect (type $none) (i32.const 9))",
            "undefined element",
        ),
    ];
    for (functions, body, kind) in cases {
        let said = trapped(functions, body);
        let expected = format!("the guest trapped: {kind}");
        assert!(said.starts_with(&expected), "{body}: {said}");
    }
}

/// As Rust's compiler calls them; those of the standard library tell the author nothing.
const RUST: &str = "
    (func $_ZN4core9panicking9panic_fmt17h0123456789abcdefE unreachable)
    (func $_ZN4core6option13unwrap_failed17h0123456789abcdefE
      call $_ZN4core9panicking9panic_fmt17h0123456789abcdefE)
    (func $_ZN7smileys5count17h0123456789abcdefE
      call $_ZN4core6option13unwrap_failed17h0123456789abcdefE)
    (func $_ZN7smileys6scores17h0123456789abcdefE
      call $_ZN7smileys5count17h0123456789abcdefE)";

#[test]
fn the_authors_functions_are_named() {
    let said = trapped(RUST, "call $_ZN7smileys6scores17h0123456789abcdefE");
    let expected = "; in `smileys::count`, called by `smileys::scores`";
    assert!(said.contains(expected), "{said}");
    for other in ["core::", "0123456789abcdef", "\n"] {
        assert!(!said.contains(other), "{other:?} is in: {said}");
    }
    // Recursion is named once, and does not push other functions out.
    let said = trapped("", "(drop (call $recurse (i32.const 0)))");
    assert_eq!(said.matches("`recurse`").count(), 1, "{said}");
}

#[test]
fn names_are_bounded_and_escaped() {
    let long = format!("(func ${} unreachable)", "x".repeat(100_000));
    let said = trapped(&long, &format!("call ${}", "x".repeat(100_000)));
    assert!(said.contains("`xxx") && said.len() < 1000, "{said}");
    let forged = "$\"a\\n\\1b[31mERROR\"";
    let said = trapped(
        &format!("(func {forged} unreachable)"),
        &format!("call {forged}"),
    );
    assert!(said.contains("`a \\u{1b}[31mERROR`"), "{said}");
}

#[test]
fn a_trap_in_prepare_is_described_as_well() {
    let text = prepared("call $_ZN7smileys6scores17h0123456789abcdefE");
    let text = text.replace("(func $is ", &format!("{RUST} (func $is "));
    let error = load_text(&roomy(), &text).err().unwrap().to_string();
    let begins = "the guest could not be prepared: it trapped: unreachable";
    assert!(error.starts_with(begins), "{error}");
    assert!(error.contains("; in `smileys::count`"), "{error}");
}

#[test]
fn a_trap_of_a_command_is_described_as_well() {
    let (dir, export) = (model_dir(), "(func (export \"run\") (result i32)");
    let run = |runtime: Arc<Runtime>, body: &str| {
        let text = explorer().replace(export, &format!("{export} {body}"));
        let bytes = component(&text);
        let ran = run_command(&runtime, &bytes, dir.path(), &Configuration::NONE, &[]);
        wait(ran).unwrap_err().to_string()
    };
    let said = run(roomy(), "(drop (i32.div_u (i32.const 1) (i32.const 0)))");
    assert!(
        said.starts_with("the guest trapped: integer divide by zero"),
        "{said}"
    );
    let said = run(tight(), "(loop $on (br $on))");
    assert_eq!(said, "the guest did not end within 5s");
    let more = "(loop $on (br_if $on (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) \
                unreachable";
    let said = run(tight(), more);
    assert_eq!(
        said,
        "the guest ran out of memory: the limit is 16777216 bytes"
    );
}
