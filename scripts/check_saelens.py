"""Opens the SAEs of runs with SAELens and compares its encode and decode with ours.

    python scripts/check_saelens.py RUN… [--actcache path]        (sae-lens 6.54, safetensors, torch from PyPI)

The program is by default the release build of the package that this script is in. Both get the same 512 random
activations, once around the decoder's bias (a transcoder: around 0) and once 100 times as large. Exits with 1 if anything
differs by more than 1e-5 of the largest value.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from sae_lens import SAE
from sae_lens.registry import SAE_CLASS_REGISTRY
from safetensors.torch import load_file, save_file

parser = argparse.ArgumentParser()
parser.add_argument("runs", nargs="+")
parser.add_argument("--actcache", default=Path(__file__).resolve().parent.parent / ".build/release/actcache")
arguments = parser.parse_args()


def agrees(run):
    architecture = json.loads(Path(f"{run}/sae/cfg.json").read_text())["architecture"]
    if architecture not in SAE_CLASS_REGISTRY:
        sys.exit(f"{run}: SAELens has no class for {architecture}; nothing to compare with")
    sae = SAE.load_from_disk(f"{run}/sae")
    print(f"{run}: {type(sae).__name__}, d_in {sae.cfg.d_in}, d_sae {sae.cfg.d_sae}, hook {sae.cfg.metadata.hook_name}")
    torch.manual_seed(0)
    same = sae.cfg.metadata.hook_name is not None
    for size in (1.0, 100.0):
        spread = sae.b_dec.detach().abs().mean() + 0.1
        # A transcoder's bias is of other activations than its input.
        centre = sae.b_dec.detach() if sae.cfg.apply_b_dec_to_input else 0
        x = (centre + spread * size * torch.randn(512, sae.cfg.d_in)).contiguous()
        with tempfile.TemporaryDirectory() as folder:
            save_file({"x": x}, f"{folder}/x.safetensors")
            files = ["--input", f"{folder}/x.safetensors", "--out", f"{folder}/y.safetensors"]
            subprocess.run([arguments.actcache, "encode", run, *files], check=True, stdout=subprocess.DEVNULL)
            ours = load_file(f"{folder}/y.safetensors")
        with torch.no_grad():
            latents = sae.encode(x)
            # With the skip of a transcoder, which decode leaves out.
            recon = sae(x)
        for name, theirs in (("latents", latents), ("recon", recon)):
            difference = ((ours[name] - theirs).abs().max() / theirs.abs().max()).item()
            same &= difference < 1e-5
            l0 = (latents > 0).float().sum(1).mean()
            print(f"  size {size:3.0f}: {name:7} differ by {difference:.2e} of the largest; L0 {l0:.1f}")
    return same


differing = [run for run in arguments.runs if not agrees(run)]
sys.exit(f"these differ: {', '.join(differing)}" if differing else 0)
