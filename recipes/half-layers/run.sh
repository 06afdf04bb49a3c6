#!/bin/sh
# The half-layers next to the hook are trained with the SAE: from one pretrained local SAE, with the tokens of e2e and local.
# usage: run.sh [path/to/actcache]; MODEL and TEXT as in recipes/stories.sh
set -eu
. "$(dirname "$0")/../stories.sh"

# The half-layer before the hook, the MLP of layer 1, begins at blocks.1.hook_resid_mid.
harvest blocks.1.hook_resid_mid blocks.2.hook_resid_pre

say "pretrain a local SAE"
"$actcache" train --config recipes/half-layers/pretrained.yaml --cache $cache --out $out/half-layers/pretrained --resume

say "from there: local, e2e (frozen), intrusive, non-intrusive"
"$actcache" sweep --config recipes/half-layers/sweep.yaml --cache $cache --model "$MODEL" --out $out/half-layers/runs
took

say "on held-out text, with and without the SAE"
"$actcache" eval $out/half-layers/pretrained $out/half-layers/runs/objective-* --cache $cache --model "$MODEL"
took
