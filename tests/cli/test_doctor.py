#!/usr/bin/env python3
"""t2v doctor on this machine: every finding has a level and what to do, exit codes are 0 and 1, a broken model and planted
traps are found. Standard library only."""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
failures = []


def check(name, condition, shown=""):
    if not condition:
        failures.append(name)
        print(f"FAILED {name}: {str(shown)[:500]}")


def doctor(program, *arguments, **environment):
    env = {key: value for key, value in os.environ.items() if not key.startswith("T2V_") and key != "OMP_NUM_THREADS"}
    return subprocess.run([program, "doctor", *arguments], env=env | environment, capture_output=True, text=True, timeout=200)


def check_findings(name, result):
    findings = result["findings"]
    for finding in findings:
        check(f"{name}: finding", finding["area"] and finding["text"] and finding["level"] in ("ok", "warn", "fail"), finding)
        check(f"{name}: advice", bool(finding["advice"]) == (finding["level"] != "ok"), finding)
    check(f"{name}: ok", result["ok"] == all(finding["level"] != "fail" for finding in findings), findings)
    areas = {finding["area"] for finding in findings}
    check(f"{name}: areas", {"engine", "kernels", "processor", "memory", "videos", "cache", "encoders", "model"} <= areas, areas)


def level_of(result, area):
    return [finding["level"] for finding in result["findings"] if finding["area"] == area]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    program = str(pathlib.Path(parser.parse_args().bin).resolve())

    whole = doctor(program, "--json")
    check("whole: exit code", whole.returncode in (0, 1) and not whole.stderr, (whole.returncode, whole.stderr))
    result = json.loads(whole.stdout)
    check("whole: exit code is the verdict", whole.returncode == (0 if result["ok"] else 1))
    check_findings("whole", result)
    check("whole: shipped model", level_of(result, "model") == ["ok"], result["findings"])
    machine = result["machine"]
    check("whole: machine", machine["threads"] >= 1 and machine["peak_flop_per_s"] > 1e8 and len(machine["kernels"]) >= 4, machine)
    tiers = result["tiers"]
    check("whole: tiers", [tier["preset"] for tier in tiers] == ["preview", "standard", "high"] * 2, tiers)
    for tier in tiers:
        fits = not tier["problem"]
        check("whole: tier", (tier["verdict"] == "no") != fits and (tier["minutes"] > 0 and tier["width"] > 0) == fits, tier)
    check("whole: larger takes longer", not any(tier["problem"] for tier in tiers[:2]) and tiers[0]["minutes"] < tiers[1]["minutes"], tiers)
    check("whole: disk", result["disk"]["gb_per_s"] > 0 and result["disk"]["bytes"] > 0, result["disk"])

    minutes = {}
    for model in (str(ROOT / "models" / "shapes"), "random:1.3b"):  # a model that is named is timed too
        tiers = json.loads(doctor(program, "--json", "-m", model).stdout)["tiers"]
        minutes[model] = [tier["minutes"] for tier in tiers]
        check(f"{model}: tiers", len(tiers) == 3 and 0 < tiers[0]["minutes"] < 0.6 * tiers[1]["minutes"], tiers)
    small, large = minutes.values()
    check("a large model takes longer", large[1] > 10000 * small[1], minutes)

    with tempfile.TemporaryDirectory() as folder:
        broken = pathlib.Path(folder) / "model"
        broken.mkdir()
        (broken / "model_index.json").write_text("{")
        trapped = doctor(program, "--json", "-m", str(broken), OMP_NUM_THREADS="1", T2V_CACHE="/proc/t2v-cache")
        check("broken: exit code", trapped.returncode == 1 and not trapped.stderr, trapped.stderr)
        result = json.loads(trapped.stdout)
        check_findings("broken", result)
        check("broken: model", level_of(result, "model") == ["fail"], result["findings"])
        check("broken: threads", "warn" in level_of(result, "threads"), result["findings"])
        check("broken: cache", level_of(result, "cache") == ["warn"], result["findings"])
        check("broken: tiers", {tier["verdict"] for tier in result["tiers"]} == {"no"} and len(result["tiers"]) == 3, result["tiers"])

        text = doctor(program, "-m", str(broken))
        lines = text.stdout.splitlines()
        check("text: exit code", text.returncode == 1)
        check("text: levels", all(re.match(r"(ok|warn|fail) +\S", line) or line.startswith("      try ") for line in lines[1:lines.index("")]), lines)
        check("text: every problem has advice", sum(line.startswith("      try ") for line in lines) == sum(bool(re.match("warn|fail", line)) for line in lines), lines)

    usage = doctor(program, "--repeats", "3")
    check("usage", usage.returncode == 2, usage.stderr)
    print(f"{len(failures)} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
