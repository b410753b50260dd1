#!/usr/bin/env python3
"""Prompts in one batch against as many runs of `t2v generate`: wall and CPU time, and their ratio.

    python3 batch_speed.py --bin build/release/t2v [--prompts 50] [--steps 4] [--size 64x64] [--frames 5]

The shipped model, fresh folders, files as people get them. The single runs of the same prompts come first. Exit code 1 when
the batch is not --at-least times (3) faster.
"""
import argparse
import json
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

SHAPES, COLOURS, WAYS = ["circle", "square", "triangle"], ["red", "blue", "green", "yellow", "white"], ["left", "right", "up", "down"]


def prompts(count):
    return [f"a small {COLOURS[i % 5]} {SHAPES[i % 3]} moves {WAYS[i % 4]} on a black background" for i in range(count)]


def timed(work):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    work()
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--steps", default="4")
    parser.add_argument("--size", default="64x64")
    parser.add_argument("--frames", default="5")
    parser.add_argument("--at-least", type=float, default=3)
    arguments = parser.parse_args()
    t2v = str(pathlib.Path(arguments.bin).resolve())
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="t2v-batch-speed-"))
    flags = ["--steps", arguments.steps, "-s", arguments.size, "-f", arguments.frames, "-q"]
    lines = prompts(arguments.prompts)
    (scratch / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p, "seed": i}) + "\n" for i, p in enumerate(lines)))

    def run(*command):
        subprocess.run([t2v, "generate", *command, *flags], cwd=scratch, check=True, stdout=subprocess.DEVNULL)

    def singles():
        for i, prompt in enumerate(lines):
            run("-p", prompt, "--seed", str(i), "-o", f"single-{i:04}.mp4")

    try:
        run("-p", lines[0], "--seed", "0", "-o", "warm-up.mp4")
        single, single_cpu = timed(singles)
        (scratch / "batch").mkdir()
        batch, batch_cpu = timed(lambda: run("--prompts", "prompts.jsonl", "-o", "batch/{index}.mp4"))
        same = sum((scratch / f"single-{i:04}.mp4").read_bytes() == (scratch / f"batch/{i + 1:04}.mp4").read_bytes() for i in range(len(lines)))
        print(f"{len(lines)} prompts, {arguments.size}, {arguments.frames} frames, {arguments.steps} steps")
        print(f"separate runs: {single:.1f} s wall, {single_cpu:.1f} s CPU")
        print(f"one batch:     {batch:.1f} s wall, {batch_cpu:.1f} s CPU")
        print(f"faster: {single / batch:.2f} x wall, {single_cpu / batch_cpu:.2f} x CPU; {same} of {len(lines)} files are byte-identical")
        return 0 if single / batch >= arguments.at_least else 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
