"""Seconds per training step on the CPU of dictionary_learning's trainers, and of a deep SAE in plain PyTorch.

usage: peer_saes.py D N K BATCH STEPS KIND...    KIND: topk batchtopk matryoshka relu jumprelu gated deep
Of each kind one line: tokens/s, the median of the steps, the least and the most. THREADS: 2 by default.
"""
import inspect
import os
import statistics
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import torch
import torch.nn.functional as F
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


class Deep:
    """A hidden layer of width D on either side of N ReLU latents, as `--arch deep`: tanh and LayerNorm with a residual
    before them, ReLU after them; unit rows in the last layer, clipping, Adam."""

    def __init__(self):
        self.model = torch.nn.ModuleDict({
            "hidden": torch.nn.Linear(d, d), "norm": torch.nn.LayerNorm(d), "encoder": torch.nn.Linear(d, n),
            "decoder": torch.nn.Linear(n, d), "output": torch.nn.Linear(d, d),
        })
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)

    def update(self, step, x):
        m = self.model
        u = m["norm"](torch.tanh(m["hidden"](x))) + x
        c = F.relu(m["encoder"](u))
        recon = m["output"](F.relu(m["decoder"](c)))
        loss = (x - recon).pow(2).mean() + 0.01 * c.abs().sum(-1).mean() / d
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():  # columns of the last weight [out, in] are our rows
            m["output"].weight /= m["output"].weight.norm(dim=0, keepdim=True)


trainers = {
    "topk": TopKTrainer, "batchtopk": BatchTopKTrainer, "matryoshka": MatryoshkaBatchTopKTrainer,
    "relu": StandardTrainer, "jumprelu": JumpReluTrainer, "gated": GatedSAETrainer,
}
for kind in sys.argv[6:]:
    if kind == "deep":
        sae = Deep()
    else:
        known = inspect.signature(trainers[kind].__init__).parameters
        sae = trainers[kind](**{name: value for name, value in common.items() if name in known})
    seconds = []
    for step in range(steps + 2):
        start = time.perf_counter()
        sae.update(step, pool[step % 4])
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[2:])
    library = "torch" if kind == "deep" else "dictionary_learning"
    print(
        f"{library} {kind} d={d} n={n} k={k} batch={batch}: {batch / median:.0f} tokens/s "
        f"({median * 1e3:.1f} ms/step, min {min(seconds[2:]) * 1e3:.1f}, max {max(seconds[2:]) * 1e3:.1f})", flush=True)
