"""Train the demo model of data/model on stories of the project's own generator.

Writes config.json, model.safetensors (bfloat16, Hugging Face GPT-Neo layout), tokenizer.json and training.json.
`data/README.md` has the commands. Made with torch 2.15.0, transformers 5.23.0, tokenizers 0.23.3, safetensors 0.8.0.
"""

import argparse
import json
import math
import os
import pathlib
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPTNeoConfig, GPTNeoForCausalLM

END = "<|endoftext|>"


def read_stories(path):
    return pathlib.Path(path).read_text(encoding="utf-8").split(END)[:-1]


def train_tokenizer(stories, vocab_size):
    """Byte-level BPE as GPT-2's, END being token 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False)
    tokenizer.train_from_iterator(stories, trainer)
    return tokenizer


def encode(tokenizer, stories):
    """Every story's token ids, each list beginning with END."""
    end = tokenizer.token_to_id(END)
    ids = []
    for start in range(0, len(stories), 1000):
        ids += [[end] + e.ids for e in tokenizer.encode_batch(stories[start:start + 1000])]
    return ids


def pack(ids, context):
    """[windows, context]; documents follow one another without padding."""
    flat = torch.tensor([t for document in ids for t in document], dtype=torch.int16)
    return flat[:len(flat) // context * context].view(-1, context)


def learning_rate(progress, peak):
    warmup = 0.02
    if progress < warmup:
        return peak * progress / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


@torch.no_grad()
def window_loss(model, windows):
    """Mean next-token cross-entropy in nats over windows, each seen by itself."""
    total = sum(model(w, labels=w).loss.item() * len(w) for w in windows.long().split(16))
    return total / len(windows)


@torch.no_grad()
def story_losses(model, ids, context, end):
    """Nats for each whole story and its END given the END before it; only stories that fit the context."""
    losses = {}
    for i, document in enumerate(ids):
        if len(document) > context:
            continue
        x = torch.tensor([document])
        targets = torch.tensor(document[1:] + [end])
        losses[i] = torch.nn.functional.cross_entropy(model(x).logits[0], targets, reduction="sum").item()
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", required=True, help="stories, each followed by " + END)
    parser.add_argument("--valid", required=True)
    parser.add_argument("--valid-nats", required=True, help="the generator's --nats for the same stories")
    parser.add_argument("--out", default="data/model")
    parser.add_argument("--vocab", type=int, default=2048)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8, help="windows per step")
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--minutes", type=float, default=1e9, help="the schedule ends here if steps are not done")
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(0)
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)

    stories = read_stories(args.train)
    tokenizer = train_tokenizer(stories[:10000], args.vocab)
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    end = tokenizer.token_to_id(END)
    train = pack(encode(tokenizer, stories), args.context)
    valid_ids = encode(tokenizer, read_stories(args.valid))
    valid = pack(valid_ids, args.context)
    print(f"vocabulary {tokenizer.get_vocab_size()}, {train.numel()} training tokens", flush=True)

    config = GPTNeoConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=128, num_layers=4, num_heads=4, intermediate_size=512,
        attention_types=[[["global", "local"], 2]], window_size=64, max_position_embeddings=args.context,
        resid_dropout=0.0, embed_dropout=0.0, attention_dropout=0.0, bos_token_id=end, eos_token_id=end)
    model = GPTNeoForCausalLM(config)
    # Muon on the layers' matrices, AdamW on embeddings, norms and biases: fewer tokens to the same loss.
    inner = [p for p in model.transformer.h.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if all(p is not q for q in inner)]
    optimizers = [
        torch.optim.Muon(inner, lr=args.lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    order = torch.randperm(len(train))
    started = time.monotonic()
    best, best_state, step, progress = float("inf"), None, 0, 0.0
    while progress < 1:
        progress = max(step / args.steps, (time.monotonic() - started) / (60 * args.minutes))
        for group in (g for o in optimizers for g in o.param_groups):
            group["lr"] = learning_rate(min(progress, 1.0), args.lr)
        at = step * args.batch % (len(train) - args.batch)
        batch = train[order[at:at + args.batch]].long()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        if step % 250 == 0 or progress >= 1:
            now = window_loss(model, valid[:64])
            if now < best:
                best, best_state = now, {k: v.clone() for k, v in model.state_dict().items()}
                torch.save(best_state, out / "checkpoint.tmp")
            minutes = (time.monotonic() - started) / 60
            print(f"step {step} {minutes:.1f} min train {loss.item():.4f} valid {now:.4f}", flush=True)

    model.load_state_dict(best_state)
    (out / "checkpoint.tmp").unlink()
    nats = [float(line) for line in pathlib.Path(args.valid_nats).read_text().split()]
    short = pack(valid_ids, 128)
    unrounded = window_loss(model, valid)
    model.to(torch.bfloat16).save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    (out / "model.safetensors").chmod(0o644)
    model.float()  # the rounded weights, computed with in float32
    own = story_losses(model, valid_ids, args.context, end)
    tokens = sum(len(valid_ids[i]) for i in own)
    report = {
        "steps": step, "training_tokens": step * args.batch * args.context,
        "parameters": sum(p.numel() for p in model.parameters()),
        "loss_windows_of_256_before_rounding": unrounded,
        "loss_windows_of_256": window_loss(model, valid),
        "loss_windows_of_128": window_loss(model, short),
        "whole_stories": len(own), "whole_story_tokens": tokens,
        "whole_story_loss": sum(own.values()) / tokens,
        "grammar_entropy_of_the_same_stories": sum(nats[i] for i in own) / tokens,
    }
    (out / "training.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
