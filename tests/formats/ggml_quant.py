"""Quantisers of the GGML block types and their inverses, from the specification alone. Not the best
quantisers, but every field of a block is used."""

import array
import math
import struct

from containers import Stored
from tiny_model import Tensor, float32_of

GROUP = {"Q8_0": 32, "Q4_0": 32, "Q4_1": 32, "Q5_0": 32, "Q5_1": 32,
         "Q2_K": 256, "Q3_K": 256, "Q4_K": 256, "Q5_K": 256, "Q6_K": 256}  # fmt: skip


def _half(value: float) -> tuple[bytes, float]:
    """The half-precision bytes of a number, and the number they stand for."""
    raw = struct.pack("<e", value)
    return raw, struct.unpack("<e", raw)[0]


def _clamp(value: float, low: int, high: int) -> int:
    return min(max(int(math.floor(value + 0.5)), low), high)


def _scaled(x: list[float], d: float, low: int, high: int, shift: float = 0.0) -> list[int]:
    inverse = 1.0 / d if d else 0.0
    return [_clamp((value - shift) * inverse, low, high) for value in x]


# Each encoder gives the bytes of one block and the values that they stand for.


def _q8_0(x):
    raw, d = _half(max(map(abs, x)) / 127)
    q = _scaled(x, d, -127, 127)
    return raw + struct.pack("32b", *q), [d * v for v in q]


def _nibbles(q: list[int]) -> bytes:
    return bytes((q[j] & 15) | ((q[j + 16] & 15) << 4) for j in range(16))


def _fifth_bits(q: list[int]) -> bytes:
    return struct.pack("<I", sum((q[j] >> 4) << j for j in range(32)))


def _q4_0(x):
    raw, d = _half(max(map(abs, x)) / 8)
    q = [v + 8 for v in _scaled(x, d, -8, 7)]
    return raw + _nibbles(q), [d * (v - 8) for v in q]


def _q5_0(x):
    raw, d = _half(max(map(abs, x)) / 16)
    q = [v + 16 for v in _scaled(x, d, -16, 15)]
    return raw + _fifth_bits(q) + _nibbles(q), [d * (v - 16) for v in q]


def _with_minimum(x, levels):
    low = min(x)
    raw_d, d = _half((max(x) - low) / levels)
    raw_m, m = _half(low)
    q = _scaled(x, d, 0, levels, m)
    return raw_d + raw_m, q, [float32_of(d * v) + m for v in q]


def _q4_1(x):
    head, q, y = _with_minimum(x, 15)
    return head + _nibbles(q), y


def _q5_1(x):
    head, q, y = _with_minimum(x, 31)
    return head + _fifth_bits(q) + _nibbles(q), y


def _groups_with_minima(x, size, levels, most):
    """Scales and minima of groups as small integers times two half-precision numbers."""
    groups = [x[i : i + size] for i in range(0, 256, size)]
    lows = [max(0.0, -min(group)) for group in groups]
    spans = [(max(group) + low) / levels for group, low in zip(groups, lows)]
    raw_d, d = _half(max(spans) / most)
    raw_m, dmin = _half(max(lows) / most)
    scales = _scaled(spans, d, 0, most)
    minima = _scaled(lows, dmin, 0, most)
    q, y = [], []
    for group, scale, minimum in zip(groups, scales, minima):
        step, low = float32_of(d * scale), float32_of(dmin * minimum)
        own = _scaled(group, step, 0, levels, -low)
        q += own
        y += [float32_of(step * v) - low for v in own]
    return raw_d, raw_m, scales, minima, q, y


def _six_bit_pairs(scales: list[int], minima: list[int]) -> bytes:
    s = bytearray(12)
    for j in range(4):
        s[j] = scales[j] | (scales[j + 4] >> 4) << 6
        s[j + 4] = minima[j] | (minima[j + 4] >> 4) << 6
        s[j + 8] = (scales[j + 4] & 15) | (minima[j + 4] & 15) << 4
    return bytes(s)


def _low_nibbles_by_pairs(q: list[int]) -> bytes:
    return bytes((q[64 * g + l] & 15) | (q[64 * g + 32 + l] & 15) << 4 for g in range(4) for l in range(32))


def _q4_k(x):
    raw_d, raw_m, scales, minima, q, y = _groups_with_minima(x, 32, 15, 63)
    return raw_d + raw_m + _six_bit_pairs(scales, minima) + _low_nibbles_by_pairs(q), y


def _q5_k(x):
    raw_d, raw_m, scales, minima, q, y = _groups_with_minima(x, 32, 31, 63)
    high = bytes(sum((q[32 * group + l] >> 4) << group for group in range(8)) for l in range(32))
    return raw_d + raw_m + _six_bit_pairs(scales, minima) + high + _low_nibbles_by_pairs(q), y


def _two_bits(q: list[int]) -> bytes:
    """Four groups of 32 in the bits of 32 bytes, for each half of the block."""
    return bytes(
        sum((q[128 * n + 32 * j + l] & 3) << 2 * j for j in range(4)) for n in range(2) for l in range(32)
    )


def _q2_k(x):
    raw_d, raw_m, scales, minima, q, y = _groups_with_minima(x, 16, 3, 15)
    packed = bytes(scale | minimum << 4 for scale, minimum in zip(scales, minima))
    return packed + _two_bits(q) + raw_d + raw_m, y


def _signed_groups(x, low, high, scale_low, scale_high):
    """Groups of 16 around zero; scales are signed integers times one half-precision number."""
    groups = [x[i : i + 16] for i in range(0, 256, 16)]
    steps = [max(map(abs, group)) / -low for group in groups]
    raw, d = _half(max(steps) / scale_high)
    scales = _scaled(steps, d, 1, scale_high)
    scales[3] = max(-scales[3], scale_low)  # a negative one, which the format allows
    q, y = [], []
    for group, scale in zip(groups, scales):
        step = float32_of(d * scale)
        own = _scaled(group, step, low, high)
        q += own
        y += [step * v for v in own]
    return raw, scales, q, y


def _q6_k(x):
    raw, scales, q, y = _signed_groups(x, -32, 31, -128, 127)
    u = [v + 32 for v in q]
    low, high = bytearray(), bytearray()
    for n in range(2):
        part = u[128 * n : 128 * n + 128]
        low += bytes((part[l] & 15) | (part[l + 64] & 15) << 4 for l in range(64))
        high += bytes(sum((part[l + 32 * j] >> 4) << 2 * j for j in range(4)) for l in range(32))
    return bytes(low) + bytes(high) + struct.pack("16b", *scales) + raw, y


def _q3_k(x):
    raw, scales, q, y = _signed_groups(x, -4, 3, -32, 31)
    u = [v + 4 for v in q]  # the third bit is set where 4 is NOT taken off
    mask = bytes(sum((u[32 * group + l] >> 2) << group for group in range(8)) for l in range(32))
    six = [scale + 32 for scale in scales]
    packed = bytearray((six[k] & 15) | (six[k + 8] & 15) << 4 for k in range(8))
    packed += bytes(sum((six[k + 4 * j] >> 4) << 2 * j for j in range(4)) for k in range(4))
    return mask + _two_bits(u) + bytes(packed) + raw, y


_ENCODERS = {"Q8_0": _q8_0, "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1,
             "Q2_K": _q2_k, "Q3_K": _q3_k, "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k}  # fmt: skip


def quantise(tensor: Tensor, kind: str) -> tuple[Stored, Tensor]:
    """The blocks, and the values that they stand for."""
    encode, group = _ENCODERS[kind], GROUP[kind]
    assert tensor.shape[-1] % group == 0
    blocks, values = [], array.array("f")
    source = tensor.values.tolist()
    for start in range(0, len(source), group):
        block, decoded = encode(source[start : start + group])
        blocks.append(block)
        values.extend(decoded)
    return Stored(kind, tensor.shape, b"".join(blocks)), Tensor(tensor.shape, values)
