#!/usr/bin/env python3
"""The parts of tools/gpu_check.sh, which tells how to use it. Standard library and numpy."""
import os
import pathlib
import subprocess
import sys
import time

from bench_part import bench_core, bench_more
from build_part import build
from parity_part import parity
from runner import Runner
from summary import write_summary
from test_part import sanitise, test

# (part, seconds at most). Together less than T2V_GPU_CHECK_SECONDS; what one part leaves, the last one gets.
PLAN = [("build", 240), ("test", 90), ("bench", 150), ("parity", 75), ("sanitise", 110), ("more", 600)]
WORK = {"build": build, "test": test, "bench": bench_core, "more": bench_more, "parity": parity, "sanitise": sanitise}


def source_revision() -> str:
    try:
        return subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def main() -> int:
    part, out = sys.argv[1], pathlib.Path(sys.argv[2])
    if part not in ("all", *(name for name, _ in PLAN)):
        print(f"gpu_check: unknown part '{part}', expected build, test, sanitise, parity, bench or all", file=sys.stderr)
        return 2
    folder = pathlib.Path(os.environ.get("T2V_GPU_BUILD", "build-gpu"))
    total = float(os.environ.get("T2V_GPU_CHECK_SECONDS", "570"))
    deadline = time.monotonic() + total
    runner = Runner(folder.resolve(), out, dry=os.environ.get("T2V_GPU_CHECK_DRY") == "1", deadline=deadline)
    wanted = [name for name, _ in PLAN] if part == "all" else ["bench", "more"] if part == "bench" else [part]
    failed = False
    for name, seconds in PLAN:
        if name not in wanted:
            continue
        with runner.part(name, seconds if part == "all" else total):
            try:
                WORK[name](runner)
            except Exception as error:  # the other parts are still worth having
                runner.row("part", "failed", note=f"{type(error).__name__}: {error}")
        failed = runner.part_failed() or failed
        write_summary(runner, source_revision())
        if name == "build" and runner.part_failed():
            break
    print((out / "gpu_check.md").read_text())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
