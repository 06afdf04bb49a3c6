#!/bin/sh
# A finished local SAE is trained on with KL and MSE (arXiv 2503.17272): how good is it after how many tokens?
# usage: run.sh [path/to/actcache]; MODEL and TEXT as in recipes/stories.sh
set -eu
. "$(dirname "$0")/../stories.sh"

harvest blocks.2.hook_resid_pre

say "a local SAE of 1 M tokens"
"$actcache" train --config recipes/finetune/pretrained.yaml --cache $cache --out $out/finetune/pretrained --resume

say "from there with KL and MSE; local and e2e from scratch with as many tokens in all"
"$actcache" sweep --config recipes/finetune/sweep.yaml --cache $cache --model "$MODEL" --out $out/finetune/runs
took

say "evaluate"
evaluated=$out/finetune/eval.json
"$actcache" eval $out/finetune/pretrained $out/finetune/runs/objective-* --cache $cache --model "$MODEL" --json >$evaluated

# ceIncrease comes before the run's name; the tokens are the end of the name.
printf '\nCE increase, nats, against tokens after the first 1 M\n%9s  %8s  %8s  %8s\n' tokens local-kl local e2e
awk -F '"' '
  /"ceIncrease"/ { split($3, parts, /[ :,]+/); ce = parts[2] }
  /"run" :/ {
    tokens = $4; sub(/.*tokens-/, "", tokens)
    if ($4 ~ /pretrained$/) printf "%9d  %8s  %8.4f\n", 0, "", ce | "sort -n"
    else if ($4 ~ /local-kl/) tuned[tokens] = ce
    else if ($4 ~ /-e2e/) e2e[tokens - 1000000] = ce
    else local[tokens - 1000000] = ce
  }
  END { for (n in tuned) printf "%9d  %8.4f  %8.4f  %8.4f\n", n, tuned[n], local[n], e2e[n] | "sort -n" }' $evaluated
took
