#!/bin/sh
# Local, end-to-end and end-to-end SAEs with downstream errors (Braun et al. 2024, arXiv 2405.12241) over their frontiers.
# usage: run.sh [path/to/actcache]; MODEL and TEXT as in recipes/stories.sh
set -eu
. "$(dirname "$0")/../stories.sh"

harvest blocks.2.hook_resid_pre blocks.3.hook_resid_pre blocks.4.hook_resid_pre

say "sweep: every SAE of recipes/frontier/sweep.yaml"
"$actcache" sweep --config recipes/frontier/sweep.yaml --cache $cache --model "$MODEL" --out $out/frontier
took

for arch in relu topk; do
  say "$arch, at equal L0, CE increase and alive latents"
  # A / B in the order of the groups: local first.
  "$actcache" compare $out/frontier/objective-local_arch-$arch* $out/frontier/objective-e2e_arch-$arch* \
    $out/frontier/objective-e2e+ds_arch-$arch* --group-by objective --cache $cache --model "$MODEL"
done
took
