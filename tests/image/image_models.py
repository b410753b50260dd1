"""Tiny random models of the shapes of Wan2.2-I2V-A14B and Wan2.2-TI2V-5B, and pictures to give them."""

import dataclasses
import json
import pathlib
import struct
import sys
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "formats"))
import layouts
import tiny_model
from tiny_model import Maker, Tensor, VaeMaker

Z, PATCH = 48, 2
BASE, DECODER_BASE = 4, 4


def image_transformer(seed: int) -> dict[str, Tensor]:
    """16 channels of noise, 4 of the mask, 16 of the picture."""
    return tiny_model.transformer(seed, in_channels=36)


def wide_transformer(seed: int) -> dict[str, Tensor]:
    tensors = tiny_model.transformer(seed, in_channels=Z)
    make = Maker(seed + 100)
    tensors["head.head.weight"] = make.weight(4 * Z, tiny_model.SIZE)
    tensors["head.head.bias"] = make.small(4 * Z)
    return tensors


def residual_vae(seed: int) -> dict[str, Tensor]:
    """VAE 2.2 under the names of diffusers: blocks with shortcuts, patches of 2 x 2 pixels."""
    maker = VaeMaker(seed)
    conv, middle, ends = maker.conv, maker.middle, maker.ends
    mult, down = tiny_model.DIM_MULT, tiny_model.TIME_DOWN

    def blocks(half: str, sizes: list[int], resnets: int, sampler: str, times: list[bool]) -> None:
        for i, after in enumerate(sizes):
            before = sizes[max(i - 1, 0)]
            for j in range(resnets):
                maker.residual(f"{half}_blocks.{i}.resnets.{j}", before if j == 0 else after, after)
            if i + 1 == len(sizes):
                continue
            conv(f"{half}_blocks.{i}.{sampler}.resample.1", after, after, 3, 3)
            if times[i]:
                frames = 2 * after if sampler == "upsampler" else after
                conv(f"{half}_blocks.{i}.{sampler}.time_conv", frames, after, 3, 1, 1)

    encoder, decoder = [BASE * m for m in mult], [DECODER_BASE * m for m in reversed(mult)]
    pixels = 3 * PATCH * PATCH
    conv("quant_conv", 2 * Z, 2 * Z, 1, 1, 1)
    conv("post_quant_conv", Z, Z, 1, 1, 1)
    ends("encoder", (BASE, pixels), (2 * Z, encoder[-1]))
    ends("decoder", (decoder[0], Z), (pixels, decoder[-1]))
    middle("encoder.mid_block", encoder[-1])
    middle("decoder.mid_block", decoder[0])
    blocks("encoder.down", encoder, tiny_model.RES_BLOCKS, "downsampler", down)
    blocks("decoder.up", decoder, tiny_model.RES_BLOCKS + 1, "upsampler", down[::-1])
    return maker.out


def write_image_model(tokenizer: pathlib.Path, folder: pathlib.Path) -> None:
    """Two experts that want a picture."""
    model = layouts.make_tiny(tokenizer, experts=2)
    configs = {**model.configs, "transformer": {**model.configs["transformer"], "in_channels": 36}}
    model = dataclasses.replace(model, transformer=image_transformer(11), transformer_2=image_transformer(12), configs=configs)
    layouts.write_diffusers(model, folder)
    change_index(folder, _class_name="WanImageToVideoPipeline", boundary_ratio=0.9)


def write_text_image_model(tokenizer: pathlib.Path, folder: pathlib.Path) -> None:
    """One transformer that takes a picture or none."""
    model = layouts.make_tiny(tokenizer)
    vae = {
        **tiny_model.VAE_CONFIG, "base_dim": BASE, "decoder_base_dim": DECODER_BASE, "z_dim": Z, "is_residual": True,
        "patch_size": PATCH, "in_channels": 12, "out_channels": 12,
        "latents_mean": [0.01 * i for i in range(Z)], "latents_std": [1 + 0.02 * i for i in range(Z)],
    }  # fmt: skip
    transformer = {**model.configs["transformer"], "in_channels": Z, "out_channels": Z}
    configs = {**model.configs, "transformer": transformer, "vae": vae}
    model = dataclasses.replace(model, transformer=wide_transformer(13), vae=residual_vae(14), configs=configs)
    layouts.write_diffusers(model, folder)
    change_index(folder, expand_timesteps=True)


def change_index(folder: pathlib.Path, **values) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def pixels_of(width: int, height: int, seed: int) -> bytes:
    """A smooth picture, another for each seed."""
    return bytes(
        (x * (3 + seed) + y * (5 + c) + 40 * c * seed) // 2 % 256 for y in range(height) for x in range(width) for c in range(3)
    )


def write_png(path: pathlib.Path, width: int, height: int, seed: int) -> bytes:
    rgb = pixels_of(width, height, seed)
    rows = b"".join(b"\0" + rgb[y * width * 3 : (y + 1) * width * 3] for y in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return rgb
