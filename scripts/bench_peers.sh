#!/bin/sh
# Training steps of ActCache beside those of dictionary_learning, SAELens and plain PyTorch, in one run on one machine.
# usage: bench_peers.sh path/to/actcache [python] [shape...]
#   python: one with torch, sae-lens and dictionary-learning from PyPI
#   shape: names from the list below; all of them by default
#   STEPS, PEER_STEPS: steps to time at d 64 and 128 (40, 12); a quarter of them, at least 3, at d 768
# Each line has medians and, in brackets, the least and the most, in ms per step; the ratio is of medians, and of the least.
# SAELens is timed by a script outside this project, ../shared/peers/peer_local.py; without it dictionary_learning alone.
set -eu

actcache=$1
python=${2:-python3}
[ $# -gt 2 ] && shift 2 && wanted=" $* " || wanted=
steps=${STEPS:-40}
peer_steps=${PEER_STEPS:-12}
local_peers=../shared/peers/peer_local.py

field() { sed -n "s/.*\"$1\" *: *\([0-9.e+-]*\).*/\1/p" | head -1; }

shape() { # name d latents k arch peer-kind lens-kind start-l0
  case "$wanted" in '' | *" $1 "*) ;; *) return 0 ;; esac
  ours=$steps peers=$peer_steps
  if [ "$2" = 768 ]; then
    ours=$((steps / 4 > 3 ? steps / 4 : 3)) peers=$((peer_steps / 4 > 3 ? peer_steps / 4 : 3))
  fi
  # Ours before and after the peers, the faster of the two medians: the machine may have other work.
  for run in before after; do
    json=$("$actcache" bench train --d "$2" --latents "$3" --k "$4" --arch "$5" ${8:+--start-l0 "$8"} --steps "$ours" --json)
    line=$(for name in medianSecondsPerStep minSecondsPerStep maxSecondsPerStep l0; do echo "$json" | field $name; done |
      tr '\n' ' ')
    echo "$line" >>"$scratch/ours.$1"
    [ $run = after ] && break
    THREADS=2 "$python" scripts/peer_saes.py "$2" "$3" "$4" 4096 "$peers" "$6" 2>/dev/null >"$scratch/peers.$1" || true
    if [ -f "$local_peers" ] && [ -n "$7" ]; then
      THREADS=2 "$python" "$local_peers" "$2" "$3" "$4" 4096 "$peers" "lens-$7" 2>/dev/null >>"$scratch/peers.$1" || true
    fi
  done
  sort -g "$scratch/ours.$1" | head -1 | awk -v name="$1" -v batch=4096 -v peers="$scratch/peers.$1" '{
    median = $1 * 1e3; least = $2 * 1e3
    printf "%s: ours %.1f ms (%.1f to %.1f), %d tokens/s, L0 %.1f\n", name, median, least, $3 * 1e3, batch / $1, $4
    while ((getline line < peers) > 0) {
      split(line, part, /[(]/); who = part[1]; sub(/ d=.*/, "", who)
      split(part[2], ms, / /); theirs = ms[1]
      min = line; sub(/.*min /, "", min); min += 0
      max = ""; if (line ~ /max/) { max = line; sub(/.*max /, "", max); max = sprintf(" to %.1f", max + 0) }
      printf "  %s %.1f ms (%.1f%s): %.1f times, least by least %.1f times\n", who, theirs, min, max, theirs / median, min / least
    }
  }'
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
[ -f "$local_peers" ] || echo "bench: no $local_peers; without SAELens" >&2

shape topk-768 768 24576 32 topk topk topk ""
shape relu-768 768 24576 32 relu relu standard 50
shape topk-64 64 512 16 topk topk topk ""
shape relu-64 64 512 16 relu relu standard 20
shape batchtopk-768 768 24576 32 batchtopk batchtopk "" ""
shape jumprelu-768 768 24576 32 jumprelu jumprelu "" 50
shape gated-768 768 24576 32 gated gated "" 50
shape matryoshka-768 768 24576 32 matryoshka matryoshka "" ""
shape deep-128 128 256 16 deep deep "" 20
