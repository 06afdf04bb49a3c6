"""Times the forward pass of Hugging Face transformers (f32) and ours, one after the other on the same threads.

    swift build -c release --build-tests
    python scripts/peer_transformer.py MODEL [context] [sequences] [threads]

MODEL is a folder or a .gguf file. Prints tokens/s of both, to the loss (all logits; ours in tiles, theirs as
`model(ids, labels=ids)` in its fastest of three batch sizes) and to the middle of the layers, and the
ratios. The runs alternate (theirs, ours, three times) and medians are compared, because the machine is shared.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time

model_path = os.path.abspath(sys.argv[1])
context, sequences, threads = [int(v) for v in (sys.argv[2:] + ["256", "16", "2"][len(sys.argv) - 2:])]
os.environ["OMP_NUM_THREADS"] = str(threads)

import torch  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

torch.set_num_threads(threads)
if model_path.endswith(".gguf"):
    model = AutoModelForCausalLM.from_pretrained(
        os.path.dirname(model_path), gguf_file=os.path.basename(model_path), dtype=torch.float32)
else:
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
model.eval()
body = next(module for name, module in model.named_children() if name in ("model", "transformer", "gpt_neox"))
layers = body.h if hasattr(body, "h") else body.layers
ids = torch.randint(0, model.config.vocab_size, (sequences, context))


class Reached(Exception):
    pass


def stop(*_):
    raise Reached


def to_loss(batch):
    for part in ids.split(batch):
        model(part, labels=part, use_cache=False)


def to_hook(batch):
    handle = layers[len(layers) // 2].register_forward_pre_hook(stop)
    try:
        for part in ids.split(batch):
            try:
                model(part, use_cache=False)
            except Reached:
                pass
    finally:
        handle.remove()


def rate(run, batch, repeats=3):
    run(batch)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(batch)
        times.append(time.perf_counter() - start)
    return ids.numel() / statistics.median(times)


def ours():
    environment = dict(
        os.environ, ACTCACHE_SPEED_MODEL=model_path, ACTCACHE_SPEED_CONTEXT=str(context),
        ACTCACHE_SPEED_SEQUENCES=str(sequences), ACTCACHE_SPEED_THREADS=str(threads))
    if "avx512f" in open("/proc/cpuinfo").read():
        environment.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
    text = subprocess.run(
        ["swift", "test", "-c", "release", "--skip-build", "--filter", "SpeedTests"], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    found = re.search(r"speed: (\{.*\})", text)
    if not found:
        sys.exit(text)
    return json.loads(found.group(1))


with torch.no_grad():
    best = {run: max((1, 4, sequences), key=lambda batch: rate(run, batch, 1)) for run in (to_loss, to_hook)}
    theirs, mine = {"loss": [], "hook": []}, {"loss": [], "hook": [], "final": []}
    for _ in range(3):
        theirs["loss"].append(rate(to_loss, best[to_loss]))
        theirs["hook"].append(rate(to_hook, best[to_hook]))
        found = ours()
        for key in mine:
            mine[key].append(found[key])
for key in ("loss", "hook"):
    a, b = statistics.median(theirs[key]), statistics.median(mine[key])
    print(f"to the {key}: transformers {a:,.0f} tokens/s, ours {b:,.0f} tokens/s, ratio {b / a:.2f}")
print(f"ours to the final state: {statistics.median(mine['final']):,.0f} tokens/s, OpenBLAS {found['blas']}")
