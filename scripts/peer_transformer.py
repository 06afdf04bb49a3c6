"""Times the forward pass of Hugging Face transformers (f32) and ours, in turn, on the same number of threads.

    make build
    python scripts/peer_transformer.py MODEL [context] [sequences] [threads] [rounds]

MODEL is a folder or a .gguf file. Prints the tokens/s of both to the mean loss (theirs with all logits,
`model(ids, labels=ids)`, in batches of 1 or 4, whichever is faster) and to the middle of the layers, by wall clock and
by processor time, and the ratios. Each round times theirs, then ours; the best of all rounds counts. Where others use
the machine, compare processor times with one thread: waiting threads of OpenMP burn processor time.
"""

import json
import os
import subprocess
import sys
import time

model_path = os.path.abspath(sys.argv[1])
context, sequences, threads, rounds = [int(v) for v in (sys.argv[2:] + ["256", "16", "2", "3"][len(sys.argv) - 2:])]
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


def rate(run):
    """[tokens per second of wall time, of processor time]"""
    best = [0.0, 0.0]
    for batch in (1, 4):
        for attempt in range(2):
            start = (time.perf_counter(), time.process_time())
            run(batch)
            used = (time.perf_counter() - start[0], time.process_time() - start[1])
            if attempt > 0:  # the first one warms up
                best = [max(b, ids.numel() / u) for b, u in zip(best, used)]
    return best


def ours():
    text = subprocess.run(
        [".build/release/actcache", "bench", "forward", "--model", model_path, "--context", str(context), "--sequences",
         str(sequences), "--threads", str(threads), "--repeats", "2", "--json"], check=True, stdout=subprocess.PIPE).stdout
    result = json.loads(text)
    return {"blas": result["blasCore"], **{
        name: [result[key]["wall"], result[key]["processor"]]
        for name, key in (("loss", "loss"), ("hook", "middleHook"), ("final", "finalState"))}}


best = {}
with torch.no_grad():
    for _ in range(rounds):
        found = ours()
        for name, value in (("theirs loss", rate(to_loss)), ("theirs hook", rate(to_hook)), ("ours loss", found["loss"]),
                            ("ours hook", found["hook"]), ("ours final", found["final"])):
            best[name] = [max(pair) for pair in zip(value, best.get(name, [0, 0]))]
for kind, clock in enumerate(("wall", "processor")):
    for key in ("loss", "hook"):
        a, b = best["theirs " + key][kind], best["ours " + key][kind]
        print(f"{clock} time to the {key}: transformers {a:,.0f} tokens/s, ours {b:,.0f} tokens/s, ratio {b / a:.2f}")
print(f"ours to the final state: {best['ours final'][0]:,.0f} tokens/s, OpenBLAS {found['blas']}, {threads} threads")
