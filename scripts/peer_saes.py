"""Seconds per training step of dictionary_learning's trainers on the CPU: tokens/s, the median of some steps.

usage: peer_saes.py D N K BATCH STEPS KIND...    KIND: topk batchtopk matryoshka relu jumprelu gated
"""
import inspect
import os
import statistics
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import torch
from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
from dictionary_learning.trainers.gdm import GatedSAETrainer
from dictionary_learning.trainers.jumprelu import JumpReluTrainer
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
from dictionary_learning.trainers.standard import StandardTrainer
from dictionary_learning.trainers.top_k import TopKTrainer

torch.set_num_threads(int(os.environ.get("THREADS", "2")))
d, n, k, batch, steps = map(int, sys.argv[1:6])
torch.manual_seed(0)
basis = torch.randn(4 * d, d) / d**0.5
pool = [torch.relu(torch.randn(batch, 4 * d) - 2) @ basis + 0.05 * torch.randn(batch, d) for _ in range(4)]
common = dict(
    steps=10_000, activation_dim=d, dict_size=n, layer=0, lm_name="x", device="cpu", warmup_steps=0, lr=1e-4, k=k,
    sparsity_warmup_steps=None, resample_steps=None, l1_penalty=0.1, group_fractions=[1 / 32, 1 / 16, 1 / 8, 1 / 4, 17 / 32],
    target_l0=50.0,
)
trainers = {
    "topk": TopKTrainer, "batchtopk": BatchTopKTrainer, "matryoshka": MatryoshkaBatchTopKTrainer,
    "relu": StandardTrainer, "jumprelu": JumpReluTrainer, "gated": GatedSAETrainer,
}
for kind in sys.argv[6:]:
    trainer = trainers[kind]
    known = inspect.signature(trainer.__init__).parameters
    sae = trainer(**{name: value for name, value in common.items() if name in known})
    seconds = []
    for step in range(steps + 2):
        start = time.perf_counter()
        sae.update(step, pool[step % 4])
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[2:])
    print(
        f"dictionary_learning {kind} d={d} n={n} k={k} batch={batch}: {batch / median:.0f} tokens/s "
        f"({median * 1e3:.1f} ms/step, min {min(seconds[2:]) * 1e3:.1f})", flush=True)
