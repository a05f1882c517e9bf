#!/bin/sh
# Runs a command against a server of its own, and stops the server afterwards.
#
#     with-server.sh MODEL COMMAND [ARGUMENT...]
#
# The server listens on a free port; its address is put behind the last argument,
# as in http://127.0.0.1:40123, and is in the command's environment as URL, with that of
# the admin listener as ADMIN_URL. Exits as the command does.

set -eu
model=$1
shift

work=$(mktemp -d)
: >"$work/out"
server=
stop() {
  # It may have ended by itself; what it said then has been shown.
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || :
    wait "$server" || :
  fi
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

target/release/fastsentiment serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --model "$model" >"$work/out" &
server=$!
# It says where it listens once it can answer, which takes seconds the first time.
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
