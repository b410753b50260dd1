"""What the tests of `t2v quantize` share: runs of the program, reading what it wrote, models to quantise."""

import array
import json
import os
import pathlib
import re
import struct
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/formats"))

import containers  # noqa: E402
import row_math  # noqa: E402
from containers import Stored  # noqa: E402
from suite import require  # noqa: E402

TRANSFORMER_LAYERS = re.compile(r"blocks\.\d+\.((self|cross)_attn\.[qkvo]|ffn\.[02])\.weight")
TEXT_LAYERS = re.compile(r"blocks\.\d+\.(attn\.[qkvo]|ffn\.(gate\.0|fc1|fc2))\.weight")
TRANSFORMER = "diffusion_pytorch_model.safetensors"


class Program:
    def __init__(self, path: pathlib.Path):
        self.path = path.resolve()
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("T2V_")}

    def command(self, *arguments) -> list[str]:
        return [str(self.path), *map(str, arguments)]

    def run(self, *arguments, **more) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=300, env=self.environment, **more
        )

    def quantise(self, model, target, *flags, **more) -> dict:
        """The report of a run that must work."""
        report = pathlib.Path(str(target) + ".json")
        result = self.run("quantize", model, "-o", target, "--report", report, "--progress", "none", *flags, **more)
        require(result.returncode == 0, f"exit code {result.returncode}: {result.stderr.strip()[-600:]}")
        return json.loads(report.read_text())

    def refused(self, code: int, words: list[str], *arguments, **more) -> None:
        result = self.run(*arguments, **more)
        missing = [word for word in words if word not in result.stderr]
        lines = [line for line in result.stderr.splitlines() if line.startswith("t2v: error:")]
        require(
            result.returncode == code and not missing and len(lines) == 1,
            f"exit code {result.returncode}, expected {code}; {missing} not in: {result.stderr.strip()[-600:]}",
        )

    def dump(self, model, scratch: pathlib.Path, *flags, prompt: str = "a small red circle") -> dict[str, Stored]:
        """Every tensor of a short run, in fp32 without --dtype."""
        path = scratch / "dump.safetensors"
        path.unlink(missing_ok=True)
        result = self.run(
            "generate", "-m", model, "-p", prompt, "-n", "", "-s", "32x32", "-f", "5", "--steps", "2",
            "--shift", "3", "--guidance-scale", "2", "--seed", "7", "--device", "cpu",
            "--progress", "none", "--dump", path, "-o", scratch / "x.gif", *([] if "--dtype" in flags else ["--dtype", "fp32"]), *flags,
        )  # fmt: skip
        require(result.returncode == 0, f"generate: exit code {result.returncode}: {result.stderr.strip()[-600:]}")
        return containers.read_safetensors(path)


def read_header(path: pathlib.Path) -> tuple[dict, dict[str, str]]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return header, header.pop("__metadata__", {})


def transformer_of(folder: pathlib.Path, expert: str = "") -> pathlib.Path:
    """The file of the (high-noise) transformer in a folder that quantize wrote."""
    names = {"": ["transformer", "high_noise_model", "."], "low": ["transformer_2", "low_noise_model"]}[expert]
    return next(folder / name / TRANSFORMER for name in names if (folder / name / TRANSFORMER).is_file())


def text_encoder_of(folder: pathlib.Path) -> pathlib.Path:
    places = [folder / "text_encoder/model.safetensors", folder / "models_t5_umt5-xxl-enc-int8.safetensors"]
    return next(path for path in places if path.is_file())


def rows_of(values: array.array, shape: tuple[int, ...]) -> list[array.array]:
    width = shape[1]
    return [values[i * width : (i + 1) * width] for i in range(shape[0])]


def check_layer(layer: dict, source: array.array, file: dict[str, Stored], asked: int) -> None:
    """One layer, bit by bit, and the report's numbers. source: its values in fp32, row-major."""
    name = layer["layer"]
    weight, scales = file[name + ".weight"], array.array("f", file[name + ".weight_scale"].data)
    group = row_math.group_of(asked, weight.shape[1])
    require(weight.dtype == "I8" and file[name + ".weight_scale"].shape == (weight.shape[0], 1), f"{name}: wrong shape")
    require(layer["rotation"] == group and layer["shape"] == list(weight.shape), f"{name}: {layer}")
    errors = row_math.Errors()
    stored = rows_of(array.array("b", weight.data), weight.shape)
    for index, row in enumerate(rows_of(source, weight.shape)):
        q, scale = row_math.quantise_row(row, group)
        require(q == stored[index] and scale == scales[index], f"{name}: row {index} is not as the specification says")
        errors.add(row, q, scale, group)
    for key, expected, near in (
        ("sqnr_db", errors.sqnr_db, 1e-4),
        ("cosine", errors.cosine, 1e-7),
        ("max_error", errors.most, 1e-3 * errors.most),
    ):
        require(abs(layer[key] - expected) <= near, f"{name}: {key} is {layer[key]}, expected {expected}")
    require(layer["bytes_after"] == len(weight.data) + 4 * weight.shape[0], f"{name}: bytes_after")


def relative(got: Stored, expected: Stored) -> float:
    a, b = containers.load(got).values, containers.load(expected).values
    size = sum(y * y for y in b) ** 0.5
    return sum((x - y) ** 2 for x, y in zip(a, b)) ** 0.5 / size


def least_row_cosine(got: Stored, expected: Stored, rows: int) -> float:
    """Of the first rows of [1, L, C]."""
    width = got.shape[-1]
    a, b = containers.load(got).values, containers.load(expected).values
    least = 1.0
    for row in range(rows):
        x, y = a[row * width : (row + 1) * width], b[row * width : (row + 1) * width]
        product = sum(u * v for u, v in zip(x, y))
        least = min(least, product / (sum(u * u for u in x) * sum(v * v for v in y)) ** 0.5)
    return least


def folder_bytes(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
