#!/bin/sh
# Builds guest.wasm. Needs Python 3.10 or newer with venv. The first run installs the compiler
# into .tools, or where TOOLS says.
set -eu
cd "$(dirname "$0")"
# So that nobody takes an old one for the result.
rm -f guest.wasm

version=0.25.1
tools=${TOOLS:-.tools}/componentize-py-$version
if [ ! -x "$tools/bin/componentize-py" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check "componentize-py==$version"
fi
"$tools/bin/componentize-py" --wit-path wit --world described-guest componentize app --output guest.wasm
