"""Reads ActCache's activation caches with numpy and zstandard, and feeds PyTorch. Written from docs/format.md (§) alone.
Whatever is returned was checked: a compressed frame against the seek table, a shard of codec `none` against its receipt."""
import functools, hashlib, importlib.util, itertools, json
from pathlib import Path
from typing import Iterator
import numpy as np
import zstandard
torch_data = importlib.import_module("torch.utils.data") if importlib.util.find_spec("torch") else None
class CorruptCache(Exception):
    """A file is gone, or not what its digests or its receipt say."""

def _require(condition: bool, path: Path, problem: str) -> None:
    if not condition:
        raise CorruptCache(f"{path}: {problem}; restore the file or harvest its range again")

def _sealed(path: Path, name: str) -> dict:
    """BODY of a sealed JSON file (§2)."""
    _require(path.is_file(), path, "is missing")
    data = path.read_bytes()
    body = data[len(name) + 4 : -79]
    seal = b'{"%b":%b,\n"sha256":"%b"}\n' % (name.encode(), body, hashlib.sha256(body).hexdigest().encode())
    _require(data == seal, path, "differs from its SHA-256")
    members = json.loads(body)
    _require((members["format"], members["version"]) == (f"actcache.{name}", 2), path, "has an unknown format")
    return members

@functools.lru_cache(maxsize=64)
class Shard:
    """One `.zst` file (§1). Receipt, header, index and seek table are checked on opening, a frame when it is read."""
    def __init__(self, root: Path, base_key: str, stream: str, first: int, end: int, digest: bool) -> None:
        path = root / stream / f"{first:09}-{end:09}.zst"
        receipt = _sealed(root / "receipts" / stream / f"{path.stem}.json", "receipt")
        kind, file, size = receipt["stream"], receipt["file"], path.stat().st_size if path.is_file() else "no"
        _require(size == file["bytes"], path, f"has {size} bytes instead of {file['bytes']}")
        self.path, self.data = path, np.asarray(np.memmap(path, np.uint8, "r"))
        table_at = size - 17 - 12 * int.from_bytes(self.data[-9:-5], "little")
        _require(0 < table_at < size - 17, path, "does not end in a seek table")
        table = self.data[table_at:].tobytes()
        self.table = np.frombuffer(table[8:-9], "<u4").reshape(-1, 3)  # of each frame: bytes, content bytes, checksum
        self.ends = np.cumsum(self.table[:, 0], dtype=np.int64)
        header, index = self.data[: self.ends[0]].tobytes(), self.data[self.ends[-2] : self.ends[-1]].tobytes()
        good = hashlib.sha256(header + index[:-32] + table).digest() == index[-32:] and self.ends[-1] == table_at
        _require(good, path, "has a damaged header, index or seek table")
        self.meta, self.steps = json.loads(header[8:]), np.array(kind.get("steps", []), "<f4")
        expected = {"format": "actcache.shard", "version": 2, "baseKey": base_key, "first": first, "end": end}
        expected |= {"stream": stream} | {key: kind[key] for key in ("width", "dtype", "codec")}
        expected |= {"steps": hashlib.sha256(self.steps).hexdigest()} if len(self.steps) else {}
        _require(self.meta | expected == self.meta, path, f"is another shard than {expected}")
        self.mapped = self.meta["codec"] == "none"
        if digest or self.mapped:
            _require(hashlib.sha256(self.data).hexdigest() == file["sha256"], path, "differs from its SHA-256")

    def read(self, a: int, b: int) -> Iterator[np.ndarray]:
        """Sequences a..<b as far as they are here, in pieces: float32 [n, T, D], or int64 [n, T] of tokens."""
        first, end, size = (self.meta[key] for key in ("first", "end", "sequencesPerFrame"))
        a, b, zstd = max(a, first) - first, min(b, end) - first, zstandard.ZstdDecompressor()
        if self.mapped:
            return (yield self._values(self.data[self.ends[0] + 8 : self.ends[1]], a, b))
        for i in range(a // size, (b - 1) // size + 1):
            frame = self.data[self.ends[i] : self.ends[i + 1]]
            try:
                content = np.frombuffer(zstd.decompress(frame), np.uint8)
            except zstandard.ZstdError as error:
                raise CorruptCache(f"{self.path}: frame {i}: {error}") from error
            # If the frame has a checksum, its last four bytes, zstd has compared it with the content.
            good = zstandard.get_frame_parameters(frame).has_checksum and frame[-4:].view("<u4") == self.table[i + 1, 2]
            _require(good and len(content) == self.table[i + 1, 1], self.path, f"frame {i} is not the one expected")
            yield self._values(content, max(a - i * size, 0), b - i * size)

    def _values(self, content: np.ndarray, a: int, b: int) -> np.ndarray:
        """Sequences a..<b of a frame's content (§1.2), or with codec `none` of the whole shard's (§1.6)."""
        dtype, shape = self.meta["dtype"], (-1, self.meta["context"], self.meta["width"])
        w = 3 if len(self.steps) else int(dtype[-2:]) // 8  # bytes per value
        if dtype.startswith("u"):
            n = len(content) // (shape[1] * w + 4 * self.meta["hasLengths"])
            ids, lengths = np.split(content, [n * shape[1] * w])
            text = np.arange(shape[1]) < (lengths.view("<u4")[:, None] if self.meta["hasLengths"] else shape[1])
            return np.where(text, ids.view(f"<u{w}").reshape(n, -1).astype(np.int64), -1)[a:b]
        rows = (content.reshape(*shape, w) if self.mapped else np.moveaxis(content.reshape(w, *shape), 0, -1))[a:b]
        if dtype == "f32" and rows.flags.c_contiguous:  # uint8 [n, T, D, w]
            return rows.view("<f4")[..., 0]
        word, shift = np.uint16 if dtype == "f16" else np.uint32, 16 if dtype == "bf16" else 0
        bits = functools.reduce(np.bitwise_or, (rows[..., k].astype(word) << 8 * k + shift for k in range(w)))
        if len(self.steps):
            return ((bits >> 1).view("<i4") ^ -(bits & 1).view("<i4")).astype(np.float32) * self.steps
        return bits.view("<f2" if dtype == "f16" else "<f4").astype(np.float32, copy=False)

class Cache:
    """Streams by sequence number: after harvest `generation` (1, 2, …; 0: the last); `digest` checks shards whole, too.
    hooks: width, dtype, statistics, … by hook (§3). training: bool [n_sequences], False for those held out."""
    def __init__(self, path: str | Path, generation: int = 0, digest: bool = False) -> None:
        self.path, self.digest, file = Path(path), digest, Path(path) / "manifest.json"
        rebuild = lambda: importlib.import_module("actcache_rebuild").manifest(self.path, _sealed)
        manifest = _sealed(file, "manifest") if file.is_file() else rebuild()
        _require(len(manifest["generations"]) > 0, self.path, "has no complete harvest")
        self.n_sequences: int = manifest["generations"][generation - 1]["nSequences"]
        self.ranges = [(s["first"], s["end"]) for s in manifest["shards"] if s["end"] <= self.n_sequences]
        self.hooks, self.spec, self.base_key = manifest["hooks"], manifest["spec"], manifest["baseKey"]
        self.training = np.isin(np.arange(self.n_sequences), manifest["heldOut"], invert=True)

    def activations(self, hook: str, a: int, b: int) -> np.ndarray:
        """float32 [b - a, T, D] of sequences a..<b; not copied, but mapped, from one shard of f32 and codec `none`."""
        if hook not in self.hooks:
            raise LookupError(f"{self.path}: no hook {hook}; the cache holds {', '.join(sorted(self.hooks)) or 'none'}")
        return self._read(f"hooks/{hook}", min(self.n_sequences, self.hooks[hook]["nSequences"]), a, b)

    def tokens(self, a: int, b: int) -> np.ndarray:
        """Token ids of sequences a..<b, int64 [b - a, T]; -1 for padding."""
        return self._read("tokens", self.n_sequences, a, b)

    def _read(self, stream: str, n: int, a: int, b: int) -> np.ndarray:
        if not 0 <= a < b <= n:
            raise IndexError(f"{stream}: no sequences {a}..<{b}; there are {n}")
        places = [place for place in self.ranges if place[0] < b and a < place[1]]
        pieces = (p for i in places for p in Shard(self.path, self.base_key, stream, *i, self.digest).read(a, b))
        head = next(pieces)
        rows = itertools.chain(head, itertools.chain.from_iterable(pieces))
        return head if len(head) == b - a else np.fromiter(rows, np.dtype((head.dtype, head.shape[1:])), b - a)

class Sequences(torch_data.Dataset if torch_data else object):
    """Training sequences (with `heldout` the others): number, token ids [T], and activations [T, D] by hook."""
    def __init__(self, cache: Cache, *hooks: str, heldout: bool = False) -> None:
        self.cache, self.hooks, self.numbers = cache, hooks, np.flatnonzero(cache.training != heldout)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: int) -> dict:
        a = int(self.numbers[i])
        values = {hook: self.cache.activations(hook, a, a + 1)[0].copy() for hook in self.hooks}
        return {"sequence": a, "tokens": self.cache.tokens(a, a + 1)[0]} | values

class TokenBatches(torch_data.IterableDataset if torch_data else object):
    """Shuffled activations of training tokens, float32 [batch, D], without padding. Each worker takes its own frames."""
    def __init__(self, cache: Cache, hook: str, batch: int, window: int = 256, seed: int = 0, epochs: int = 1) -> None:
        self.cache, self.hook, self.size, self.window, self.seed, self.epochs = cache, hook, batch, window, seed, epochs

    def __iter__(self) -> Iterator[np.ndarray]:
        worker, step, pieces = torch_data and torch_data.get_worker_info(), self.cache.spec["sequencesPerFrame"], []
        frames = [(a, min(a + step, end)) for first, end in self.cache.ranges for a in range(first, end, step)]
        kept = np.concatenate([self.cache.tokens(a, b) >= 0 for a, b in self.cache.ranges]) & self.cache.training[:, None]
        for epoch in range(self.epochs):
            random = np.random.default_rng([self.seed, epoch])
            mine = random.permutation(frames)[worker.id if worker else 0 :: worker.num_workers if worker else 1].tolist()
            for w in range(0, len(mine), self.window):
                pieces += [self.cache.activations(self.hook, a, b)[kept[a:b]] for a, b in mine[w : w + self.window]]
                tokens = np.concatenate(pieces)
                *batches, rest = np.split(random.permutation(len(tokens)), range(self.size, len(tokens) + 1, self.size))
                yield from (tokens[batch] for batch in batches)
                pieces = [tokens[rest]]
