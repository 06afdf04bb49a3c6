"""Reads the teacher targets of a cache from docs/format.md (§) alone, beside Python/actcache.py for the container.

usage: prove_targets.py CACHE POLICY…   For each position of each policy, as f64 to standard output: number of entries,
tail mass, entropy, token ids, probabilities. Of `hidden`: the values.
"""
import math, sys
import numpy as np
import zstandard
import actcache


def check(condition: bool, what: str) -> None:
    if not condition:
        sys.exit(f"not as docs/format.md says: {what}")


class Planes:
    """Numbers one after the other, each list as byte planes (§1.2)."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = np.frombuffer(content, np.uint8), 0

    def take(self, n: int, dtype: str) -> np.ndarray:
        w = np.dtype(dtype).itemsize
        planes = self.content[self.at : self.at + n * w].reshape(w, n)
        self.at += n * w
        return np.ascontiguousarray(planes.T).view(dtype)[:, 0]


def tokens(policy: str, V: int, n: int, content: bytes) -> list[tuple]:
    """Per position: tail mass, entropy, ids, probabilities (§7)."""
    kind, *numbers = policy.split(":")
    planes, listed = Planes(content), kind != "full"
    counts = planes.take(n, "<u4") if listed else np.full(n, V, "<u4")
    tails = planes.take(n, "<f4").astype(float) if listed else np.zeros(n)
    entropies, tops, steps = (planes.take(n, "<f4").astype(float) for _ in range(3))
    ids = planes.take(counts.sum(), "<u2" if V <= 65_536 else "<u4") if listed else np.tile(np.arange(V), n)
    codes = planes.take(counts.sum(), "<u2").astype(np.int64)
    check(planes.at == len(content), f"size of a frame of {policy}")
    result, ends = [], np.cumsum(counts, dtype=np.int64)
    for c, r, entropy, top, step, end in zip(counts.tolist(), tails, entropies, tops, steps, ends):
        mine, its = codes[end - c : end], ids[end - c : end]
        if listed and c == 0 or not listed and top == step == 0:
            check(r == (1 if listed else 0) and entropy == top == step == 0 and not mine.any(), "padding")
            result.append((1.0, 0.0, its[:0], mine[:0].astype(float)))
            continue
        mine = np.cumsum(mine) if listed else mine
        check(len(set(its.tolist())) == c and its.max() < V and mine.min() == 0 and mine.max() <= 65_535, "entries")
        if kind == "topk":
            check(c == int(numbers[0]), "c of topk")
        elif kind == "mass":
            check(r <= float(numbers[0]) * (1 + 1e-6) or c == min(V, int(numbers[1])), "r and c of mass")
        w = np.exp(-step * mine)
        check(abs(math.exp(top) * w.sum() - (1 - r)) < (1 - r) * math.expm1(0.51 * step + 1e-4) + 1e-5, "sum of e^log p")
        result.append((r, entropy, its, w * (1 - r) / w.sum()))
    return result


def measured(sequences: list[list[tuple]], first: int, V: int) -> dict:
    """policyError (§2) of what can be read; the rounding needs the model."""
    sample = [token for s, positions in enumerate(sequences) if (first + s) % 16 == 0 for token in positions if len(token[2])]
    losses = []
    for r, entropy, ids, p in sample:
        of_listed = -sum(x * math.log(x) for x in p if x > 0)
        losses.append(max(0, r * math.log(V - len(p)) - (entropy - of_listed) - r * math.log(r)) if r > 0 else 0)
    tails = [token[0] for token in sample]
    if not sample:
        return {}
    return {"nTokens": len(sample), "tailMassSum": sum(tails), "tailMassMax": max(tails),
            "uniformLossSum": sum(losses), "uniformLossMax": max(losses),
            "entropySum": sum(token[1] for token in sample)}


root, *policies = sys.argv[1:]
cache = actcache.Cache(root, digest=True)
manifest = actcache._sealed(cache.path / "manifest.json", "manifest")
spec, T, output = manifest["spec"], manifest["spec"]["identity"]["tokens"]["context"], []
check(sorted(manifest["logits"]) == sorted(policies), f"policies: {sorted(manifest['logits'])}")
for policy in policies:
    stream, kind = f"logits/{policy}", manifest["logits"][policy]
    if policy == "hidden":
        output += cache._read(stream, cache.n_sequences, 0, cache.n_sequences).ravel().tolist()
        check("statistics" in kind and kind["dtype"] != "targets", "hidden is a stream of activations")
        continue
    V, errors = kind["width"], []
    for first, end in cache.ranges:
        shard = actcache.Shard(cache.path, cache.base_key, stream, first, end, True)
        meta = shard.meta
        check((meta["stream"], meta["dtype"], meta["width"], meta["transforms"]) == (stream, "targets", V, ["byteplanes"]),
              "header of targets")
        G, sequences = meta["sequencesPerFrame"], []
        check(spec["sequencesPerFrame"] % G == 0, "G of targets divides that of the hooks")
        for i, (a, b) in enumerate(zip(shard.ends[:-2], shard.ends[1:-1])):
            g = min(G, end - first - i * G)
            content = zstandard.ZstdDecompressor().decompress(shard.data[a:b])
            check(len(content) == shard.table[i + 1, 1], "content size")
            positions = tokens(policy, V, g * T, content)
            sequences += [positions[s * T : (s + 1) * T] for s in range(g)]
        for r, entropy, ids, p in (token for sequence in sequences for token in sequence):
            output += [len(p), r, entropy, *ids.tolist(), *p.tolist()]
        receipt = actcache._sealed(cache.path / f"receipts/{stream}/{first:09}-{end:09}.json", "receipt")
        check("statistics" not in receipt, "targets have no statistics")
        stated, found = receipt["policyError"], measured(sequences, first, V)
        check(set(stated) == set(found) | ({"nRounded", "roundingSum", "roundingMax"} if found else set()), "policyError")
        for name, value in found.items():
            check(abs(stated[name] - value) <= 1e-4 * abs(value) + 1e-6, f"{name} of {policy}: {stated[name]}, {value}")
        check(not found or 0 <= stated["roundingSum"] <= stated["nRounded"] * stated["roundingMax"], "rounding")
        errors.append(stated)
    for name, value in kind["policyError"].items():
        parts = [error[name] for error in errors if name in error]
        expected = max(parts) if name.endswith("Max") else sum(parts)
        check(abs(value - expected) <= 1e-12 * abs(expected), f"{name} in the manifest")
sys.stdout.buffer.write(np.array(output, "<f8").tobytes())
