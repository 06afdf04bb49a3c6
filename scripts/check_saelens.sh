#!/bin/sh
# Trains one SAE of each kind that SAELens has on the embedded model and compares latents and reconstructions with SAELens'.
# usage: check_saelens.sh path/to/actcache [python]        (a Python with sae-lens 6.54; half a minute)
set -eu

actcache=$(realpath "$1")
python=${2:-python3}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
input=blocks.2.hook_resid_mid
output=blocks.2.hook_mlp_out
"$actcache" harvest --model data/model --corpus data/stories.jsonl.zst --hook $input --hook $output --tokens 200000 \
  --out "$work/cache" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

# name options…
sae() {
  name=$1
  shift
  "$actcache" train --cache "$work/cache" --hook $input --out "$work/$name" --latents 4x --tokens 200000 "$@" \
    >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  runs="$runs $name"
}
runs=
sae relu --arch relu
sae relu-p --arch relu --p 0.8
sae topk --arch topk --k 16
sae batchtopk --arch batchtopk --k 16
sae matryoshka --arch matryoshka --k 16 --groups 64,128,320
sae jumprelu --arch jumprelu
sae gated --arch gated
sae panneal --arch panneal
sae tied --arch tied
sae relu-unit --arch relu --normalization unit
sae relu-graph --arch relu --decoder-norm graph
sae transcoder --arch relu --target-hook $output
sae skip-transcoder --arch relu --target-hook $output --skip
sae jumprelu-transcoder --arch jumprelu --target-hook $output
sae jumprelu-skip --arch batchtopk --k 16 --target-hook $output --skip
script=$PWD/scripts/check_saelens.py
cd "$work"
"$python" "$script" $runs --actcache "$actcache"
