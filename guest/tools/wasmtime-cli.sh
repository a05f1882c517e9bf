#!/bin/sh
# Builds the stock `wasmtime` command with its ONNX backend, once for a machine, and
# prints where it is.
#
#     wasmtime-cli.sh DIR      DIR holds ONNX Runtime's library, unless
#                              ORT_DYLIB_PATH names another
#
# Everything lies in the user's cache directory, where a build that was broken off is
# gone on with. As it is published, the command can not be built with that backend: it
# takes a newer `ort` than the one it was written for. So its own source is taken, as
# cargo downloads it, and two dependencies are pinned; nothing else is changed.

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
# Outside of this tree, too, with the compiler that this tree asks for.
cp "$(dirname "$0")/../../rust-toolchain.toml" "$cache/"

# The command keeps a library of its own, so that it goes on working when this tree is
# cleaned; under the name that a linker asks for, and the one that a loader does.
case $(uname -s) in
  Darwin) name=libonnxruntime.dylib ;;
  *) name=libonnxruntime.so ;;
esac
cp "${ORT_DYLIB_PATH:-$directory/$name}" "$cache/lib/$name"
ln -sf "$name" "$cache/lib/libonnxruntime.so.1"

# Cargo downloads what a package depends on; this one depends on nothing but the
# command, and is never built.
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

# The command finds the library by its place, wherever it is called.
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
