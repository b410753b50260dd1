#!/usr/bin/env python3
"""Time per chunk and peak memory of a causal run, on patterned weights of the 1.3B width and a small picture (the text
encoder and the VAE are the example model's): the time should stay flat from the chunk on with which the window is full,
and memory should not depend on the length.

    tools/bench/bench_causal.py --bin build/t2v [--blocks 30] [--size 128x128] [--chunks 14] [--kv int8]
                                [--rounds 7]

Each round is a run of its own; of each chunk the median over the rounds is shown, so that what else the machine does counts less.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/memory"))
import wide_model  # noqa: E402

FIRST_FULL = 7  # the window of 21 latent frames is full with the chunk of this index and all later ones


def run(arguments, folder, chunks):
    """(milliseconds of each chunk but the last, peak resident bytes)"""
    profile = folder / "profile.json"
    command = [arguments.bin, "generate", "-m", str(folder / "model"), "--force-causal", "--causal", arguments.profile, "--size",
               arguments.size, "--frames", str(4 * (3 * chunks - 1) + 1), "--seed", "1", "--kv", arguments.kv,
               "--profile", str(profile), "-q", "-o", str(folder / "out.rgb"), "-p", "a test"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit("the run failed: " + " ".join(command))
    report = json.loads(profile.read_text())
    report = report[0] if isinstance(report, list) else report
    times = [step["wall_ms"] for step in report["steps"]]
    passes = (len(times) + 1) // chunks  # the last chunk has no clean pass
    return [sum(times[i * passes:(i + 1) * passes]) for i in range(chunks - 1)], usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--blocks", type=int, default=30)
    parser.add_argument("--profile", default="self-forcing")
    parser.add_argument("--size", default="128x128")
    parser.add_argument("--chunks", type=int, default=14)
    parser.add_argument("--kv", default="auto")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        (pathlib.Path(temporary) / "model").mkdir()
        wide_model.write_model(str(ROOT / "models/shapes"), str(pathlib.Path(temporary) / "model"), size=1536, ffn=8960,
                               blocks=arguments.blocks)
        rounds = [run(arguments, pathlib.Path(temporary), arguments.chunks) for _ in range(arguments.rounds)]
    chunk_ms = [statistics.median(times) for times in zip(*(times for times, _ in rounds), strict=True)]
    peak = max(peak for _, peak in rounds)
    for index, ms in enumerate(chunk_ms):
        print(f"chunk {index:3d}  {ms:9.1f} ms")
    full = chunk_ms[FIRST_FULL:]
    if len(full) >= 2:
        middle = statistics.median(full)
        print(f"from chunk {FIRST_FULL} on: median {middle:.1f} ms, {min(full) / middle - 1:+.1%} to "
              f"{max(full) / middle - 1:+.1%}; first half to second half "
              f"{statistics.median(full[len(full) // 2:]) / statistics.median(full[:len(full) // 2]) - 1:+.1%}")
    print(f"peak resident memory {peak / 1e9:.3f} GB")


if __name__ == "__main__":
    main()
