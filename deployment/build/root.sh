#!/bin/sh
# Creates the root file system of the image: the server, a model, the guest compiled for
# it, and from Debian only the libraries that these are linked to.
#
#     root.sh BUILT MODEL ROOT
#
# BUILT is the output of compile.sh, MODEL a model directory, ROOT a directory that is
# empty or does not exist. Run this on the Debian whose libraries the image should have.

set -eu
if [ $# != 3 ]; then
  sed -n 's/^#     root.sh /usage: root.sh /p' "$0" >&2
  exit 2
fi
built=$1
model=$2
root=$3
here=$(cd "$(dirname "$0")" && pwd)

fail() {
  echo "root.sh: $*" >&2
  exit 1
}

for file in config.json tokenizer.json model.onnx; do
  [ -f "$model/$file" ] || fail "$model/$file does not exist: is $model a model directory?"
done
mkdir -p "$root"
[ -z "$(ls -A "$root")" ] || fail "$root is not empty"

# ---- The libraries, with the package records that scanners look for ----

# A package's entry in dpkg's database, in the format of Distroless images.
record() {
  package=$1
  name=${package%%:*}
  mkdir -p "$root/var/lib/dpkg/status.d" "$root/usr/share/doc/$name"
  dpkg-query --status "$package" >"$root/var/lib/dpkg/status.d/$name"
  cp -L "/usr/share/doc/$name/copyright" "$root/usr/share/doc/$name/copyright"
}

# Debian lists a file by its path either with or without /usr in front of /lib.
owner() {
  real=$(realpath "$1")
  for path in "$1" "$real" "${real#/usr}"; do
    found=$(dpkg-query --search "$path" 2>/dev/null) || continue
    echo "$found" | head -n 1 | sed 's/: .*//'
    return
  done
  fail "$1 belongs to no Debian package"
}

# The paths where the dynamic loader looks for the libraries, and the loader itself.
libraries=$(ldd "$built/fastsentiment" "$built/libonnxruntime.so" \
  | sed -n 's|.*\s\(/[^ ]*\) (0x.*|\1|p' | sort -u)
[ -n "$libraries" ] || fail "ldd names no libraries of $built/fastsentiment"
# The loader's directory on x86-64. The Dockerfile copies it on every architecture.
mkdir -p "$root/lib64"
for library in $libraries; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
packages=$(for library in $libraries; do owner "$library"; done)
for package in $(echo "$packages" | sort -u); do
  record "$package"
done

# ---- Files that the C library and TLS to Redis need ----

mkdir -p "$root/etc/ssl/certs"
cp -L /etc/os-release "$root/etc/os-release"
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  record ca-certificates
fi
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
cat >"$root/etc/passwd" <<'PASSWD'
root:x:0:0:root:/:/none
fastsentiment:x:65532:65532:FastSentiment:/:/none
PASSWD
cat >"$root/etc/group" <<'GROUP'
root:x:0:
fastsentiment:x:65532:
GROUP

# ---- The server ----

app=$root/app
mkdir -p "$app/model/default"
cp "$built/fastsentiment" "$built/fastsentiment_guest.wasm" "$built/libonnxruntime.so" "$app/"
cp -R "$built/licences" "$app/licences"
cp "$here/../../LICENSE" "$app/LICENSE"
# Dot files and directories are not part of a model.
for file in "$model"/*; do
  [ ! -f "$file" ] || cp -L "$file" "$app/model/default/"
done

python3 "$here/sbom.py" image "$built" "$app/model/default" "$root"

# Loads everything that `serve` would load, predicts once, and keeps the compiled guest,
# which is the same every time.
mkdir -m 700 "$app/artifacts"
env -i SOURCE_DATE_EPOCH=0 "$app/fastsentiment" check --artifacts "$app/artifacts"
[ -n "$(ls "$app/artifacts")" ] || fail 'the compiled guest was not kept'

# Owned by root and readable by everyone, so that the server cannot modify itself.
chmod -R u=rwX,go=rX "$root"
