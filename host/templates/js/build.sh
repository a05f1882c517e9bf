#!/bin/sh
# Builds guest.wasm. Needs Node.js 18 or newer with npm. The first run installs the compiler
# into .tools, or where TOOLS says. With ENGINE=spidermonkey, there is `console`, and the
# component is eight times larger.
set -eu
cd "$(dirname "$0")"
# So that nobody takes an old one for the result.
rm -f guest.wasm

# Sets `bin` to where the commands of a package are.
install() {
  installed=${TOOLS:-.tools}/$2-$3
  bin=$installed/node_modules/.bin
  if [ ! -x "$bin/$2" ]; then
    npm install --silent --no-save --prefix "$installed" "$1@$3"
  fi
}

case ${ENGINE:-quickjs} in
  quickjs)
    install componentize-qjs componentize-qjs 0.4.5
    # With `--sync`, since the host does not call guests asynchronously.
    "$bin/componentize-qjs" --sync \
      --wit wit --world described-guest --js guest.js --output guest.wasm
    ;;
  spidermonkey)
    install @bytecodealliance/componentize-js componentize-js 0.23.0
    # A guest has no network, and so neither of these.
    "$bin/componentize-js" guest.js -d http fetch-event \
      --wit wit --world-name described-guest --out guest.wasm
    ;;
  *)
    echo 'ENGINE must be quickjs or spidermonkey' >&2
    exit 2
    ;;
esac
