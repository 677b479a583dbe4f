#!/usr/bin/env bash
# TVM's runtime for aarch64, out of the wheels pyproject.toml pins, into a folder git does not see.
#   runtime/native/fetch_aarch64.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:-python3}
folder=third_party/aarch64
[ -e "$folder/libtvm_runtime.so" ] && [ -e "$folder/libtvm_ffi.so" ] && exit 0
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
pins=$(grep -oE '"apache-tvm(-ffi)?==[^"]+"' pyproject.toml | tr -d '"')
# shellcheck disable=SC2086  # one word per pin
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --platform manylinux_2_28_aarch64 --python-version 3.11 --dest "$wheels" $pins
mkdir -p "$folder"
"$python" - "$folder" "$wheels"/*.whl <<'PYTHON'
import pathlib, sys, zipfile
folder, *wheels = sys.argv[1:]
for wheel in wheels:
    with zipfile.ZipFile(wheel) as file:
        for name in ("tvm/lib/libtvm_runtime.so", "tvm_ffi/lib/libtvm_ffi.so"):
            if name in file.namelist():
                pathlib.Path(folder, pathlib.Path(name).name).write_bytes(file.read(name))
PYTHON
