//! Fuzzes the reader of `state.json`.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| revisions::fuzz::state(bytes));

#[cfg(not(fuzzing))]
fn main() {}
