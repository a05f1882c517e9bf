#!/bin/sh
# Builds guest.wasm. Needs Rust 1.87 or newer; cargo fetches wit-bindgen.
set -eu
cd "$(dirname "$0")"
# So that nobody takes an old one for the result.
rm -f guest.wasm

if command -v rustup >/dev/null; then rustup --quiet target add wasm32-wasip2; fi
target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --release --target wasm32-wasip2 --target-dir "$target"
cp "$target/wasm32-wasip2/release/guest.wasm" guest.wasm
