"""Writes a model whose transformer is far larger than what a small machine should have to hold: the
tiny text encoder, VAE and tokenizer of a given model folder and a wide transformer of patterned
bf16 weights. Plain Python, a few seconds."""

import json
import os
import random
import shutil
import struct


def noise(num_elements, exponent):
    """A megabyte of bf16 numbers of either sign and one exponent, repeated: little endian bytes."""
    generator = random.Random(7)
    unit = bytearray(generator.randbytes(1 << 20))
    for i in range(1, len(unit), 2):  # sign, exponent; the low byte is mantissa
        unit[i] = exponent | (unit[i] & 0x80)
    repeats = 2 * num_elements // len(unit) + 1
    return (bytes(unit) * repeats)[: 2 * num_elements]


def tensors(size, ffn, blocks, text, channels, frequencies=256):
    """(name, shape) of a transformer in the original naming."""
    yield "patch_embedding.weight", [size, channels, 1, 2, 2]
    yield "patch_embedding.bias", [size]
    for name, (rows, columns) in {"text_embedding.0": (size, text), "text_embedding.2": (size, size),
                                  "time_embedding.0": (size, frequencies), "time_embedding.2": (size, size),
                                  "time_projection.1": (6 * size, size), "head.head": (4 * channels, size)}.items():
        yield name + ".weight", [rows, columns]
        yield name + ".bias", [rows]
    yield "head.modulation", [1, 2, size]
    for i in range(blocks):
        p = f"blocks.{i}."
        yield p + "modulation", [1, 6, size]
        for attention in ("self_attn", "cross_attn"):
            for part in "qkvo":
                yield f"{p}{attention}.{part}.weight", [size, size]
                yield f"{p}{attention}.{part}.bias", [size]
            for part in "qk":
                yield f"{p}{attention}.norm_{part}.weight", [size]
        for part in ("weight", "bias"):
            yield f"{p}norm3.{part}", [size]
        for name, (rows, columns) in {"ffn.0": (ffn, size), "ffn.2": (size, ffn)}.items():
            yield f"{p}{name}.weight", [rows, columns]
            yield f"{p}{name}.bias", [rows]


def write_transformer(path, **dimensions):
    header, offset = {}, 0
    listed = list(tensors(**dimensions))
    for name, shape in listed:
        count = 1
        for extent in shape:
            count *= extent
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + 2 * count]}
        offset += 2 * count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    largest = noise(max(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in header.values()) // 2,
                    0x3C)  # about 0.008 to 0.03
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, _ in listed:
            begin, end = header[name]["data_offsets"]
            file.write(largest[: end - begin])
    return offset


def write_model(source, target, size=1024, ffn=4096, blocks=24):
    """Returns the bytes of the transformer."""
    with open(os.path.join(source, "transformer", "config.json")) as file:
        config = json.load(file)
    for part in ("text_encoder", "vae", "tokenizer", "scheduler"):
        shutil.copytree(os.path.join(source, part), os.path.join(target, part))
    with open(os.path.join(source, "model_index.json")) as file:
        index = json.load(file)
    index.pop("transformer_2", None)
    index.pop("boundary_ratio", None)
    with open(os.path.join(target, "model_index.json"), "w") as file:
        json.dump(index, file)
    config.update(num_attention_heads=size // 128, attention_head_dim=128, ffn_dim=ffn, num_layers=blocks, freq_dim=256)
    os.mkdir(os.path.join(target, "transformer"))
    with open(os.path.join(target, "transformer", "config.json"), "w") as file:
        json.dump(config, file)
    return write_transformer(os.path.join(target, "transformer", "diffusion_pytorch_model.safetensors"),
                             size=size, ffn=ffn, blocks=blocks, text=config["text_dim"],
                             channels=config["in_channels"])
