#!/usr/bin/env python3
"""Runs `t2v generate ...` and prints the highest resident memory of each stage, one JSON line each.

    stage_memory.py build/t2v generate -m MODEL -p "..." -o out.mp4 ...

Needs write access to /proc/PID/clear_refs (the same user)."""

import json
import subprocess
import sys


def high_water_mark(pid):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def reset(pid):
    with open(f"/proc/{pid}/clear_refs", "w") as refs:
        refs.write("5")


def main():
    process = subprocess.Popen(sys.argv[1:] + ["--progress", "json"], stderr=subprocess.PIPE, text=True)
    peaks = {}
    stage = "start"
    for line in process.stderr:
        try:
            event = json.loads(line)
        except ValueError:
            print(line, end="", file=sys.stderr)
            continue
        try:
            peaks[stage] = max(peaks.get(stage, 0), high_water_mark(process.pid))
            reset(process.pid)
        except OSError:
            pass
        stage = event.get("stage", stage)
    code = process.wait()
    for name, peak in peaks.items():
        print(json.dumps({"stage": name, "peak_rss": peak, "gb": round(peak / 1e9, 3)}))
    return code


if __name__ == "__main__":
    sys.exit(main())
