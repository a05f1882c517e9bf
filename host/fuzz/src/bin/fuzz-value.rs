//! Fuzzes the decoder of cached answers.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cache::fuzz::value(bytes));

#[cfg(not(fuzzing))]
fn main() {}
