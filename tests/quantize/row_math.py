"""Scheme A from its specification alone: rotate -> scale -> round in fp32, one operation after the other, and the
error that this makes in double. Standard library only."""

import array
import math

SMALLEST = array.array("f", [1e-5])[0]


def fp32(values) -> array.array:
    """Rounded to fp32; of two fp32 numbers, double arithmetic followed by this is fp32 arithmetic."""
    return array.array("f", values)


def group_of(asked: int, width: int) -> int:
    """The widest of 256, 64, 16 and 4, not above `asked`, that divides the width."""
    return next((group for group in (256, 64, 16, 4) if group <= asked and width % group == 0), 0)


def rotate(row: array.array, group: int) -> array.array:
    """Times the regular Hadamard matrix in groups of columns: one radix-4 stage for each factor H4."""
    inner = 1
    while inner < group:
        lanes = [[], [], [], []]
        for start in range(0, len(row), 4 * inner):
            for k in range(4):
                lanes[k].extend(row[start + k * inner : start + (k + 1) * inner])
        a, b, c, d = lanes
        ab, cd = fp32(x + y for x, y in zip(a, b)), fp32(x + y for x, y in zip(c, d))
        a_b, c_d = fp32(x - y for x, y in zip(a, b)), fp32(x - y for x, y in zip(c, d))
        out = [
            fp32(0.5 * v for v in fp32(x + y for x, y in zip(ab, c_d))),
            fp32(0.5 * v for v in fp32(x - y for x, y in zip(ab, c_d))),
            fp32(0.5 * v for v in fp32(x + y for x, y in zip(a_b, cd))),
            fp32(0.5 * v for v in fp32(y - x for x, y in zip(a_b, cd))),
        ]
        row = array.array("f")
        for start in range(0, len(a), inner):
            for k in range(4):
                row.extend(out[k][start : start + inner])
        inner *= 4
    return row


def half_even(value: float) -> int:
    return round(value)  # Python's own rounding


def quantise_row(row: array.array, group: int) -> tuple[array.array, float]:
    """int8 values and their scale."""
    z = rotate(row, group) if group else row
    most = max(map(abs, z))
    scale = fp32([max(most, SMALLEST) / 127])[0]
    quotients = fp32(value / scale for value in z)
    return array.array("b", (min(max(half_even(v), -127), 127) for v in quotients)), scale


class Errors:
    """Of a layer, from what was read and what its int8 stands for."""

    def __init__(self):
        self.signal = self.noise = self.restored = self.product = self.most = 0.0

    def add(self, row, q, scale: float, group: int) -> None:
        values = fp32(scale * v for v in q)
        restored = rotate(values, group) if group else values
        for x, y in zip(row, restored):
            self.signal += x * x
            self.noise += (x - y) ** 2
            self.restored += y * y
            self.product += x * y
            self.most = max(self.most, abs(x - y))

    @property
    def sqnr_db(self) -> float:
        return 10 * math.log10(self.signal / self.noise)

    @property
    def cosine(self) -> float:
        return self.product / math.sqrt(self.signal * self.restored)
