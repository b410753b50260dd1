#!/usr/bin/env python3
"""A video's own recipe makes it again, byte for byte: t2v inspect VIDEO --command is run and compared, on
the shipped model.  test_remake.py --bin PROGRAM"""

import argparse
import filecmp
import json
import os
import subprocess
import sys
import tempfile

BASE = ["--prompt", "a small red circle moves right, it's \"bright\" & $HOME", "--size", "64x64", "--frames", "5",
        "--steps", "2", "--progress", "none"]
CASES = [
    ("out.mp4", ["--codec", "libx265", "--crf", "25", "--pix-fmt", "yuv420p10le", "--encoder-preset", "fast",
                 "--watermark", "it's AI", "--negative-prompt", "", "--solver", "euler", "--shift", "4.25"]),
    ("out.mkv", ["--t-list", "1000,750.5,400", "--fps", "23.976"]),
    ("out.webp", ["--step-cache", "easy:0.2", "--steps", "9", "--crf", "30"]),
    ("out.gif", ["--preset", "draft", "--seed", "18446744073709551615", "--guidance-scale-high", "2.5"]),
    ("out.png", ["--dtype", "fp32"]),
]
failures = []


def check(name, condition, detail=""):
    print(("ok   " if condition else "FAIL ") + name, flush=True)
    if not condition:
        failures.append(name)
        print(f"     {str(detail)[:3000]}")


def same(first, second):
    if os.path.isdir(first):
        names = sorted(os.listdir(first))
        return names == sorted(os.listdir(second)) and not any(
            filecmp.cmpfiles(first, second, names, shallow=False)[1:])
    return filecmp.cmp(first, second, shallow=False)


def remake(program, name, flags, folder):
    environment = {**os.environ, "PATH": os.path.dirname(os.path.abspath(program)) + ":" + os.environ["PATH"]}
    first, second = os.path.join(folder, "first"), os.path.join(folder, "second")
    os.mkdir(first)
    os.mkdir(second)
    base = [word for word in BASE]
    if "--t-list" in flags or "--steps" in flags or "--preset" in flags:
        base[base.index("--steps"):base.index("--steps") + 2] = []
    done = subprocess.run([program, "generate", *base, *flags, "-o", name], cwd=first, env=environment, text=True,
                          capture_output=True, timeout=240, check=False)
    check(f"{name}: made", done.returncode == 0, done.stderr)
    if done.returncode:
        return
    command = subprocess.run([program, "inspect", os.path.join(first, name), "--command"], capture_output=True,
                             text=True, timeout=60, check=False)
    done = subprocess.run(["sh", "-c", command.stdout + " "], cwd=second, env=environment, text=True,
                          capture_output=True, timeout=240, check=False)
    check(f"{name}: its command works", done.returncode == 0, command.stdout + command.stderr + done.stderr)
    if done.returncode == 0:
        check(f"{name}: byte for byte the same", same(os.path.join(first, name), os.path.join(second, name)),
              command.stdout)


def facts(program, folder):
    """What the recipe tells beside flags, and that --no-metadata tells nothing."""
    recipe = {}
    for name, flags in (("told.mp4", []), ("silent.mp4", ["--no-metadata"])):
        done = subprocess.run([program, "generate", *BASE, "--seed", "3", *flags, "-o", name], cwd=folder, text=True,
                              capture_output=True, timeout=240, check=False)
        check(f"{name}: made", done.returncode == 0, done.stderr)
        done = subprocess.run([program, "inspect", name, "--json"], cwd=folder, text=True, capture_output=True,
                              timeout=60, check=False)
        recipe[name] = json.loads(done.stdout or "{}").get("recipe")
    check("nothing is told with --no-metadata", recipe["silent.mp4"] is None, recipe["silent.mp4"])
    told = recipe["told.mp4"] or {}
    check("version, seed and model are told", told.get("t2v") and told.get("seed") == 3 and told.get("model"), told)
    hashes = told.get("model_files")
    check("the model's files are told by hash",
          isinstance(hashes, dict) and hashes and all(len(value) == 16 for value in hashes.values()), told)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    program = parser.parse_args().bin
    for name, flags in CASES:
        with tempfile.TemporaryDirectory() as folder:
            remake(program, name, flags, folder)
    with tempfile.TemporaryDirectory() as folder:
        facts(program, folder)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
