"""Compare token ids with those of Hugging Face `tokenizers`, and their speeds.

    python scripts/check_tokenizer.py TOKENIZER TEXT [--ids FILE --dtype u16|u32] [--split MARK] [--digest]

TOKENIZER is a directory or tokenizer.json (or vocab.json with merges.txt, or encoder.json with vocab.bpe, beside
each other). TEXT is encoded as one, or in parts between MARK. With --ids, a file of little-endian ids is compared
and the first difference shown. --digest prints the digest that Tests/TokenizerTests keeps. Exit status 1 on a
difference.
"""

import argparse
import array
import os
import pathlib
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from tokenizers import Tokenizer, decoders, models, pre_tokenizers


def load(path):
    path = pathlib.Path(path)
    folder = path if path.is_dir() else path.parent
    if path.is_file() and path.name not in ("vocab.json", "encoder.json", "merges.txt", "vocab.bpe"):
        return Tokenizer.from_file(str(path))
    if (folder / "tokenizer.json").exists():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    for vocab, merges in (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")):
        if (folder / vocab).exists() and (folder / merges).exists():
            tok = Tokenizer(models.BPE.from_file(str(folder / vocab), str(folder / merges)))
            tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tok.decoder = decoders.ByteLevel()
            tok.add_special_tokens(["<|endoftext|>"])
            return tok
    sys.exit(f"{path}: no tokenizer here")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer")
    parser.add_argument("text")
    parser.add_argument("--ids")
    parser.add_argument("--dtype", choices=["u16", "u32"], default="u32")
    parser.add_argument("--split")
    parser.add_argument("--digest", action="store_true")
    arguments = parser.parse_args()

    tok = load(arguments.tokenizer)
    raw = pathlib.Path(arguments.text).read_bytes()
    text = raw.decode()
    parts = text.split(arguments.split) if arguments.split else [text]
    start = time.process_time()
    lists = [tok.encode(part, add_special_tokens=False).ids for part in parts]
    seconds = time.process_time() - start
    ids = [i for part in lists for i in part]
    print(f"{len(ids)} ids; tokenizers encodes {len(raw) / 1e6 / seconds:.2f} MB/s on one thread (CPU time)")
    if arguments.digest:
        h, mask = 0, (1 << 64) - 1
        for part in lists:
            for i in part + [0xFFFFFFFF]:
                h = (h * 0x100000001B3 + i + 1) & mask
        print(f"digest {h:016x}")
    if arguments.ids:
        ours = array.array("H" if arguments.dtype == "u16" else "I", pathlib.Path(arguments.ids).read_bytes())
        if sys.byteorder == "big":
            ours.byteswap()
        ours = ours.tolist()
        if ours != ids:
            at = next((i for i, (a, b) in enumerate(zip(ours, ids)) if a != b), min(len(ours), len(ids)))
            print(f"differ at id {at}: ours {ours[at:at + 8]}, tokenizers {ids[at:at + 8]} "
                  f"({tok.decode(ids[max(0, at - 5):at + 5], skip_special_tokens=False)!r}); {len(ours)} against {len(ids)}")
            return 1
        print("equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
