#!/bin/sh
# Builds guest.wasm. Needs Node.js 18 or newer with npm. The first run installs the compiler
# into .tools, or where TOOLS says.
set -eu
cd "$(dirname "$0")"

version=0.4.5
tools=${TOOLS:-.tools}/componentize-qjs-$version
if [ ! -x "$tools/node_modules/.bin/componentize-qjs" ]; then
  npm install --silent --no-save --prefix "$tools" "componentize-qjs@$version"
fi
# With `--sync`, since the host does not call guests asynchronously.
"$tools/node_modules/.bin/componentize-qjs" --sync \
  --wit wit --world guest --js guest.js --output guest.wasm
