#!/usr/bin/env python3
"""The linear map from a model's latents to colours (`preview_factors` of t2v.json), by least squares.

    t2v generate -m MODEL --prompts FILE --dump 'DIR/{index}.safetensors'
    tools/fit_preview.py MODEL/t2v.json DIR/*.safetensors     (needs PyTorch and safetensors)

Each latent pixel is compared with the mean of the video's pixels that it stands for. Writes the rows
into the file and prints the error on every fourth dump, which the fit has not seen.
"""

import json
import re
import sys

import torch
from safetensors.torch import load_file


def samples(path):
    """Latents [n, z] and colours [n, 3] of one dump."""
    tensors = load_file(path)
    latents, video = tensors["latents_final"][0].float(), tensors["video"][0].float()
    z, num_frames, height, width = latents.shape
    per_frame = (video.shape[1] - 1) // max(num_frames - 1, 1)
    frames = [video[:, :1]] + list(video[:, 1:].split(per_frame, 1)) if num_frames > 1 else [video]
    small = torch.stack([torch.nn.functional.adaptive_avg_pool2d(f.mean(1), (height, width)) for f in frames], 1)
    return latents.reshape(z, -1).T, small.reshape(3, -1).T


def main():
    target, dumps = sys.argv[1], sys.argv[2:]
    seen = [samples(p) for i, p in enumerate(dumps) if i % 4 != 3]
    unseen = [samples(p) for i, p in enumerate(dumps) if i % 4 == 3]

    def joined(parts):
        x, y = (torch.cat(columns) for columns in zip(*parts))
        return torch.cat([x, torch.ones(len(x), 1)], 1).double(), y.double()

    x, y = joined(seen)
    rows = torch.linalg.lstsq(x, y).solution
    for name, parts in (("seen", seen), ("unseen", unseen)):
        x, y = joined(parts)
        error = ((x @ rows).clamp(-1, 1) - y).square().mean().sqrt() * 127.5
        print(f"{name}: {error:.1f} of 255 rms, colours themselves vary by {y.std() * 127.5:.1f}")
    with open(target) as f:
        text = f.read()
    text = re.sub(r',\s*"preview_factors": \[.*\](?=\s*\})', "", text, flags=re.S).rstrip().removesuffix("}").rstrip()
    lines = ",\n".join("    " + json.dumps([round(v, 4) for v in row]) for row in rows.tolist())
    text += ',\n  "preview_factors": [\n' + lines + "\n  ]\n}\n"
    json.loads(text)
    with open(target, "w") as f:
        f.write(text)


main()
