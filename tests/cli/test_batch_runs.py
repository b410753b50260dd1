#!/usr/bin/env python3
"""Batches of the shipped model: a failure in the middle, and runs that are killed or interrupted and resumed.

    python3 test_batch_runs.py --bin build/.../t2v [--kills 2] [--steps 12]

Resumed sets must be bit-identical to uninterrupted ones. Standard library only.
"""
import argparse
import hashlib
import json
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

FAILURES = []
PROMPTS = ["a small red circle moves right on a black background", "a large blue square on a white background",
           "a green triangle moves up on a gray background"]


def check(name, condition, detail=""):
    print(("ok   " if condition else "FAIL ") + name + ("" if condition else f": {detail}"), flush=True)
    if not condition:
        FAILURES.append(name)


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.mp4")}


def lines_of(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


class Runs:
    def __init__(self, arguments, scratch):
        self.bin, self.scratch, self.steps = arguments.bin, scratch, arguments.steps
        (scratch / "three.jsonl").write_text("".join(json.dumps({"prompt": p, "seed": i}) + "\n" for i, p in enumerate(PROMPTS)))

    def command(self, folder, *more):
        return [self.bin, "generate", "--prompts", "three.jsonl", "-o", str(folder), "--steps", str(self.steps), "-f", "5",
                "--progress", "none", *more]

    def run(self, command, **more):
        return subprocess.run(command, cwd=self.scratch, capture_output=True, text=True, timeout=280, **more)

    def stop(self, command, number, after):
        process = subprocess.Popen(command, cwd=self.scratch, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        return process.communicate(timeout=120)[1], process.returncode


def failure_in_the_middle(runs):
    scratch = runs.scratch
    # Too much guidance and too few steps leave noise, and noise makes a file that is over the limit.
    lines = [{"prompt": PROMPTS[0], "seed": 0}, {"prompt": PROMPTS[1], "seed": 1, "frames": 33, "size": "128x128", "steps": 2, "guidance_scale": 100}, {"prompt": PROMPTS[2], "seed": 2}]
    (scratch / "middle.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = runs.command(scratch / "middle")
    command[3] = "middle.jsonl"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
    result = runs.run([*command, "--preview", "look.png"], preexec_fn=limit)
    errors = [x for x in result.stderr.splitlines() if x.startswith("t2v: error:")]
    found = {x["index"]: x for x in lines_of(scratch / "middle")}
    check("a failing item in the middle", result.returncode == 9 and {i: x["status"] for i, x in found.items()} ==
          {1: "done", 2: "failed", 3: "done"}, result.stderr)
    check("its one line of error", len(errors) == 1 and "video 2 of 3" in errors[0] and found[2]["error"]["exit_code"] == 5, errors)
    check("the preview is a picture", (scratch / "look.png").read_bytes().startswith(b"\x89PNG\r\n"))
    alone = runs.run(runs.command(scratch / "unharmed"))
    whole, middle = hashes(scratch / "unharmed"), hashes(scratch / "middle")
    check("the others are what they are without it", alone.returncode == 0 and len(middle) == 2 and
          all(whole.get(name) == value for name, value in middle.items()), (whole, middle))


def killed(runs, kills):
    """SIGKILL at times that are spread over the run, each followed by --resume."""
    start = time.time()
    runs.run(runs.command(runs.scratch / "timed"))
    duration = time.time() - start
    expected = hashes(runs.scratch / "timed")
    same = 0
    for k in range(kills):
        folder = runs.scratch / f"killed{k}"
        runs.stop(runs.command(folder, "--checkpoint-every", "0.0001"), signal.SIGKILL, duration * (k + 0.7) / kills)
        result = runs.run(runs.command(folder, "--resume"))
        left = {p.name for p in folder.iterdir()} - set(expected) - {"results.jsonl"}
        good = result.returncode == 0 and hashes(folder) == expected and not left
        same += good
        if not good:
            check(f"killed after {k + 0.7:.1f}/{kills} of {duration:.1f} s", False, (result.stderr[-500:], left, hashes(folder), expected))
    check(f"{same} of {kills} killed runs were resumed bit-identically", same == kills)


def interrupted(runs):
    command = [runs.bin, "generate", "-p", PROMPTS[0], "--steps", "60", "-f", "5", "--seed", "5", "--progress", "json"]
    whole = runs.run([*command, "-o", "one.mp4"])
    check("the uninterrupted video", whole.returncode == 0, whole.stderr[-300:])
    process = subprocess.Popen([*command, "-o", "again.mp4"], cwd=runs.scratch, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        event = json.loads(line)
        if event.get("stage") == "denoise" and event.get("done", 0) >= 3:
            break
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=60)[1]
    check("SIGTERM is exit 143 and says how to go on", process.returncode == 143 and "--resume" in err, (process.returncode, err[-300:]))
    check("a state is there", (runs.scratch / ".again.mp4.t2v-state").exists() and not (runs.scratch / "again.mp4").exists())
    again = runs.run([*command, "-o", "again.mp4", "--resume", "--results", "again.jsonl"])
    same = again.returncode == 0 and (runs.scratch / "again.mp4").read_bytes() == (runs.scratch / "one.mp4").read_bytes()
    check("the resumed video is bit-identical", same, again.stderr[-300:])
    line = json.loads((runs.scratch / "again.jsonl").read_text())
    check("it went on in the middle", line["resumed_steps"] >= 3 and not (runs.scratch / ".again.mp4.t2v-state").exists(), line)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    arguments.bin = str(pathlib.Path(arguments.bin).resolve())
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="t2v-batch-"))
    try:
        runs = Runs(arguments, scratch)
        failure_in_the_middle(runs)
        killed(runs, arguments.kills)
        interrupted(runs)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
