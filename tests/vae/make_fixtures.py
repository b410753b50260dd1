#!/usr/bin/env python3
"""Makes tests/fixtures/vae: tiny random Wan VAEs and what diffusers decodes and encodes with them.

Needs torch, diffusers, safetensors. Weights are stored as bf16 (exact in fp32), so that a file is small.
usage: make_fixtures.py [OUT_FOLDER [NAME...]]
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
    # The published structure with its encoder, narrow.
    "whole": dict(
        config=dict(base_dim=2, z_dim=3, dim_mult=[1, 2, 4, 4], num_res_blocks=1,
                    temperal_downsample=[False, True, True]),
        frames=(9, 24, 16)),
    # VAE 2.2, narrow.
    "residual": dict(
        config=dict(base_dim=2, decoder_base_dim=3, z_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=1,
                    temperal_downsample=[False, True, True], is_residual=True, patch_size=2, in_channels=12,
                    out_channels=12),
        latents=(3, 2, 2), frames=(9, 32, 32)),
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
    patch = case["config"].get("patch_size", 1)
    factors = dict(scale_factor_spatial=patch * 2 ** (len(case["config"]["dim_mult"]) - 1),
                   scale_factor_temporal=2 ** sum(case["config"]["temperal_downsample"]))
    model = AutoencoderKLWan(latents_mean=mean, latents_std=std, **factors, **case["config"]).eval()
    randomise(model, generator)
    out_weight = model.decoder.conv_out.weight  # so that some values lie beyond [-1, 1]:
    out_weight.data = (0.8 * out_weight.data).bfloat16().float()
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    json.dump(dict(model.config), open(os.path.join(folder, "config.json"), "w"), indent=1, default=list)
    # Without frames one tensor of the encoder stays, to be ignored.
    encodes = "frames" in case
    kept = {k: v.bfloat16().contiguous() for k, v in model.state_dict().items()
            if encodes or not k.startswith("encoder.") or k == "encoder.conv_in.bias"}
    save_file(kept, os.path.join(folder, "diffusion_pytorch_model.safetensors"), {"format": "pt"})
    recorded, facts = {}, {"source": f"diffusers {diffusers.__version__}, torch {torch.__version__}, float32"}
    if encodes:
        record_encoding(model, case["frames"], generator, recorded)
    if "latents" in case:
        record_decoding(model, case["latents"], (mean, std), generator, (recorded, facts))
    print(name, {k: tuple(v.shape) for k, v in recorded.items()}, facts)
    save_file(recorded, os.path.join(folder, "reference.safetensors"), facts)


def record_encoding(model, frames, generator, recorded):
    """Bytes of a picture that moves, and the mode of what they are encoded to."""
    count, height, width = frames
    pixels = torch.randint(0, 256, (count, height, width, 3), generator=generator, dtype=torch.uint8)
    recorded["frames_u8"] = pixels
    with torch.no_grad():
        video = (pixels.permute(3, 0, 1, 2)[None].float() / 127.5 - 1)
        recorded["mean"] = model.encode(video).latent_dist.mode()[0].contiguous()


def record_decoding(model, shape, statistics, generator, out):
    recorded, facts = out
    mean, std = statistics
    z = len(mean)
    latents = torch.randn((1, z) + shape, generator=generator)
    scaled = latents * torch.tensor(std).view(1, -1, 1, 1, 1) + torch.tensor(mean).view(1, -1, 1, 1, 1)
    with torch.no_grad():
        video = model.decode(scaled).sample[0]
        rough = model.bfloat16().decode(scaled.bfloat16()).sample[0].float()
    recorded.update(latents=latents[0].contiguous(), vae_input=scaled[0].contiguous(), video=video.contiguous())
    facts["bf16_distance"] = f"{((rough - video).norm() / video.norm()).item():.6f}"
    print(f"clamped {(video.abs() >= 1).float().mean().item():.3f}")


def main():
    torch.set_num_threads(1)
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "fixtures", "vae")
    only = sys.argv[2:]
    for name, case in CASES.items():
        if not only or name in only:
            make(name, case, out)


if __name__ == "__main__":
    main()
