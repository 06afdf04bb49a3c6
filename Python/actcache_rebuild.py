"""What manifest.json of an ActCache cache says, but for statistics, made anew from receipts and generations (docs/format.md
§2 to §4 and §6): for caches without one, whose first harvest goes on or whose manifest was deleted."""
import hashlib, json, math
from pathlib import Path
from typing import Callable, Iterator

MASK, GAMMA = 2**64 - 1, 0x9E3779B97F4A7C15

def mix(z: int) -> int:
    z = ((z & MASK) ^ (z & MASK) >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31

def key(seed: int, *words: int) -> int:
    k = mix(seed + GAMMA)
    for word in words:
        k = mix(k ^ mix(word + GAMMA))
    return k

def permutation(n: int, k: int) -> Callable[[int], int]:
    """P of n things by a key."""
    half = max(1, -(-(n - 1).bit_length() // 2))
    def image(x: int) -> int:
        while True:
            left, right = x >> half, x % 2**half
            for j in range(1, 5):
                left, right = right, left ^ mix(right ^ mix(k + j * GAMMA)) % 2**half
            x = left << half | right
            if x < n:
                return x
    return image

def held_out(rule: dict, ends: list[int]) -> list[int]:
    """Numbers of the held-out sequences of texts that end at `ends`."""
    held, start = set(), 0
    for end in ends:
        n, (minimum, words) = end - start, (rule["minimum"], (1,)) if start == 0 else (0, (1, start))
        k = 0 if rule["fraction"] == 0 else min(n // 2, max(minimum, math.ceil(rule["fraction"] * n)))
        image = permutation(n, key(rule["seed"], *words))
        held |= {start + image(i) for i in range(k)}
        start = end
    return sorted(held)

def canonical(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

def manifest(cache: Path, sealed: Callable[[Path, str], dict]) -> dict:
    """`sealed` reads a sealed file. Without a receipt of tokens of sequence 0 there is nothing: no shards."""
    def read(folder: str, name: str) -> Iterator[dict]:
        return (sealed(path, name) for path in sorted((cache / folder).rglob("*.json")) if not path.name.startswith("."))
    streams, ranges = {}, []
    for receipt in read("receipts", "receipt"):
        streams.setdefault(receipt["stream"]["name"], []).append(receipt)
    for receipt in sorted(streams.pop("tokens", []), key=lambda receipt: receipt["first"]):
        if receipt["first"] == (ranges[-1]["end"] if ranges else 0):
            ranges.append(receipt)
    if not ranges:
        return {"generations": [], "shards": [], "hooks": {}, "heldOut": [], "spec": {}, "baseKey": ""}
    spec, whole = ranges[0]["spec"], {(r["end"], r["chainAfter"]) for r in ranges}
    base_key = hashlib.sha256(canonical(spec["identity"])).hexdigest()
    generations = sorted(read("generations", "generation"), key=lambda generation: generation["nSequences"])
    generations = [g for g in generations if g["baseKey"] == base_key and (g["nSequences"], g["chain"]) in whole]
    hooks = {}
    for name, receipts in streams.items():
        texts = {(r["first"], r["end"], r["chainBefore"], r["chainAfter"]) for r in receipts}
        there = [(r["first"], r["end"], r["chainBefore"], r["chainAfter"]) in texts for r in ranges]
        n = there.index(False) if False in there else len(there)
        if name.startswith("hooks/") and n > 0:
            hooks[name[6:]] = receipts[0]["stream"] | {"nSequences": ranges[n - 1]["end"]}
    ends = [g["nSequences"] for g in generations]
    shards = [{"first": r["first"], "end": r["end"]} for r in ranges]
    return {"generations": generations, "shards": shards, "hooks": hooks, "heldOut": held_out(spec["heldOut"], ends),
            "spec": spec, "baseKey": base_key}
