#!/bin/sh
# End-to-end training steps of ActCache beside e2e_sae's own, in one run on one machine: TinyStories-1M's shape, hook
# blocks.4.hook_resid_pre, 3,200 relu latents, batches of 8 × 512 tokens, f32.
# usage: bench_e2e.sh path/to/actcache [python]
#   python: one with torch, transformer-lens and e2e-sae
#   STEPS, PEER_STEPS: steps to time (8, 2)
# Weights of that shape, a text and e2e_sae's script lie outside this project, in ../shared.
set -eu

actcache=$1
python=${2:-python3}
steps=${STEPS:-8}
shared=../shared
model=$shared/models/tinystories-1m-shape
for needed in "$model" "$shared/peers/peer_e2e.py"; do
  [ -e "$needed" ] || { echo "bench_e2e: no $needed; this comparison needs it" >&2; exit 69; }
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
hook=blocks.4.hook_resid_pre
"$actcache" harvest --model "$model" --tokenizer "$shared/tokenizers/vectors/ggml-vocab-gpt-2.gguf" \
  --corpus "$shared/corpora/tinystories-train-2MiB.txt" --context 512 --tokens 81920 --logits hidden,topk:64 \
  --hook $hook --hook blocks.5.hook_resid_pre --hook blocks.6.hook_resid_pre --hook blocks.7.hook_resid_pre \
  --out "$scratch/cache" >/dev/null 2>&1

field() { sed -n "s/.*\"$1\" *: *\([0-9.e+-]*\).*/\1/p" | head -1; }

ours() { # name, start-l0 or nothing, options of bench train
  name=$1 l0=$2
  shift 2
  json=$("$actcache" bench train --cache "$scratch/cache" --hook $hook --arch relu --l1 3 --latents 3200 --batch 4096 \
    --steps "$steps" ${l0:+--start-l0 "$l0"} --json "$@")
  seconds=$(echo "$json" | field medianSecondsPerStep)
  echo "$json" | field l0 | awk -v name="$name" -v s="$seconds" \
    '{ printf "ours %s: %.1f ms/step, %d tokens/s, L0 %.0f\n", name, s * 1e3, 4096 / s, $1 }'
}

all() { # start-l0
  ours "local" "$1"
  ours "e2e, teacher topk:64" "$1" --objective e2e --teacher topk:64 --model "$model"
  ours "e2e, teacher hidden" "$1" --objective e2e --teacher hidden --model "$model"
  ours "e2e+ds, teacher topk:64" "$1" --objective e2e+ds --teacher topk:64 --model "$model"
}

echo "with as many latents active as a trained SAE has:"
all 50
echo "e2e_sae, whose time does not depend on that:"
"$python" "$shared/peers/peer_e2e.py" 8 512 "${PEER_STEPS:-2}" 2>/dev/null
echo "with random weights, half of the latents active:"
all ""
