//! Fuzzes the readers of bulk requests.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| http::fuzz::lines(bytes));

#[cfg(not(fuzzing))]
fn main() {}
