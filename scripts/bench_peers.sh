#!/bin/sh
# Training steps of ActCache beside those of dictionary_learning and SAELens, in one run on the same machine.
# usage: bench_peers.sh path/to/actcache [python]
#   python: one with torch, sae-lens and dictionary-learning from PyPI
# The peers' own steps are timed by a script outside this project, ../shared/peers/peer_local.py; without it only ours.
set -eu

actcache=$1
python=${2:-python3}
peers=../shared/peers/peer_local.py

shape() { # d latents k steps peer-steps
  "$actcache" bench train --d "$1" --latents "$2" --k "$3" --steps "$4"
  if [ -f "$peers" ]; then
    "$python" "$peers" "$1" "$2" "$3" 4096 "$5" dl-topk lens-topk 2>/dev/null
  else
    echo "bench: no $peers; only our own figures" >&2
  fi
  "$actcache" bench train --d "$1" --latents "$2" --k "$3" --steps "$4"
}

shape 768 24576 32 8 3
shape 64 512 16 40 12
