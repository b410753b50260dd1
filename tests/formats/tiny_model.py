"""A tiny random text-to-video model: canonical names, and values that bf16, fp16 and fp32 all hold exactly."""

import array
import dataclasses
import math
import random
import struct

# The statistics of Wan 2.1's VAE, which files without a config are taken to have.
LATENTS_MEAN = [-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
                0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921]  # fmt: skip
LATENTS_STD = [2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
               3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.916]  # fmt: skip

SIZE, HEADS, FFN, BLOCKS = 256, 2, 256, 2  # whole blocks of 256 for the K types of GGUF
TEXT, TEXT_HEADS, TEXT_FFN, TEXT_BLOCKS = 64, 4, 64, 2
FREQ, CHANNELS = 64, 16
BASE_DIM, DIM_MULT, RES_BLOCKS, TIME_DOWN = 4, [1, 2, 4, 4], 1, [False, True, True]


@dataclasses.dataclass(frozen=True)
class Tensor:
    shape: tuple[int, ...]
    values: array.array  # of 'f', row-major

    def __post_init__(self):
        assert math.prod(self.shape) == len(self.values)


class Maker:
    """Multiples of a power of two with at most eight bits: exact in every float type of 16 bits and more."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def around(self, centre: float, size: float, *shape: int) -> Tensor:
        """centre + uniform numbers of up to about `size`."""
        step = 2.0 ** math.floor(math.log2(size / 128))
        table = [centre + step * (byte - 128) for byte in range(256)]
        if centre != 0:  # keep eight bits: the step follows the larger number
            table = [round(value * 128) / 128 for value in table]
        raw = self.random.randbytes(math.prod(shape))
        return Tensor(shape, array.array("f", [table[byte] for byte in raw]))

    def weight(self, *shape: int) -> Tensor:
        return self.around(0, 1.5 / math.sqrt(math.prod(shape[1:])), *shape)

    def small(self, *shape: int) -> Tensor:
        return self.around(0, 0.25, *shape)

    def gain(self, *shape: int) -> Tensor:
        return self.around(1, 0.25, *shape)


def transformer(seed: int, in_channels: int = CHANNELS) -> dict[str, Tensor]:
    make, out = Maker(seed), {}

    def linear(name: str, rows: int, columns: int) -> None:
        out[name + ".weight"] = make.weight(rows, columns)
        out[name + ".bias"] = make.small(rows)

    out["patch_embedding.weight"] = make.weight(SIZE, in_channels, 1, 2, 2)
    out["patch_embedding.bias"] = make.small(SIZE)
    linear("text_embedding.0", SIZE, TEXT)
    linear("text_embedding.2", SIZE, SIZE)
    linear("time_embedding.0", SIZE, FREQ)
    linear("time_embedding.2", SIZE, SIZE)
    linear("time_projection.1", 6 * SIZE, SIZE)
    for i in range(BLOCKS):
        block = f"blocks.{i}."
        out[block + "modulation"] = make.small(1, 6, SIZE)
        for attention in ("self_attn", "cross_attn"):
            for letter in "qkvo":
                linear(block + attention + "." + letter, SIZE, SIZE)
            for norm in ("norm_q", "norm_k"):
                out[f"{block}{attention}.{norm}.weight"] = make.gain(SIZE)
        out[block + "norm3.weight"] = make.gain(SIZE)
        out[block + "norm3.bias"] = make.small(SIZE)
        linear(block + "ffn.0", FFN, SIZE)
        linear(block + "ffn.2", SIZE, FFN)
    out["head.modulation"] = make.small(1, 2, SIZE)
    linear("head.head", 4 * CHANNELS, SIZE)
    return out


def text_encoder(seed: int, vocab_size: int) -> dict[str, Tensor]:
    make = Maker(seed)
    out = {"token_embedding.weight": make.around(0, 1, vocab_size, TEXT)}
    for i in range(TEXT_BLOCKS):
        block = f"blocks.{i}."
        out[block + "norm1.weight"] = make.gain(TEXT)
        out[block + "norm2.weight"] = make.gain(TEXT)
        for letter in "qkvo":
            out[f"{block}attn.{letter}.weight"] = make.weight(TEXT, TEXT)
        out[block + "ffn.gate.0.weight"] = make.weight(TEXT_FFN, TEXT)
        out[block + "ffn.fc1.weight"] = make.weight(TEXT_FFN, TEXT)
        out[block + "ffn.fc2.weight"] = make.weight(TEXT, TEXT_FFN)
        out[block + "pos_embedding.embedding.weight"] = make.small(32, TEXT_HEADS)
    out["norm.weight"] = make.gain(TEXT)
    return out


class VaeMaker:
    """The layers of which both published VAEs are made, under the names of diffusers."""

    def __init__(self, seed: int):
        self.make, self.out = Maker(seed), {}

    def conv(self, name: str, *shape: int) -> None:
        self.out[name + ".weight"] = self.make.weight(*shape)
        self.out[name + ".bias"] = self.make.small(shape[0])

    def residual(self, name: str, before: int, after: int) -> None:
        self.out[name + ".norm1.gamma"] = self.make.gain(before, 1, 1, 1)
        self.conv(name + ".conv1", after, before, 3, 3, 3)
        self.out[name + ".norm2.gamma"] = self.make.gain(after, 1, 1, 1)
        self.conv(name + ".conv2", after, after, 3, 3, 3)
        if before != after:
            self.conv(name + ".conv_shortcut", after, before, 1, 1, 1)

    def middle(self, name: str, size: int) -> None:
        self.residual(name + ".resnets.0", size, size)
        self.out[name + ".attentions.0.norm.gamma"] = self.make.gain(size, 1, 1)
        self.conv(name + ".attentions.0.to_qkv", 3 * size, size, 1, 1)
        self.conv(name + ".attentions.0.proj", size, size, 1, 1)
        self.residual(name + ".resnets.1", size, size)

    def ends(self, half: str, first: tuple[int, int], last: tuple[int, int]) -> None:
        self.conv(half + ".conv_in", *first, 3, 3, 3)
        self.out[half + ".norm_out.gamma"] = self.make.gain(last[1], 1, 1, 1)
        self.conv(half + ".conv_out", *last, 3, 3, 3)


def vae(seed: int) -> dict[str, Tensor]:
    """Decoder and encoder of VAE 2.1."""
    maker = VaeMaker(seed)
    conv, residual, middle, ends = maker.conv, maker.residual, maker.middle, maker.ends
    sizes = [BASE_DIM * factor for factor in DIM_MULT]
    widest = sizes[-1]
    conv("quant_conv", 2 * CHANNELS, 2 * CHANNELS, 1, 1, 1)
    conv("post_quant_conv", CHANNELS, CHANNELS, 1, 1, 1)
    ends("encoder", (BASE_DIM, 3), (2 * CHANNELS, widest))
    ends("decoder", (widest, CHANNELS), (3, BASE_DIM))
    middle("encoder.mid_block", widest)
    middle("decoder.mid_block", widest)
    before, layer = BASE_DIM, 0
    for i, after in enumerate(sizes):
        for _ in range(RES_BLOCKS):
            residual(f"encoder.down_blocks.{layer}", before, after)
            before, layer = after, layer + 1
        if i + 1 < len(sizes):
            conv(f"encoder.down_blocks.{layer}.resample.1", after, after, 3, 3)
            if TIME_DOWN[i]:
                conv(f"encoder.down_blocks.{layer}.time_conv", after, after, 3, 1, 1)
            layer += 1
    before = widest
    for i, after in enumerate(reversed(sizes)):
        name = f"decoder.up_blocks.{i}"
        for j in range(RES_BLOCKS + 1):
            residual(f"{name}.resnets.{j}", before, after)
            before = after
        if i + 1 < len(sizes):
            conv(name + ".upsamplers.0.resample.1", after // 2, after, 3, 3)
            if TIME_DOWN[::-1][i]:
                conv(name + ".upsamplers.0.time_conv", 2 * after, after, 3, 1, 1)
            before = after // 2
    return maker.out


def float32_of(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


TRANSFORMER_CONFIG = {
    "_class_name": "WanTransformer3DModel", "attention_head_dim": SIZE // HEADS, "cross_attn_norm": True,
    "eps": 1e-06, "ffn_dim": FFN, "freq_dim": FREQ, "image_dim": None, "in_channels": CHANNELS,
    "num_attention_heads": HEADS, "num_layers": BLOCKS, "out_channels": CHANNELS, "patch_size": [1, 2, 2],
    "qk_norm": "rms_norm_across_heads", "text_dim": TEXT,
}  # fmt: skip
WAN_CONFIG = {
    "_class_name": "WanModel", "dim": SIZE, "eps": 1e-06, "ffn_dim": FFN, "freq_dim": FREQ, "in_dim": CHANNELS,
    "model_type": "t2v", "num_heads": HEADS, "num_layers": BLOCKS, "out_dim": CHANNELS, "text_len": 512,
}  # fmt: skip
VAE_CONFIG = {
    "_class_name": "AutoencoderKLWan", "base_dim": BASE_DIM, "dim_mult": DIM_MULT, "num_res_blocks": RES_BLOCKS,
    "temperal_downsample": TIME_DOWN, "z_dim": CHANNELS, "latents_mean": LATENTS_MEAN, "latents_std": LATENTS_STD,
}  # fmt: skip


def text_encoder_config(vocab_size: int) -> dict:
    return {
        "model_type": "umt5", "vocab_size": vocab_size, "d_model": TEXT, "num_heads": TEXT_HEADS,
        "d_kv": TEXT // TEXT_HEADS, "d_ff": TEXT_FFN, "num_layers": TEXT_BLOCKS, "layer_norm_epsilon": 1e-06,
        "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
    }  # fmt: skip
