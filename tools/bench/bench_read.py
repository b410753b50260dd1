#!/usr/bin/env python3
"""Reading weights from a local disk into host memory: bench_read (pread, io_uring), fio's sequential peak on
the same file with the same block size, and the safetensors loader of Python. Rounds take turns; medians.

bench_read.py --bin build/bench_read --file /on/the/disk/bench.safetensors [--gigabytes 4] [--python PYTHON]
Needs root (page cache) and fio; --python: one with torch and safetensors.
"""

import argparse
import json
import os
import pathlib
import statistics
import struct
import subprocess

BLOCK = 8 << 20


def make_file(path: pathlib.Path, size: int) -> None:
    """Random bytes that are a safetensors file of 64 MB tensors. A file that is there is never written to."""
    if path.exists():
        return
    tensor = 64_000_000
    header = {
        f"t{i}": {"dtype": "BF16", "shape": [tensor // 2], "data_offsets": [i * tensor, (i + 1) * tensor]}
        for i in range(size // tensor + 1)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in header:
            file.write(os.urandom(tensor))
    os.sync()


def drop_cache() -> None:
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")


def run_ours(arguments: argparse.Namespace, io: str, threads: int) -> float:
    command = [str(arguments.bin), str(arguments.file), io, str(threads), str(BLOCK >> 20)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return json.loads(done.stdout)["gb_per_s"]


def run_fio(arguments: argparse.Namespace, mode: str) -> float:
    how = {"psync": ["--ioengine=psync"], "direct": ["--ioengine=libaio", "--direct=1", "--iodepth=16"]}[mode]
    command = ["fio", "--name=read", f"--filename={arguments.file}", "--rw=read", f"--bs={BLOCK}", "--readonly"]
    command += ["--invalidate=0", "--output-format=json", *how]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return json.loads(done.stdout)["jobs"][0]["read"]["bw_bytes"] / 1e9


LOADER = """
import sys, time, torch
from safetensors import safe_open
start = time.monotonic()
count = 0
with safe_open(sys.argv[1], framework="pt") as file:
    for name in file.keys():
        tensor = file.get_tensor(name).clone()
        count += tensor.nbytes
print(count / (time.monotonic() - start) / 1e9)
"""


def run_python(arguments: argparse.Namespace) -> float:
    done = subprocess.run([arguments.python, "-c", LOADER, str(arguments.file)], capture_output=True, check=True, text=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--file", type=pathlib.Path, required=True, help="made when it is not there")
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default="")
    arguments = parser.parse_args()
    make_file(arguments.file, int(arguments.gigabytes * 1e9))
    kinds = {
        "fio psync": lambda: run_fio(arguments, "psync"),
        "fio direct": lambda: run_fio(arguments, "direct"),
        "pread x2": lambda: run_ours(arguments, "pread", 2),
        "pread x4": lambda: run_ours(arguments, "pread", 4),
        "uring x2": lambda: run_ours(arguments, "uring", 2),
    }
    if arguments.python:
        kinds["safetensors (Python)"] = lambda: run_python(arguments)
    figures: dict[str, dict[str, list[float]]] = {name: {"cold": [], "warm": []} for name in kinds}
    for _ in range(arguments.rounds):
        for name, run in kinds.items():
            drop_cache()
            figures[name]["cold"].append(run())
            subprocess.run(["cat", str(arguments.file)], stdout=subprocess.DEVNULL, check=True)  # into the page cache
            figures[name]["warm"].append(run())
    for name, rows in figures.items():
        medians = {state: round(statistics.median(values), 3) for state, values in rows.items()}
        print(json.dumps({"name": name, "gb_per_s": medians, "rounds": rows}))


if __name__ == "__main__":
    main()
