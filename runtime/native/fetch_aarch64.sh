#!/usr/bin/env bash
# TVM's runtime for aarch64, of the versions installed here, into the folder aarch64 beside this file.
#   fetch_aarch64.sh [PYTHON]
set -euo pipefail
python=${1:-python3}
folder=$(dirname "$0")/aarch64
[ -e "$folder/libtvm_runtime.so" ] && [ -e "$folder/libtvm_ffi.so" ] && exit 0
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
for package in apache-tvm apache-tvm-ffi; do
  version=$("$python" -c "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))" "$package")
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --platform manylinux_2_28_aarch64 --python-version 3.11 --dest "$wheels" "$package==$version"
done
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
