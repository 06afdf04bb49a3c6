"""What PyTorch takes for losses at the output with their gradient by the final states, beside OutputLossesSpeedTests.

    python scripts/peer_output_losses.py [threads] [rows at a time...]

log_softmax, kl_div (cross_entropy for next tokens) and autograd through the unembedding, f32, 1,024 rows. Logits of all rows
at once do not fit into many machines, so that rows come in groups; the fastest size is printed for each loss.
"""
import sys
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
groups = [int(a) for a in sys.argv[2:]] or [64, 256, 1024]
torch.manual_seed(1)
N, K = 1024, 64


def gradient(states, unembedding, loss):
    leaf = states.detach().requires_grad_()
    loss(F.log_softmax(leaf @ unembedding.T, 1)).backward()
    return leaf.grad


def bucketed(log_q, tokens, p, r):
    listed = log_q.gather(1, tokens)
    rest = log_q.scatter(1, tokens, -torch.inf).logsumexp(1)
    return (p * (p.log() - listed)).sum() + (r * (r.log() - rest)).sum()


print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
for name, d, v in (("TinyStories-1M", 64, 50257), ("SmolLM2-135M", 576, 49152)):
    unembedding = torch.randn(v, d) * 2 / d**0.5
    teacher = torch.randn(N, d)
    student = teacher + 0.1 * torch.randn(N, d)
    next_tokens = torch.randint(0, v, (N,))
    top = torch.stack([torch.randperm(v)[:K] for _ in range(N)])
    p, r = torch.full((N, K), 0.5 / K), torch.full((N,), 0.5)

    def topk(i):
        return gradient(student[i], unembedding, lambda q: bucketed(q, top[i], p[i], r[i]))

    def states(i):
        with torch.no_grad():
            log_p = F.log_softmax(teacher[i] @ unembedding.T, 1)
        return gradient(student[i], unembedding, lambda q: F.kl_div(q, log_p, reduction="sum", log_target=True))

    def next_token(i):
        return gradient(student[i], unembedding, lambda q: F.nll_loss(q, next_tokens[i], reduction="sum"))

    for loss, body in (("topk:64 and tail", topk), ("teacher's states", states), ("next token", next_token)):
        best = {}
        for group in groups:
            times = []
            for _ in range(3):
                start = time.perf_counter()
                for first in range(0, N, group):
                    body(slice(first, first + group))
                times.append(time.perf_counter() - start)
            best[group] = min(times)
        group = min(best, key=best.get)
        print(f"{name}, {loss}: {N / best[group]:.0f} tokens/s ({group} rows at a time)", flush=True)
