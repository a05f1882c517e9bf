#!/bin/sh
# Starts a server, runs a command against it, and stops the server afterwards.
#
#     with-server.sh MODEL COMMAND [ARGUMENT...]
#
# The server listens on free ports. Its address, such as http://127.0.0.1:40123, is
# appended as the last argument and exported as URL; the address of the admin listener is
# exported as ADMIN_URL, and asks for no token. The exit code is that of the command.

set -eu
model=$1
shift

work=$(mktemp -d)
: >"$work/out"
server=
stop() {
  # It may have ended by itself; then its error message has already been shown.
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || :
    wait "$server" || :
  fi
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

target/release/fastsentiment serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --admin-token-file none --model "$model" >"$work/out" &
server=$!
# The server prints its addresses once it can answer, which takes seconds the first time.
url=
admin=
while [ -z "$url" ] || [ -z "$admin" ]; do
  kill -0 "$server" 2>/dev/null || { echo "with-server.sh: the server did not start" >&2; exit 1; }
  url=$(sed -n 's|^  predict *\(http://[^/]*\)/.*|\1|p' "$work/out")
  admin=$(sed -n 's|^  metrics *\(http://[^/]*\)/.*|\1|p' "$work/out")
  sleep 0.1
done

URL=$url
ADMIN_URL=$admin
export URL ADMIN_URL
"$@" "$url"
