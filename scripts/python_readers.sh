#!/bin/sh
# Makes the Python environment in which tests have others read our files: numpy and zstandard for Python/actcache.py,
# and two readers of the zstd seekable format. Without it those tests are skipped, and say so.
# usage: python_readers.sh python path/to/environment
set -eu

modules="numpy zstandard pyzstd indexed_zstd"
folder=$2
[ -x "$folder/bin/python" ] && exit 0
echo "== python environment: $modules =="
rm -rf "$folder.new"
if "$1" -m venv "$folder.new" && "$folder.new/bin/pip" install --quiet --disable-pip-version-check $modules; then
  mv "$folder.new" "$folder"
else
  rm -rf "$folder.new"
  echo "setup: no environment with $modules; the tests of other readers will be skipped" >&2
fi
