//! Describes traps for the author of a guest: what kind of trap it was, and then the
//! author's own functions that were running.
//!
//! This module must not know why a guest was called.

use wasmtime::{FrameInfo, Trap, WasmBacktrace};

use super::output::one_line;

/// The longest description of a trap, in bytes; the guest chooses the function names
/// in it.
const MAX_TRAP: usize = 2048;

/// The longest name of a function, in bytes.
const MAX_NAME: usize = 200;

/// How many functions are named, from the innermost one on. A few more than these are
/// rarely of use, and all that follow have to fit into [`MAX_TRAP`].
const FRAMES: usize = 8;

/// Describes an error of the WebAssembly engine in one line: the kind of trap, or the
/// host's reason, and the functions that were running, innermost first.
pub(super) fn describe(error: &wasmtime::Error) -> String {
    // Outermost first, so that the last one is the kind. The backtrace is one of them.
    let is_backtrace =
        |cause: &String| cause.starts_with("error while executing at wasm backtrace");
    let mut causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.retain(|cause| !is_backtrace(cause));
    let mut kind = causes.pop().unwrap_or_default();
    if let Some(trap) = error.downcast_ref::<Trap>() {
        kind = name(*trap);
    }
    if !causes.is_empty() {
        kind = format!("{kind} ({})", causes.join(": "));
    }
    let frames = error.downcast_ref::<WasmBacktrace>();
    let frames = frames.map_or(&[][..], WasmBacktrace::frames);
    let functions = functions(frames.iter().map(function).collect());
    if !functions.is_empty() {
        kind = format!("{kind}; in {}", functions.join(", called by "));
    } else if !frames.is_empty() {
        kind.push_str("; its functions have no names");
    }
    one_line(kind, MAX_TRAP)
}

/// The kind of a trap, in the words that guests' authors search for.
fn name(trap: Trap) -> String {
    match trap {
        Trap::StackOverflow => "stack overflow".to_owned(),
        Trap::UnreachableCodeReached => "unreachable, such as a panic or an abort".to_owned(),
        // Such as "wasm trap: integer divide by zero".
        other => other.to_string().replace("wasm trap: ", ""),
    }
}

/// A function of a backtrace.
struct Function {
    /// `None` if the guest was stripped of its names.
    name: Option<String>,
    /// Whether it belongs to a language's runtime, and tells the author nothing.
    is_runtime: bool,
}

fn function(frame: &FrameInfo) -> Function {
    // Without the hash.
    let name = frame.func_name().map(rustc_demangle::demangle);
    let name = name.map(|name| format!("{name:#}"));
    let of_adapter = frame.module().name().is_some_and(is_adapter);
    Function {
        is_runtime: of_adapter || name.as_deref().is_some_and(is_runtime),
        name: name.map(|name| format!("`{}`", one_line(name, MAX_NAME))),
    }
}

/// The names of the author's functions, or of all if there are none. One that calls itself
/// is named once.
fn functions(mut frames: Vec<Function>) -> Vec<String> {
    if frames.iter().any(|frame| !frame.is_runtime) {
        frames.retain(|frame| !frame.is_runtime);
    }
    let mut names: Vec<String> = frames.into_iter().filter_map(|frame| frame.name).collect();
    names.dedup();
    if names.len() > FRAMES {
        let more = names.len() - FRAMES;
        names.truncate(FRAMES);
        names.push(format!("{more} more"));
    }
    names
}

/// Whether a core module is one that the usual tools add to a program.
fn is_adapter(module: &str) -> bool {
    module.starts_with("wit-component:") || module.starts_with("wasi_snapshot_preview1")
}

/// Crates of Rust's runtime, and those that are linked into every guest in Rust.
const RUNTIME_CRATES: [&str; 11] = [
    "__rustc",
    "alloc",
    "compiler_builtins",
    "core",
    "dlmalloc",
    "hashbrown",
    "panic_abort",
    "panic_unwind",
    "std",
    "wit_bindgen",
    "wit_bindgen_rt",
];

/// Functions of Rust's and C's runtimes that have no path.
const RUNTIME_FUNCTIONS: [&str; 13] = [
    "__abort",
    "__assert_fail",
    "__rust_abort",
    "__rust_alloc",
    "__rust_alloc_error_handler",
    "__rust_realloc",
    "__rust_start_panic",
    "_start",
    "abort",
    "cabi_realloc",
    "rust_begin_unwind",
    "rust_oom",
    "rust_panic",
];

/// Whether a demangled name is that of a language's runtime, such as
/// `core::panicking::panic_fmt` and `<alloc::vec::Vec<T> as core::ops::Index<I>>::index`.
fn is_runtime(name: &str) -> bool {
    if RUNTIME_FUNCTIONS.contains(&name) {
        return true;
    }
    let Some(implementation) = name.strip_prefix('<') else {
        return RUNTIME_CRATES.contains(&crate_of(name)) && name.contains("::");
    };
    // The type that implements decides, and for a type without a crate, such as `u8` or
    // `T`, the trait.
    let (ty, of_trait) = implementation
        .split_once(" as ")
        .unwrap_or((implementation, ""));
    let has_crate = ty.contains("::") && !ty.starts_with(['[', '(']);
    let owner = if has_crate { ty } else { of_trait };
    RUNTIME_CRATES.contains(&crate_of(owner))
}

/// The crate that a path begins with, without references and the like in front of it.
fn crate_of(path: &str) -> &str {
    let path = path.trim_start_matches(['<', '&', '*', '[', '(']);
    let path = ["mut ", "const ", "dyn "]
        .iter()
        .fold(path, |path, word| path.strip_prefix(word).unwrap_or(path));
    path.split("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authors_functions_are_told_from_those_of_the_runtime() {
        for name in [
            "core::panicking::panic_fmt",
            "std::panicking::begin_panic_handler::{{closure}}",
            "std::sys::backtrace::__rust_end_short_backtrace",
            "<alloc::vec::Vec<T,A> as core::ops::index::Index<I>>::index",
            "<alloc::vec::Vec<smileys::Score> as core::clone::Clone>::clone",
            "<&mut core::option::Option<u8> as core::fmt::Debug>::fmt",
            "<T as core::convert::Into<U>>::into",
            "<str as core::fmt::Display>::fmt",
            "<[u8] as core::slice::index::SliceIndex<str>>::index",
            "core::ops::function::FnOnce::call_once",
            "__rustc::rust_begin_unwind",
            "rust_begin_unwind",
            "abort",
            "dlmalloc::dlmalloc::Dlmalloc<A>::malloc",
        ] {
            assert!(is_runtime(name), "{name}");
        }
        for name in [
            "smileys::scores",
            "smileys::scores::{{closure}}",
            "<smileys::Smileys as smileys::exports::predictor::Guest>::predict",
            "<smileys::Score as core::fmt::Display>::fmt",
            "<&smileys::Score as core::fmt::Debug>::fmt",
            "<u8 as smileys::Weight>::weight",
            "<(u8, u8) as smileys::Weight>::weight",
            "stdlib::f",
            "core",
            "predict",
            "fastsentiment:predict/predictor@0.1.0#predict",
        ] {
            assert!(!is_runtime(name), "{name}");
        }
    }

    fn named(names: &[(&str, bool)]) -> Vec<String> {
        let frame = |(name, is_runtime): &(&str, bool)| Function {
            name: Some((*name).to_owned()),
            is_runtime: *is_runtime,
        };
        functions(names.iter().map(frame).collect())
    }

    #[test]
    fn the_first_functions_of_the_author_are_kept() {
        assert_eq!(
            named(&[("std", true), ("a", false), ("std", true), ("a", false)]),
            ["a"]
        );
        // Better than nothing.
        assert_eq!(named(&[("std", true)]), ["std"]);
        let many: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let many: Vec<(&str, bool)> = many.iter().map(|name| (&**name, false)).collect();
        let many = named(&many);
        assert_eq!((many.len(), &*many[0], &*many[8]), (9, "0", "12 more"));
    }
}
