#!/bin/sh
# Builds the stock `wasmtime` command with its ONNX backend, once per machine, and prints
# its path.
#
#     wasmtime-cli.sh DIR      DIR has ONNX Runtime's library, unless ORT_DYLIB_PATH
#                              names another one
#
# Everything is kept in the user's cache directory, where an interrupted build resumes. As
# published, the command does not build with that backend: cargo selects a newer `ort` than
# the one it was written for. So this script takes its source as cargo downloads it, and
# pins two dependencies; nothing else is changed.

set -eu
version=48.0.8
ort=2.0.0-rc.10
directory=$1

cache=${XDG_CACHE_HOME:-$HOME/.cache}/fastsentiment-wasmtime-cli/$version
binary=$cache/bin/wasmtime
if [ -x "$binary" ]; then
  echo "$binary"
  exit
fi
cargo=${CARGO:-cargo}
mkdir -p "$cache/lib" "$cache/bin"
# Use this repository's compiler version outside the repository too.
cp "$(dirname "$0")/../../rust-toolchain.toml" "$cache/"

# A copy of the library, so that the command keeps working after `make clean`. It needs one
# name for the linker and one for the loader.
case $(uname -s) in
  Darwin) name=libonnxruntime.dylib ;;
  *) name=libonnxruntime.so ;;
esac
cp "${ORT_DYLIB_PATH:-$directory/$name}" "$cache/lib/$name"
ln -sf "$name" "$cache/lib/libonnxruntime.so.1"

# Cargo downloads the dependencies of a package. This package depends on the command alone,
# and is never built.
source=$cache/source
if [ ! -e "$source/.complete" ]; then
  rm -rf "$source"
  mkdir -p "$cache/download"
  : >"$cache/download/lib.rs"
  cat >"$cache/download/Cargo.toml" <<MANIFEST
[package]
name = "download"
version = "0.0.0"
edition = "2024"

[lib]
path = "lib.rs"

[dependencies]
wasmtime-cli = { version = "=$version", default-features = false }
MANIFEST
  manifest=$(
    "$cargo" metadata --quiet --format-version 1 --manifest-path "$cache/download/Cargo.toml" \
      | grep -o '"manifest_path":"[^"]*/wasmtime-cli-'"$version"'/Cargo.toml"' | cut -d '"' -f 4
  )
  cp -R "${manifest%/*}" "$source"
  cat >>"$source/Cargo.toml" <<MANIFEST

[dependencies.ort]
version = "=$ort"
default-features = false

[dependencies.ort-sys]
version = "=$ort"
default-features = false
MANIFEST
  touch "$source/.complete"
fi

# The command finds the library by its absolute path, wherever it is run.
cd "$source"
ORT_LIB_LOCATION=$cache/lib ORT_PREFER_DYNAMIC_LINK=1 \
  RUSTFLAGS="-Clink-arg=-Wl,-rpath,$cache/lib" CARGO_TARGET_DIR=$cache/target \
  "$cargo" build --release --bin wasmtime --no-default-features \
  --features run,compile,cranelift,wasi-nn,component-model,parallel-compilation \
  --features wasmtime-wasi-nn/onnx >&2
cp "$cache/target/release/wasmtime" "$cache/bin/.wasmtime"
mv "$cache/bin/.wasmtime" "$binary"
rm -rf "$cache/target"
echo "$binary"
