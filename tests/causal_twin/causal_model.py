"""A seeded tiny causal model: the text encoder, VAE and tokenizer of a given model folder and a random transformer.
Standard library only; the same bytes everywhere."""

import array
import json
import math
import os
import pathlib
import random
import shutil
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "memory"))
import wide_model  # noqa: E402

SEED = 20261121
HEADS, HEAD_SIZE, FFN, BLOCKS, FREQ, TEXT, CHANNELS = 2, 24, 80, 3, 32, 128, 16
WIDTH = HEADS * HEAD_SIZE
EPS = 1e-6


def tensors():
    """(name, shape, values): norms around 1, matrices that keep the size of what goes through them."""
    generator = random.Random(SEED)
    shapes = wide_model.tensors(WIDTH, FFN, BLOCKS, TEXT, CHANNELS, FREQ)
    for name, shape in shapes:
        count = math.prod(shape)
        if "norm" in name and name.endswith("weight"):
            mean, spread = 1.0, 0.3
        elif len(shape) >= 2 and "modulation" not in name:
            mean, spread = 0.0, (count // shape[0]) ** -0.5
        else:
            mean, spread = 0.0, 0.3
        yield name, shape, array.array("f", (generator.uniform(-1.7, 1.7) * spread + mean for _ in range(count)))


def write_safetensors(path, named, metadata=None):
    """named: (name, shape, float32 values)."""
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, shape, values in named:
        raw = values.tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    """{name: (shape, values)} of float tensors."""
    with open(path, "rb") as file:
        raw = file.read()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    found = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in ("F32", "F64"):
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = array.array("f" if entry["dtype"] == "F32" else "d")
        values.frombytes(raw[begin:end])
        found[name] = (entry["shape"], values)
    return found


def write_model(source, target, prefix="generator_ema.model.", settings=None):
    """prefix: of all names in the transformer's file. settings: of t2v.json."""
    for part in ("text_encoder", "vae", "tokenizer", "scheduler"):
        shutil.copytree(os.path.join(source, part), os.path.join(target, part))
    with open(os.path.join(source, "model_index.json")) as file:
        index = json.load(file)
    index.pop("transformer_2", None)
    index.pop("boundary_ratio", None)
    with open(os.path.join(target, "model_index.json"), "w") as file:
        json.dump(index, file)
    with open(os.path.join(target, "t2v.json"), "w") as file:
        json.dump({"text_len": 64, "size": "48x32", "frames": 33, "fps": 8, "negative_prompt": "",
                   **(settings or {})}, file)
    with open(os.path.join(source, "transformer", "config.json")) as file:
        config = json.load(file)
    config.update(num_attention_heads=HEADS, attention_head_dim=HEAD_SIZE, ffn_dim=FFN, num_layers=BLOCKS,
                  freq_dim=FREQ, text_dim=TEXT, in_channels=CHANNELS, out_channels=CHANNELS)
    folder = os.path.join(target, "transformer")
    os.mkdir(folder)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)
    write_safetensors(os.path.join(folder, "diffusion_pytorch_model.safetensors"),
                      ((prefix + name, shape, values) for name, shape, values in tensors()))
