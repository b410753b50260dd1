#!/usr/bin/env python3
"""`t2v bench` with the real engine: the result's form, comparisons, refusals. Standard library only.

    python3 test_bench.py --bin build/t2v
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

FAILURES = []
PASSED = 0
TINY = ["--preset", "tiny", "--random-weights", "--device", "cpu", "--progress", "none"]


def check(name, condition, detail=""):
    global PASSED
    if condition:
        PASSED += 1
    else:
        FAILURES.append(name)
        print(f"FAIL {name}: {str(detail)[:400]}")


def is_spread(value):
    return (isinstance(value, dict) and set(value) == {"median", "low", "high", "count"} and value["count"] > 0
            and 0 <= value["low"] <= value["median"] <= value["high"])


def check_form(name, result, repeats, warmup):
    keys = ["format", "version", "t2v", "model", "device", "preset", "random_weights", "settings", "warmup", "repeats", "first_video", "total_ms",
            "first_step_ms", "step_ms", "stages_ms", "weights", "memory", "compute"]
    check(f"{name}: keys", list(result)[:len(keys)] == keys, list(result))
    check(f"{name}: format", (result["format"], result["version"]) == ("t2v-bench", 1))
    check(f"{name}: counts", (result["repeats"], result["warmup"]) == (repeats, warmup))
    settings = result["settings"]
    check(f"{name}: settings", (settings["width"], settings["height"], settings["frames"], settings["steps"]) == (64, 64, 9, 4), settings)
    check(f"{name}: total", is_spread(result["total_ms"]) and result["total_ms"]["count"] == repeats and result["total_ms"]["median"] > 0)
    check(f"{name}: first step", is_spread(result["first_step_ms"]) and result["first_step_ms"]["high"] <= result["total_ms"]["high"])
    check(f"{name}: steps", is_spread(result["step_ms"]["all"]) and result["step_ms"]["all"]["count"] == 3 * repeats, result["step_ms"])
    check(f"{name}: experts", {"high_noise", "low_noise"} <= set(result["step_ms"]))
    check(f"{name}: stages", {"text_encode", "denoise", "vae_decode"} <= set(result["stages_ms"]) and all(map(is_spread, result["stages_ms"].values())))
    stages = sum(stage["median"] for stage in result["stages_ms"].values())
    check(f"{name}: stages make the whole", 0.4 * result["total_ms"]["median"] < stages < 1.6 * result["total_ms"]["median"], (stages, result["total_ms"]))
    check(f"{name}: loading", result["first_video"]["bytes_read"] > 1e6 and is_spread(result["weights"]["gb_per_s"]))
    compute = result["compute"]
    check(f"{name}: FLOP/s", is_spread(compute["flop_per_s"]) and 0 < compute["flop_per_s"]["median"] < 2 * compute["peak_flop_per_s"], compute)
    check(f"{name}: share of peak", abs(compute["share_of_peak"] - compute["flop_per_s"]["median"] / compute["peak_flop_per_s"]) < 1e-9, compute)
    check(f"{name}: memory", result["memory"]["host_peak"] > 10e6 and result["memory"]["device_peak"] == 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    program = parser.parse_args().bin

    def bench(*arguments):
        env = {k: v for k, v in os.environ.items() if not k.startswith("T2V_")}
        return subprocess.run([program, "bench", *map(str, arguments)], capture_output=True, text=True, timeout=120, env=env, cwd=folder)

    def refused(name, code, word, *arguments):
        result = bench(*arguments)
        lines = [line for line in result.stderr.splitlines() if line.startswith("t2v: error:")]
        check(name, result.returncode == code and len(lines) == 1 and word in lines[0] and not result.stdout, (result.returncode, result.stderr))

    with tempfile.TemporaryDirectory() as folder:
        saved = pathlib.Path(folder) / "first.json"
        run = bench(*TINY, "--repeats", 2, "--json", saved)
        check("table: exit code", run.returncode == 0, run.stderr)
        check("table: words", all(word in run.stdout for word in ("milliseconds", "median", "\ntotal ", "\nload vae ", "random weights", "64x64")), run.stdout)
        first = json.loads(saved.read_text())
        check_form("file", first, 2, 1)

        run = bench(*TINY, "--repeats", 1, "--warmup", 0, "--json")
        check("stdout: only JSON", run.returncode == 0 and run.stdout.startswith("{"), run.stderr)
        check_form("stdout", json.loads(run.stdout), 1, 0)

        # A result whose times are made ten times as long: ratios of a tenth of what they would be.
        slow = json.loads(json.dumps(first))
        slow["total_ms"]["median"] *= 1000
        (pathlib.Path(folder) / "slow.json").write_text(json.dumps(slow))
        run = bench(*TINY, "--repeats", 2, "--compare", "slow.json", "--json")
        result = json.loads(run.stdout)
        expected = result["total_ms"]["median"] / slow["total_ms"]["median"]
        check("compare: ratio", abs(result["ratios"]["total_ms"] - expected) < 1e-9 and expected < 0.1, result.get("ratios"))
        check("compare: others", {"first_step_ms", "step_ms.all", "stages_ms.denoise", "memory.host_peak", "compute.flop_per_s"} <= set(result["ratios"]))
        check("compare: no warning", "not comparable" not in run.stderr, run.stderr)
        run = bench(*TINY, "--repeats", 1, "--steps", 2, "--compare", saved)
        check("compare: other settings", run.returncode == 0 and "not comparable: steps" in run.stderr and "ratio" in run.stdout, run.stderr)

        (pathlib.Path(folder) / "other.json").write_text('{"format": "x"}')
        (pathlib.Path(folder) / "later.json").write_text('{"format": "t2v-bench", "version": 2}')
        refused("unknown preset", 2, "--preset", "--preset", "huge")
        refused("preset of another shape than the model's", 2, "--random-weights", "--preset", "a14b-720p")
        refused("two models", 2, "--model", "--random-weights", "-m", folder)
        refused("no repeats", 2, "--repeats", *TINY, "--repeats", 0)
        refused("bad warmup", 2, "--warmup", *TINY, "--warmup", "x")
        refused("a prompt", 2, "--prompt", *TINY, "--prompt", "a cat")
        refused("an argument", 2, "unexpected", *TINY, "more")
        refused("size", 2, "width", *TINY, "--size", "65x64")
        refused("compare with nothing", 4, "absent.json", *TINY, "--compare", "absent.json")
        refused("compare with another file", 4, "no result of t2v bench", *TINY, "--compare", "other.json")
        refused("compare with a later version", 4, "version", *TINY, "--compare", "later.json")
        refused("JSON into nowhere", 5, "--json", *TINY, "--json", "absent/x.json")
        left = {path.name for path in pathlib.Path(folder).iterdir()}
        check("nothing else is written", left == {"first.json", "slow.json", "other.json", "later.json"}, left)

    print(f"{PASSED} checks passed, {len(FAILURES)} failed")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
