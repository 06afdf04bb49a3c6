"""Recomputes from docs/format.md (§) alone what Python/actcache.py does not need in order to read a cache: XXH64 digests,
identity, token chain, statistics, and the order of training; and that Python/actcache_rebuild.py makes the manifest anew.

usage: prove_format.py CACHE SEED WINDOW BATCH NUMBER…   prints, for each batch number, sequence·T + position of its tokens;
then the sequences of the second epoch in order
"""
import glob, hashlib, os, struct, sys
import numpy as np
import zstandard
import actcache
from actcache_rebuild import GAMMA, MASK, canonical, held_out, key, mix, permutation
import actcache_rebuild

P1, P2, P3, P4, P5 = (
    11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261)


def xxh64(data: bytes, seed: int) -> int:
    """XXH64 as its specification has it (github.com/Cyan4973/xxHash, doc/xxhash_spec.md)."""
    rotate = lambda x, r: (x << r | x >> (64 - r)) & MASK
    lane = lambda acc, word: rotate((acc + word * P2) & MASK, 31) * P1 & MASK
    words = struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8])
    used = 0
    if len(data) >= 32:
        lanes = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK]
        used = len(data) // 32 * 4
        for i in range(0, used, 4):
            lanes = [lane(acc, word) for acc, word in zip(lanes, words[i : i + 4])]
        h = sum(rotate(acc, r) for acc, r in zip(lanes, (1, 7, 12, 18))) & MASK
        for acc in lanes:
            h = ((h ^ lane(0, acc)) * P1 + P4) & MASK
    else:
        h = (seed + P5) & MASK
    h = (h + len(data)) & MASK
    for word in words[used:]:
        h = (rotate(h ^ lane(0, word), 27) * P1 + P4) & MASK
    rest = data[len(words) * 8 :]
    if len(rest) >= 4:
        h = (rotate(h ^ struct.unpack("<I", rest[:4])[0] * P1 & MASK, 23) * P2 + P3) & MASK
        rest = rest[4:]
    for byte in rest:
        h = rotate(h ^ byte * P5 & MASK, 11) * P1 & MASK
    h = (h ^ h >> 33) * P2 & MASK
    h = (h ^ h >> 29) * P3 & MASK
    return h ^ h >> 32


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def contents(shard: actcache.Shard) -> list[bytes]:
    frames = [shard.data[a:b] for a, b in zip(shard.ends[:-2], shard.ends[1:-1])]
    return [zstandard.ZstdDecompressor().decompress(frame) for frame in frames]


def check(condition: bool, what: str) -> None:
    if not condition:
        sys.exit(f"not as docs/format.md says: {what}")


root, seed, window, batch, *numbers = sys.argv[1:]
seed, window, batch = int(seed), int(window), int(batch)
cache = actcache.Cache(root, digest=True)
manifest = actcache._sealed(cache.path / "manifest.json", "manifest")
spec, T = manifest["spec"], manifest["spec"]["identity"]["tokens"]["context"]
has_lengths = spec["identity"]["tokens"]["pack"] == "none"

# §2, §3: receipts, generations, and what the manifest says of them.
def sealed_files(folder: str, name: str) -> list:
    paths = sorted(glob.glob(f"{root}/{folder}/**/*.json", recursive=True))
    return [(os.path.relpath(path, root), actcache._sealed(cache.path / os.path.relpath(path, root), name)) for path in paths]

receipts = dict(sealed_files("receipts", "receipt"))
generations = sorted((g for _, g in sealed_files("generations", "generation")), key=lambda g: g["nSequences"])
check(manifest["generations"] == generations and manifest["generation"] == len(generations), "generations")
check(all(r["spec"] == spec for r in receipts.values()), "spec in receipts")
files = {f["path"]: f for s in manifest["shards"] for f in s["files"]}
check(files == {r["file"]["path"]: r["file"] for r in receipts.values()}, "files in the manifest")
check(all(f"receipts/{path[:-4]}.json" in receipts for path in files), "places of the receipts")

# §4: identity, held-out sequences, token chain.
base_key = sha256(canonical(spec["identity"]))
check(manifest["baseKey"] == base_key, "baseKey")
held = held_out(spec["heldOut"], [generation["nSequences"] for generation in generations])
check(held == manifest["heldOut"], f"heldOut: {held}")
rebuilt = actcache_rebuild.manifest(cache.path, actcache._sealed)
check(all(manifest[name] == rebuilt[name] for name in ("generations", "heldOut", "spec", "baseKey")), "rebuilt manifest")
check([(s["first"], s["end"]) for s in manifest["shards"]] == [(s["first"], s["end"]) for s in rebuilt["shards"]], "shards")
for name, hook in manifest["hooks"].items():
    same = ("width", "dtype", "codec", "nSequences", "steps")
    check(all(hook.get(member) == rebuilt["hooks"][name].get(member) for member in same), f"rebuilt {name}")
check(manifest["hooks"].keys() == rebuilt["hooks"].keys(), "rebuilt hooks")

chain, text, w = hashlib.sha256(base_key.encode()).digest(), {}, int(spec["tokenType"][1:]) // 8
for first, end in cache.ranges:
    receipt = receipts[f"receipts/tokens/{first:09}-{end:09}.json"]
    check(receipt["chainBefore"] == chain.hex(), "chainBefore")
    ids, lengths = b"", b""
    for content in contents(actcache.Shard(cache.path, base_key, "tokens", first, end, True)):
        n_ids = len(content) // (T * w + 4 * has_lengths) * T
        ids, lengths = ids + content[: n_ids * w], lengths + content[n_ids * w :]
    chain = hashlib.sha256(chain + np.frombuffer(ids, f"<u{w}").astype("<u4").tobytes() + lengths).digest()
    text[first] = cache.tokens(first, end) >= 0
    check(receipt["chainAfter"] == chain.hex(), "chainAfter")
    check(receipt["nTextTokens"] == text[first].sum(), "nTextTokens")
    check(all(g["chain"] == chain.hex() for g in generations if g["nSequences"] == end), "chain of a generation")
check(manifest["nTextTokens"] == sum(t.sum() for t in text.values()), "nTextTokens of the manifest")

# §1.1, §1.3, §1.4: headers, frame digests, checksums. §2: statistics.
for name, receipt in receipts.items():
    first, end, kind = receipt["first"], receipt["end"], receipt["stream"]
    shard = actcache.Shard(cache.path, base_key, kind["name"], first, end, True)
    identity = {"baseKey": base_key, "dtype": kind["dtype"], "stream": kind["name"]}
    if "steps" in kind:
        identity["steps"] = sha256(np.array(kind["steps"], "<f4").tobytes())
    check(shard.meta["streamKey"] == sha256(canonical(identity)), f"streamKey of {name}")
    ends, n = shard.ends.tolist(), -(-(end - first) // shard.meta["sequencesPerFrame"])
    start = int.from_bytes(hashlib.sha256(shard.data[: ends[0]]).digest()[:8], "little")
    index = shard.data[ends[-2] : ends[-1]].tobytes()
    magic, size, tag, count = struct.unpack("<II8sI", index[:20])
    check((magic, size, tag, count) == (0x184D2A51, 44 + 8 * n, b"ACINDEX1", n), f"index frame of {name}")
    if shard.mapped:
        check((ends[0] + 8) % 4096 == 0 and shard.table[1:, 1:].max() == 0 and len(ends) == 3, f"codec none of {name}")
        per_frame = shard.meta["sequencesPerFrame"] * T * kind["width"] * (4 if kind["dtype"] == "f32" else 2)
        values = shard.data[ends[0] + 8 : ends[1]].tobytes()
        frames = [values[i * per_frame : (i + 1) * per_frame] for i in range(n)]
    else:
        check(ends[0] % 4096 == 0, f"header frame of {name}")
        frames = [shard.data[ends[i] : ends[i + 1]].tobytes() for i in range(n)]
        sums = [xxh64(content, 0) & 0xFFFFFFFF for content in contents(shard)]
        check(shard.table[1:-1, 2].tolist() == sums, f"seek table of {name}")
        check(receipt["file"]["contentBytes"] == sum(map(len, contents(shard))), f"contentBytes of {name}")
    digests = struct.unpack(f"<{n}Q", index[20:-32])
    check(list(digests) == [xxh64(frame, (start + i) & MASK) for i, frame in enumerate(frames)], f"digests of {name}")
    if "statistics" in receipt:
        x = np.concatenate(list(shard.read(first, end)))[text[first]].astype(np.float64)
        statistics, norms = receipt["statistics"], np.sqrt((x * x).sum(1))
        error = 1e-12 if kind["dtype"] == "f32" else 2**-8  # the statistics are of the values before rounding
        near = lambda name, value, scale: np.all(np.abs(np.array(statistics[name]) - value) <= error * scale)
        check(near("sums", x.sum(0), np.abs(x).sum(0)), f"sums of {name}")
        check(near("squares", (x * x).sum(0), 2 * (x * x).sum(0)), f"squares of {name}")
        check(near("maxAbs", np.abs(x).max(initial=0), np.abs(x).max(initial=0)), f"maxAbs of {name}")
        check(near("normSum", norms.sum(), norms.sum()) and near("maxNorm", norms.max(initial=0), norms.max(initial=0)),
              f"norms of {name}")
        check(0 <= statistics["squaredError"] <= error**2 * (x * x).sum(), f"squaredError of {name}")
        check(statistics["nTokens"] == len(x) == sum(statistics["histogram"].values()), f"nTokens of {name}")

# §6: batches.
G, training = spec["sequencesPerFrame"], cache.training
frames = [(a, min(a + G, end)) for first, end in cache.ranges for a in range(first, end, G)]
is_text = np.concatenate(list(text.values()))


def epoch(number: int) -> list[int]:
    image, order = permutation(len(frames), key(seed, 2, number)), []
    for w in range(-(-len(frames) // window)):
        chosen = [frames[image(i)] for i in range(w * window, min((w + 1) * window, len(frames)))]
        tokens = [s * T + t for a, b in chosen for s in range(a, b) for t in range(T) if training[s] and is_text[s, t]]
        state = key(seed, 3, number, w)
        for i in range(len(tokens) - 1, 0, -1):
            state = (state + GAMMA) & MASK
            j = mix(state) * (i + 1) >> 64
            tokens[i], tokens[j] = tokens[j], tokens[i]
        order += tokens
    return order


per_epoch = int((is_text & training[:, None]).sum()) // batch
for number in map(int, numbers):
    order = epoch(number // per_epoch)
    print(*order[number % per_epoch * batch :][:batch])
numbers = np.flatnonzero(training).tolist()
image = permutation(len(numbers), key(seed, 4, 1))
print(*(numbers[image(i)] for i in range(len(numbers))))
