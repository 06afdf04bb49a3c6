# Read by the recipes' run.sh (whose first argument is the program): where model and text are, and one cache of them.
#   MODEL   a Llama with five layers, as stories260K: folder of config.json, model.safetensors, tokenizer.json
#   TEXT    stories, parted by <|endoftext|>
# Everything is written below recipes/out, and a command given again goes on where it was interrupted.

cd "$(dirname "$0")/../.."
actcache=${1:-.build/release/actcache}
MODEL=${MODEL:-../shared/models/stories260K}
TEXT=${TEXT:-../shared/corpora/tinystories-train-2MiB.txt}
out=recipes/out
cache=$out/cache

say() { printf '\n== %s ==\n' "$*"; }
give() { echo "$2: not there; give it: $1=… make $(basename "$(dirname "$0")")" >&2; exit 66; }

[ -x "$actcache" ] || { echo "$actcache: not there; make build" >&2; exit 66; }
[ -e "$MODEL" ] || give MODEL "$MODEL"
[ -e "$TEXT" ] || give TEXT "$TEXT"

# harvest HOOK…: the streams that a recipe needs; what is in the cache already stays.
harvest() {
  say "harvest $*: the model runs over the text once"
  "$actcache" harvest --model "$MODEL" --corpus "$TEXT" --out $cache --context 256 --held-out 0.1 --logits hidden \
    --hook "$@"
}

# Wall time since the start, and processor time of the commands.
start=$(date +%s)
took() {
  times >$out/times
  printf '\n%s s; processor time, user and system: %s\n' $(($(date +%s) - start)) "$(tail -n 1 $out/times)"
}
