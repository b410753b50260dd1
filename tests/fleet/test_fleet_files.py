#!/usr/bin/env python3
"""docs/fleet: the files parse, and what they name is what the program reads.

    python3 test_fleet_files.py --source ROOT --bin build/.../t2v
"""
import argparse
import pathlib
import re
import subprocess
import sys

FAILURES = []


def check(name, condition, detail=""):
    if not condition:
        FAILURES.append(name)
        print(f"FAIL {name}: {detail}")


def check_script(path, flags):
    text = path.read_text()
    result = subprocess.run(["bash", "-n", str(path)], capture_output=True)
    check("the Slurm script parses", result.returncode == 0, result.stderr)
    head = re.findall(r"^#SBATCH (\S+)", text, re.M)
    check("it is an array that may be requeued", {"--requeue", "--array=0-15", "--signal=B:USR1@120"} <= set(head), head)
    used = set(re.findall(r"(?<=\s)--[a-z-]+", text.split('"$T2V"')[1].split("&\n")[0]))
    check("flags of the script", used and used <= flags, used - flags)


def check_job(path, flags, names):
    text = path.read_text()
    try:
        import yaml
        job = yaml.safe_load(text)
        spec = job["spec"]
        container = spec["template"]["spec"]["containers"][0]
        env = {entry["name"]: entry["value"] for entry in container["env"]}
        check("the Job is indexed", job["kind"] == "Job" and spec["completionMode"] == "Indexed", job)
        check("as many shards as completions", env["T2V_SHARDS"] == str(spec["completions"]), env)
        check("the policy names the container", spec["podFailurePolicy"]["rules"][1]["onExitCodes"]["containerName"] == container["name"])
        used = {argument.split("=")[0] for argument in container["args"]}
    except ImportError:
        print("no yaml module: the Job is looked at as text")
        env = dict(re.findall(r'- name: (T2V_\w+).*\n\s+value: "(\d+)"', text))
        check("as many shards as completions", env["T2V_SHARDS"] == re.search(r"completions: (\d+)", text)[1], env)
        used = set(re.findall(r"- (--[a-z-]+)", text))
    check("flags of the Job", used and used <= flags, used - flags)
    named = set(re.findall(r"\b(?:T2V_SHARDS|JOB_[A-Z_]+)\b", text))
    check("variables of the Job", named == {"T2V_SHARDS", "JOB_COMPLETION_INDEX"} and named <= names, named)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--bin", required=True)
    arguments = parser.parse_args()
    fleet = arguments.source / "docs/fleet"
    names = set(re.findall(r'"([A-Z][A-Z0-9_]+)"', (arguments.source / "src/cli/shard.cpp").read_text()))
    shown = subprocess.run([arguments.bin, "generate", "--help"], capture_output=True, text=True).stdout
    flags = set(re.findall(r"--[a-z0-9-]+", shown))
    check_script(fleet / "t2v-array.sbatch", flags)
    check_job(fleet / "t2v-indexed-job.yaml", flags, names)
    print(f"{len(FAILURES)} failed")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
