#!/bin/sh
# Compiles what an image and an archive hold: the binary, the default guest, ONNX
# Runtime, and the licences of all of them. The Dockerfile and `make dist` call this.
#
#     compile.sh dependencies        what Cargo.lock names, before there are sources
#                                    (skeleton.py): for a layer that seldom changes
#     compile.sh all OUT             everything, into OUT
#     compile.sh collect FROM OUT    what lies compiled in the target folder FROM
#
# Paths of this machine are kept out of what is compiled, so that it is the same
# wherever it is compiled by the same compiler.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

# Apart from a developer's, whose flags are others.
target=${DIST_TARGET_DIR:-$PWD/target/dist}
guest_target=wasm32-wasip2

build() {
  host=$(rustc -vV | sed -n 's/^host: //p')
  cargo_home=${CARGO_HOME:-$HOME/.cargo}
  # The last one that fits counts.
  flags="\"--remap-path-prefix=$PWD=/fastsentiment\",
    \"--remap-path-prefix=$target=/target\",
    \"--remap-path-prefix=$cargo_home=/cargo\",
    \"--remap-path-prefix=$(rustc --print sysroot)=/rust\""
  mkdir -p "$target"
  # Added to what .cargo/config.toml says; RUSTFLAGS would replace it.
  cat >"$target/config.toml" <<CONFIG
[target.$host]
rustflags = [$flags]

[target.$guest_target]
rustflags = [$flags]
CONFIG
  unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
  CFLAGS="-ffile-prefix-map=$target=/target -ffile-prefix-map=$cargo_home=/cargo"
  CARGO_TARGET_DIR=$target
  # For the C of crates, which say nothing of it that would depend on the time.
  SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
  export CFLAGS CARGO_TARGET_DIR SOURCE_DATE_EPOCH
  cargo --config "$target/config.toml" build --locked \
    --profile guest --target "$guest_target" -p fastsentiment-guest
  cargo --config "$target/config.toml" build --locked --release -p fastsentiment
}

dependencies() {
  build
  # Cargo compares times, and the sources to come are older than what was compiled of
  # their placeholders. So nothing of the workspace's own crates may stay.
  cargo clean --workspace --release
  cargo clean --workspace --profile guest --target "$guest_target"
}

collect() {
  from=$1
  out=$2
  mkdir -p "$out/licences"
  cp "$from/release/fastsentiment" "$out/fastsentiment"
  # The build's identity is a digest of what is stripped, too, and that names paths.
  strip --strip-all --remove-section=.note.gnu.build-id "$out/fastsentiment"
  chmod 755 "$out/fastsentiment"
  cp "$from/$guest_target/guest/fastsentiment_guest.wasm" "$out/fastsentiment_guest.wasm"
  chmod 644 "$out/fastsentiment_guest.wasm"
  # The pinned one, whatever a developer uses.
  env -u ORT_DYLIB_PATH python3 host/tools/fetch-onnxruntime.py "$out"
  mv "$out"/onnxruntime-*.txt "$out/licences/"
  python3 "$here/licences.py" "$out/licences"
}

case "${1-} $#" in
  'dependencies 1') dependencies ;;
  'all 2')
    build
    collect "$target" "$2"
    ;;
  'collect 3') collect "$2" "$3" ;;
  *)
    sed -n 's/^#     compile.sh /usage: compile.sh /p' "$0" >&2
    exit 2
    ;;
esac
