//! Fuzzes the limits on what components declare.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sandbox::fuzz::limits(bytes));

#[cfg(not(fuzzing))]
fn main() {}
