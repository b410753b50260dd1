#!/usr/bin/env python3
"""Blocks of a Wan transformer in eager PyTorch: diffusers' WanTransformer3DModel where diffusers is installed, else a plain
implementation of our own with the same operations in the same order (named "plain eager PyTorch, not diffusers").

    eager_wan.py [--model a14b] [--blocks 8] [--size 1280x720] [--frames 81] [--device cuda] [--repeats 2]

Random weights; bf16 with fp32 modulation and norms, as diffusers casts them. Prints one JSON line.
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

SHAPES = {"tiny": (1, 256, 64), "1.3b": (12, 8960, 4096), "14b": (40, 13824, 4096), "a14b": (40, 13824, 4096)}
HEAD = 128


class LayerNorm32(nn.LayerNorm):
    def forward(self, x):
        weight, bias = (None if p is None else p.float() for p in (self.weight, self.bias))
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


def rotate(x, cos, sin):
    x1, x2 = x.unflatten(-1, (-1, 2)).unbind(-1)
    out = torch.empty_like(x)
    out[..., 0::2] = x1 * cos - x2 * sin
    out[..., 1::2] = x1 * sin + x2 * cos
    return out.type_as(x)


class Attention(nn.Module):
    def __init__(self, heads):
        super().__init__()
        size = heads * HEAD
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(size, size) for _ in range(4))
        self.norm_q, self.norm_k = nn.RMSNorm(size, 1e-6), nn.RMSNorm(size, 1e-6)

    def forward(self, x, text=None, rope=None):
        source = x if text is None else text
        q, k, v = self.norm_q(self.q(x)), self.norm_k(self.k(source)), self.v(source)
        q, k, v = (t.unflatten(2, (self.heads, -1)) for t in (q, k, v))
        if rope is not None:
            q, k = rotate(q, *rope), rotate(k, *rope)
        out = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)))
        return self.o(out.transpose(1, 2).flatten(2, 3).type_as(q))


class Block(nn.Module):
    def __init__(self, heads, ffn):
        super().__init__()
        size = heads * HEAD
        self.norm1, self.norm2, self.norm3 = (LayerNorm32(size, 1e-6, elementwise_affine=affine) for affine in (False, True, False))
        self.attn1, self.attn2 = Attention(heads), Attention(heads)
        self.ffn = nn.Sequential(nn.Linear(size, ffn), nn.GELU(approximate="tanh"), nn.Linear(ffn, size))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, size) / size**0.5)

    def forward(self, x, text, temb, rope):
        shift, scale, gate, c_shift, c_scale, c_gate = (self.scale_shift_table + temb.float()).chunk(6, 1)
        normed = (self.norm1(x.float()) * (1 + scale) + shift).type_as(x)
        x = (x.float() + self.attn1(normed, rope=rope) * gate).type_as(x)
        x = x + self.attn2(self.norm2(x.float()).type_as(x), text=text)
        normed = (self.norm3(x.float()) * (1 + c_scale) + c_shift).type_as(x)
        return (x.float() + self.ffn(normed).float() * c_gate).type_as(x)


def plain(o, latents, device):
    heads, ffn, _ = SHAPES[o.model]
    size = heads * HEAD
    tokens = latents[0] * (latents[1] // 2) * (latents[2] // 2)
    torch.set_default_device(device)
    blocks = nn.ModuleList(Block(heads, ffn) for _ in range(o.blocks)).to(torch.bfloat16)
    for block in blocks:
        block.scale_shift_table.data = block.scale_shift_table.data.float()
    x, text = torch.randn(1, tokens, size, dtype=torch.bfloat16), torch.randn(1, 512, size, dtype=torch.bfloat16)
    temb, angles = torch.randn(1, 6, size), torch.randn(1, tokens, 1, HEAD // 2)
    rope = (angles.cos(), angles.sin())

    def forward():
        y = x
        for block in blocks:
            y = block(y, text, temb, rope)
        return y

    return "plain eager PyTorch, not diffusers", forward


def diffusers(o, latents, device):
    import diffusers as package

    heads, ffn, text_size = SHAPES[o.model]
    with torch.device(device):
        model = package.WanTransformer3DModel(num_attention_heads=heads, attention_head_dim=HEAD, ffn_dim=ffn, num_layers=o.blocks, text_dim=text_size)
        model = model.to(torch.bfloat16).eval()
        for name, parameter in model.named_parameters():
            if any(kept in name for kept in model._keep_in_fp32_modules):
                parameter.data = parameter.data.float()
        x = torch.randn(1, 16, *latents, dtype=torch.bfloat16)
        text, timestep = torch.randn(1, 512, text_size, dtype=torch.bfloat16), torch.tensor([700])
    return f"diffusers {package.__version__}", lambda: model(x, timestep, text, return_dict=False)[0]


def time_ms(device, work) -> float:
    if device.type == "cpu":
        begin = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - begin)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


@torch.inference_mode()
def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", default="a14b", choices=SHAPES)
    ap.add_argument("--blocks", type=int, default=8)
    ap.add_argument("--size", default="1280x720")
    ap.add_argument("--frames", type=int, default=81)
    ap.add_argument("--device", default="cuda")
    ap.add_argument("--repeats", type=int, default=2)
    ap.add_argument("--plain", action="store_true", help="our own implementation, also where diffusers is installed")
    o = ap.parse_args()
    torch.manual_seed(1)
    device = torch.device(o.device)
    width, height = (int(v) // 8 for v in o.size.split("x"))
    latents = ((o.frames - 1) // 4 + 1, height, width)
    try:
        make = plain if o.plain else diffusers
        name, forward = make(o, latents, device)
    except ImportError:
        name, forward = plain(o, latents, device)
    out = forward()  # the warm-up
    assert out.isfinite().all(), "values that are not finite"
    times = [time_ms(device, forward) for _ in range(o.repeats)]
    tokens = latents[0] * (latents[1] // 2) * (latents[2] // 2)
    print(json.dumps({"name": "eager", "implementation": name, "model": o.model, "blocks": o.blocks, "size": o.size, "tokens": tokens,
                      "forward_ms": statistics.median(times), "forward_ms_low": min(times), "forward_ms_high": max(times), "repeats": o.repeats,
                      "torch": torch.__version__}))


if __name__ == "__main__":
    main()
