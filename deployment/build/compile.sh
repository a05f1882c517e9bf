#!/bin/sh
# Builds the contents of the image and the archive: the binary, the default guest, ONNX
# Runtime, all licences, and a list of all parts (SBOM). The Dockerfile and `make dist` call
# this.
#
#     compile.sh dependencies        the dependencies in Cargo.lock, without the sources
#                                    (skeleton.py), for a layer that rarely changes
#     compile.sh all OUT             everything, into OUT
#     compile.sh collect FROM OUT    what is already compiled in the target directory FROM
#
# Paths of this machine are kept out of the compiled code, so that the same compiler
# produces the same output in any directory.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

# Separate from a developer's target directory, which is built with other flags.
target=${DIST_TARGET_DIR:-$PWD/target/dist}
guest_target=wasm32-wasip2

build() {
  host=$(rustc -vV | sed -n 's/^host: //p')
  cargo_home=${CARGO_HOME:-$HOME/.cargo}
  # If several prefixes match, the last one wins.
  flags="\"--remap-path-prefix=$PWD=/fastsentiment\",
    \"--remap-path-prefix=$target=/target\",
    \"--remap-path-prefix=$cargo_home=/cargo\",
    \"--remap-path-prefix=$(rustc --print sysroot)=/rust\""
  mkdir -p "$target"
  # Added to the flags in .cargo/config.toml, which RUSTFLAGS would replace.
  cat >"$target/config.toml" <<CONFIG
[target.$host]
rustflags = [$flags]

[target.$guest_target]
rustflags = [$flags]
CONFIG
  unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
  CFLAGS="-ffile-prefix-map=$target=/target -ffile-prefix-map=$cargo_home=/cargo"
  CARGO_TARGET_DIR=$target
  # For C code in crates: keeps the build time out of it.
  SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
  export CFLAGS CARGO_TARGET_DIR SOURCE_DATE_EPOCH
  cargo --config "$target/config.toml" build --locked \
    --profile guest --target "$guest_target" -p fastsentiment-guest
  cargo --config "$target/config.toml" build --locked --release -p fastsentiment
}

dependencies() {
  build
  # Cargo compares modification times, and the real sources are older than what was
  # compiled from their placeholders. So the workspace's own crates have to be removed.
  cargo clean --workspace --release
  cargo clean --workspace --profile guest --target "$guest_target"
}

collect() {
  from=$1
  out=$2
  mkdir -p "$out/licences"
  cp "$from/release/fastsentiment" "$out/fastsentiment"
  # The build id is a digest that includes stripped sections, which contain paths.
  strip --strip-all --remove-section=.note.gnu.build-id "$out/fastsentiment"
  chmod 755 "$out/fastsentiment"
  python3 guest/tools/name.py fastsentiment-guest \
    "$from/$guest_target/guest/fastsentiment_guest.wasm" "$out/fastsentiment_guest.wasm"
  chmod 644 "$out/fastsentiment_guest.wasm"
  # Use the pinned library even if a developer has set another one.
  env -u ORT_DYLIB_PATH python3 host/tools/fetch-onnxruntime.py "$out"
  mv "$out"/onnxruntime-*.txt "$out/licences/"
  python3 "$here/licences.py" "$out/licences"
  python3 "$here/sbom.py" built "$out"
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
