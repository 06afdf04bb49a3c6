#!/bin/sh
# The main job on the embedded model and stories: harvest, train two SAEs, evaluate, show three latents.
# usage: demo.sh path/to/actcache
set -eu

actcache=$1
hook=blocks.2.hook_resid_post
out=demo

say() { printf '\n== %s ==\n' "$*"; }

say "harvest: run data/model over data/stories.jsonl.zst once, keep $hook"
"$actcache" harvest --model data/model --corpus data/stories.jsonl.zst --hook $hook --out $out/cache

say "train a TopK SAE from the cache; the model is not opened"
"$actcache" train --cache $out/cache --hook $hook --out $out/topk --arch topk --k 16 --latents 8x --tokens 8000000 --dead-tokens 500000 --resume

say "train a ReLU SAE from the same cache"
"$actcache" train --cache $out/cache --hook $hook --out $out/relu --arch relu --l1 2 --latents 8x --tokens 8000000 --resume

say "evaluate both on held-out stories, spliced into the model"
"$actcache" eval $out/topk $out/relu --cache $out/cache --model data/model

say "three latents of the TopK SAE, and the held-out texts that activate them most"
"$actcache" eval $out/topk --cache $out/cache --model data/model --contexts 3 --sequences 1 >$out/latents.txt
sed '1,/held-out sequences/d' $out/latents.txt

say "where everything lies"
printf '%s\n' \
  "$out/cache            activations, tokens, receipts, manifest ($actcache info $out/cache)" \
  "$out/topk, $out/relu   config.yaml, metrics.jsonl" \
  "$out/*/sae            the SAEs, in SAELens' layout (SAE.load_from_disk)"
