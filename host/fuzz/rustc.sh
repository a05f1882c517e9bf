#!/bin/sh
# Compiles this workspace's crates for libFuzzer. Cargo calls it with the compiler and its
# arguments (RUSTC_WORKSPACE_WRAPPER), and only for this workspace's crates: all others are
# those of the ordinary build. The flags are those of cargo-fuzz, and need no nightly
# compiler. Overflows and debug assertions are failures.

set -eu
case " $* " in
# They run while others are compiled, without libFuzzer.
*' --crate-name build_script_'* | *' --crate-type proc-macro '*) exec "$@" ;;
esac
exec "$@" --cfg fuzzing \
  -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares \
  -Cdebug-assertions=on -Coverflow-checks=on
