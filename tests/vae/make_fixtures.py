#!/usr/bin/env python3
"""Makes tests/fixtures/vae: tiny random Wan VAEs and what diffusers decodes with them.

Needs torch, diffusers, safetensors. Weights are stored as bf16 (exact in fp32), so that a file is small.
usage: make_fixtures.py [OUT_FOLDER]
"""
import json
import os
import sys

import diffusers
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = {
    # The published structure, narrow.
    "narrow": dict(
        config=dict(base_dim=4, z_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=1, temperal_downsample=[False, True, True]),
        latents=(3, 3, 4)),
    # Odd numbers of channels, another decoder width, time doubled in another place.
    "odd": dict(
        config=dict(base_dim=3, decoder_base_dim=5, z_dim=3, dim_mult=[1, 2, 3], num_res_blocks=1,
                    temperal_downsample=[True, False]),
        latents=(3, 3, 5)),
}


def randomise(model, generator):
    """Every parameter random, none 0 or 1, so that a forgotten one shows; rounded to bf16."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if name.endswith("gamma"):
            value = 1 + 0.2 * noise
        elif name.endswith("bias"):
            value = 0.1 * noise
        else:
            value = noise / p[0].numel() ** 0.5
        p.data = value.bfloat16().float()


def make(name, case, out):
    generator = torch.Generator().manual_seed(20260 + len(name))
    z = case["config"]["z_dim"]
    mean = [round(0.1 * i - 0.2, 3) for i in range(z)]
    std = [round(1 + 0.3 * i, 3) for i in range(z)]
    factors = dict(scale_factor_spatial=2 ** (len(case["config"]["dim_mult"]) - 1),
                   scale_factor_temporal=2 ** sum(case["config"]["temperal_downsample"]))
    model = AutoencoderKLWan(latents_mean=mean, latents_std=std, **factors, **case["config"]).eval()
    randomise(model, generator)
    out_weight = model.decoder.conv_out.weight  # so that some values lie beyond [-1, 1]:
    out_weight.data = (0.8 * out_weight.data).bfloat16().float()
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    json.dump(dict(model.config), open(os.path.join(folder, "config.json"), "w"), indent=1, default=list)
    # One tensor of the encoder stays, to be ignored.
    kept = {k: v.bfloat16().contiguous() for k, v in model.state_dict().items()
            if not k.startswith("encoder.") or k == "encoder.conv_in.bias"}
    save_file(kept, os.path.join(folder, "diffusion_pytorch_model.safetensors"), {"format": "pt"})
    latents = torch.randn((1, z) + case["latents"], generator=generator)
    scaled = latents * torch.tensor(std).view(1, -1, 1, 1, 1) + torch.tensor(mean).view(1, -1, 1, 1, 1)
    with torch.no_grad():
        video = model.decode(scaled).sample[0]
        rough = model.bfloat16().decode(scaled.bfloat16()).sample[0].float()
    distance = ((rough - video).norm() / video.norm()).item()
    share = (video.abs() >= 1).float().mean().item()
    print(f"{name}: video {tuple(video.shape)}, clamped {share:.3f}, bf16 distance {distance:.4f}")
    save_file({"latents": latents[0].contiguous(), "vae_input": scaled[0].contiguous(), "video": video.contiguous()},
              os.path.join(folder, "reference.safetensors"),
              {"source": f"diffusers {diffusers.__version__}, torch {torch.__version__}, float32",
               "bf16_distance": f"{distance:.6f}"})


def main():
    torch.set_num_threads(1)
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "fixtures", "vae")
    for name, case in CASES.items():
        make(name, case, out)


if __name__ == "__main__":
    main()
