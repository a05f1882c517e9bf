//! Fuzzes the reader of request bodies.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| http::fuzz::request(bytes));

#[cfg(not(fuzzing))]
fn main() {}
