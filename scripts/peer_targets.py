"""What PyTorch takes for the top-k targets of 4,096 tokens over a vocabulary of 50,257, beside LogitTargetsSpeedTests.

    python scripts/peer_targets.py [threads]
"""
import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
torch.manual_seed(1)
N, V = 4096, 50257


def targets(logits, k):
    log_p = torch.log_softmax(logits, 1)
    entropy = -(log_p.exp() * log_p).sum(1)
    top = log_p.topk(k, dim=1)
    return top, 1 - top.values.exp().sum(1), entropy


def plain(logits, k):
    return torch.log_softmax(logits, 1), logits.topk(k, dim=1)


def rate(name, body):
    times = []
    body()
    for _ in range(5):
        start = time.perf_counter()
        body()
        times.append(time.perf_counter() - start)
    times.sort()
    print(f"{name}: {N / times[2]:.0f} tokens/s ({times[0] * 1e3:.0f}...{times[-1] * 1e3:.0f} ms)")


tile = -1.5 * torch.empty(256, V).uniform_(0.0001, 1).log() + torch.empty(256, V).uniform_(-1, 1)
print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
for k in (64, 1024):
    rate(f"tiles of 256, log_softmax and topk {k}", lambda: [plain(tile, k) for _ in range(N // 256)])
    rate(f"tiles of 256, with tail and entropy, topk {k}", lambda: [targets(tile, k) for _ in range(N // 256)])
whole = tile.repeat(N // 256, 1)
rate("4,096 at once, log_softmax and topk 64", lambda: plain(whole, 64))
