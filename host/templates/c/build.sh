#!/bin/sh
# Builds guest.wasm. Needs clang and lld with wasi-libc (Debian: clang, lld, wasi-libc and
# libclang-rt-14-dev-wasm32), and Rust, for the linker that makes components.
set -eu
cd "$(dirname "$0")"
# So that nobody takes an old one for the result.
rm -f guest.wasm

for tool in clang wasm-ld rustc; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: see README.md" >&2; exit 1; }
done
linker=$(find "$(rustc --print sysroot)/lib/rustlib" -name wasm-component-ld)
[ -n "$linker" ] || { echo "rustc has no wasm-component-ld: see README.md" >&2; exit 1; }
# A reactor has functions to call, and no `main`.
clang --target=wasm32-wasi -mexec-model=reactor -O2 -Wall -Wextra -fuse-ld="$linker" \
  -o guest.wasm guest.c bindings/guest.c bindings/guest_component_type.o
