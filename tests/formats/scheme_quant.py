"""The 8-bit schemes of safetensors files: fp8 with and without a scale, int8 by row, tensor and block."""

import array
import json
import math
import struct

from containers import Stored
from tiny_model import Tensor, float32_of


def _fp8_values(mantissa_bits: int, bias: int, top: float) -> list[float | None]:
    """What every byte stands for; None for NaN and infinity."""
    values: list[float | None] = []
    for byte in range(256):
        exponent = (byte & 127) >> mantissa_bits
        mantissa = byte & ((1 << mantissa_bits) - 1)
        if exponent == 0:
            size = math.ldexp(mantissa, 1 - bias - mantissa_bits)
        else:
            size = math.ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits)
        values.append(None if size > top else -size if byte & 128 else size)
    return values


FP8 = {"F8_E4M3": (_fp8_values(3, 7, 448.0), 448.0), "F8_E5M2": (_fp8_values(2, 15, 57344.0), 57344.0)}


def _nearest(table: list[float | None]):
    """A function from a number to the byte that stands for the nearest value."""
    pairs = sorted((value, byte) for byte, value in enumerate(table) if value is not None and (value or byte == 0))
    values = [value for value, _ in pairs]
    import bisect

    def find(value: float) -> int:
        at = min(bisect.bisect_left(values, value), len(values) - 1)
        if at > 0 and value - values[at - 1] < values[at] - value:
            at -= 1
        return pairs[at][1]

    return find


def fp8(tensor: Tensor, dtype: str, scaled: bool) -> tuple[Stored, float, Tensor]:
    """The stored bytes, the scale, and the values that they stand for."""
    table, top = FP8[dtype]
    scale = float32_of(max(map(abs, tensor.values)) / top) if scaled else 1.0
    find = _nearest(table)
    known = {value: find(value / scale) for value in set(tensor.values)}
    raw = bytes(known[value] for value in tensor.values)
    decoded = array.array("f", [table[byte] * scale for byte in raw])
    return Stored(dtype, tensor.shape, raw), scale, Tensor(tensor.shape, decoded)


def scalar(value: float) -> Stored:
    return Stored("F32", (), struct.pack("<f", value))


def words(**fields) -> Stored:
    raw = json.dumps(fields).encode()
    return Stored("U8", (len(raw),), raw)


def _round(value: float) -> int:
    return int(math.floor(abs(value) + 0.5)) * (1 if value >= 0 else -1)


def rotate(tensor: Tensor, group: int) -> Tensor:
    """Every group of columns times the regular Hadamard matrix."""
    rows = ((1, 1, 1, -1), (1, 1, -1, 1), (1, -1, 1, 1), (-1, 1, 1, 1))
    values = tensor.values.tolist()
    inner = 1
    while inner < group:
        for start in range(0, len(values), 4 * inner):
            for at in range(start, start + inner):
                old = [values[at + inner * k] for k in range(4)]
                for k in range(4):
                    values[at + inner * k] = 0.5 * sum(sign * v for sign, v in zip(rows[k], old))
        inner *= 4
    return Tensor(tensor.shape, array.array("f", values))


def _int8(values, scale: float) -> list[int]:
    return [min(max(_round(value / scale), -127), 127) for value in values]


def int8_rows(tensor: Tensor, rotation: int = 0) -> tuple[Stored, Stored, Tensor]:
    """Bytes, scales [N, 1], and the values that they stand for."""
    source = rotate(tensor, rotation) if rotation else tensor
    count, width = source.shape
    raw, scales, decoded = array.array("b"), array.array("f"), array.array("f")
    for row in range(count):
        values = source.values[row * width : (row + 1) * width]
        scale = float32_of(max(map(abs, values)) / 127)
        q = _int8(values, scale)
        raw.extend(q)
        scales.append(scale)
        decoded.extend(scale * v for v in q)
    result = Tensor(tensor.shape, decoded)
    return (
        Stored("I8", tensor.shape, raw.tobytes()),
        Stored("F32", (count, 1), scales.tobytes()),
        rotate(result, rotation) if rotation else result,
    )


def int8_tensor(tensor: Tensor) -> tuple[Stored, Stored, Tensor]:
    scale = float32_of(max(map(abs, tensor.values)) / 127)
    q = _int8(tensor.values, scale)
    decoded = Tensor(tensor.shape, array.array("f", [scale * v for v in q]))
    return Stored("I8", tensor.shape, array.array("b", q).tobytes()), scalar(scale), decoded


def int8_blocks(tensor: Tensor, size: int = 128) -> tuple[Stored, Stored, Tensor]:
    """Bytes, scales of 128 x 128 blocks, and the values that they stand for."""
    rows, columns = tensor.shape
    tall, wide = -(-rows // size), -(-columns // size)
    largest = [0.0] * (tall * wide)
    for at, value in enumerate(tensor.values):
        block = at // columns // size * wide + at % columns // size
        largest[block] = max(largest[block], abs(value))
    scales = [float32_of(top / 128) for top in largest]
    raw, decoded = array.array("b"), array.array("f")
    for at, value in enumerate(tensor.values):
        scale = scales[at // columns // size * wide + at % columns // size]
        q = min(max(_round(value / scale), -128), 127)
        raw.append(q)
        decoded.append(scale * q)
    return (
        Stored("I8", tensor.shape, raw.tobytes()),
        Stored("F32", (tall, wide), array.array("f", scales).tobytes()),
        Tensor(tensor.shape, decoded),
    )
