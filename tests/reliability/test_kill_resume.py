#!/usr/bin/env python3
"""Killed, interrupted, resumed: the set of videos is that of an undisturbed run, bit for bit.

    python3 test_kill_resume.py --bin build/t2v [--runs 20]

A run is killed (SIGKILL) at a random time or at its k-th write, pwrite, fsync, rename or unlink, in a batch or inside one
video, or gets SIGTERM or SIGINT inside one video; every fourth is killed once more while it resumes. Then --resume: no
file was torn at any moment, what had its line in the results is skipped, at most one whole video is made again for each
kill, and nothing is left in the folder but videos and results.
"""
import pathlib
import random
import signal
import subprocess
import sys
import time

import traced
from runs import (OK, PATIENCE_S, SMALL, Judge, end_problems, environment, listing, parser_of, program_of, result_lines, run,
                  scratch_folder, videos, write_prompts)

CALLS = ["write", "pwrite64", "fsync", "rename", "unlink"]
SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130}


class Workload:
    """flags: of the list; its videos take a moment each, so that a kill finds some done and some not."""

    def __init__(self, program, scratch, name, prompts, steps):
        self.program, self.scratch, self.name, self.steps, self.count = program, scratch, name, steps, 0
        write_prompts(scratch / f"{name}.jsonl", prompts)
        folder = self.folder()
        result = run(self.command(folder), scratch)
        assert result.code == OK, result.told()
        self.whole, self.seconds = videos(folder), result.seconds
        assert len(self.whole) == prompts, result.told()
        if traced.usable():
            file = scratch / f"{name}.calls"
            run(traced.recorded(CALLS, file, self.command(self.folder())), scratch)
            self.calls = traced.Calls(file)

    def folder(self):
        self.count += 1
        return self.scratch / f"{self.name}{self.count}"

    def command(self, folder, *more):
        return [self.program, "generate", "--prompts", f"{self.name}.jsonl", "-o", str(folder) + "/", "--results", f"{folder}/results.jsonl",
                *SMALL, "--steps", str(self.steps), "--checkpoint-every", "0.00001", *more]


def stopped(command, scratch, number, after):
    """Starts it, sends the signal after so many seconds; the exit code, or None for a hang."""
    process = subprocess.Popen(command, cwd=scratch, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    start = time.monotonic()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None, time.monotonic() - start
    return process.returncode, time.monotonic() - start


class Stop:
    """One way to end a run: random time, k-th call, signal."""

    def __init__(self, workload, kind, draw):
        self.workload, self.kind, self.kills = workload, kind, 0
        self.after = workload.seconds * draw.uniform(0.4, 1.0)
        self.call = draw.choice(CALLS)
        self.k = draw.randint(1, max(1, workload.calls.most(self.call))) if kind == "call" else 0

    def name(self):
        how = {"call": f"SIGKILL at {self.call} {self.k}", "time": f"SIGKILL after {self.after:.2f} s"}
        return f"{self.workload.name}: " + how.get(self.kind, f"{self.kind} after {self.after:.2f} s")

    def stop(self, folder, *more):
        """Problems of the end itself; counts in `kills` when it was one and the run had not ended before."""
        command = self.workload.command(folder, *more)
        if self.kind == "call":
            result = run(traced.injected(self.call, "signal=KILL", self.k, command), self.workload.scratch)
            self.kills += result.code == -signal.SIGKILL
            return [] if result.code in (-signal.SIGKILL, OK) else end_problems(result) or [f"exit {result.code}"]
        number = signal.SIGKILL if self.kind == "time" else self.kind
        code, seconds = stopped(command, self.workload.scratch, number, self.after)
        self.kills += code != OK
        problems = [] if code in (OK, SIGNALS.get(number, -signal.SIGKILL), -number) else [f"exit {code}"]
        return problems + ([f"it took {seconds:.1f} s to end"] if seconds > 5 else [])


def torn(workload, folder):
    problems = [f"{name} is torn" for name, value in videos(folder).items() if workload.whole.get(name) != value]
    try:
        result_lines(folder / "results.jsonl")
    except ValueError as error:
        problems.append(f"results: {error}")
    return problems


def resumed(workload, folder, kills):
    """Problems of a run with --resume, and of what is then there."""
    problems = torn(workload, folder)
    before = result_lines(folder / "results.jsonl")
    told = {pathlib.Path(line["output"]).name for line in before if line["status"] in ("done", "skipped")}
    there = set(videos(folder))
    if not told <= there:
        problems.append(f"done, and not there: {sorted(told - there)}")
    result = run(workload.command(folder, "--resume"), workload.scratch)
    problems += end_problems(result) + ([] if result.code == OK else [f"resumed: exit {result.code}"])
    if videos(folder) != workload.whole:
        problems.append("the resumed set differs from the undisturbed one")
    now = result_lines(folder / "results.jsonl")[len(before):]
    redone = {pathlib.Path(line["output"]).name for line in now if line["status"] == "done"}
    if redone & told:
        problems.append(f"made again although done: {sorted(redone & told)}")
    if len(redone & there) > kills:
        problems.append(f"whole files made again: {sorted(redone & there)}")
    left = listing(folder) - set(workload.whole) - {"results.jsonl"}
    if left:
        problems.append(f"left behind: {sorted(left)}")
    return problems, result, max((line.get("resumed_steps", 0) for line in now), default=0)


def kinds_of(runs, with_strace):
    """Of 20: 10 kills in a batch, 6 inside one video, 4 signals inside one video."""
    call = "call" if with_strace else "time"
    pattern = [("batch", "time"), ("batch", call), ("one", call), ("batch", call), ("one", signal.SIGTERM), ("batch", "time"),
               ("one", "time"), ("batch", call), ("one", call), ("one", signal.SIGINT)]
    return [pattern[i % len(pattern)] for i in range(runs)]


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    draw, judge = random.Random(arguments.seed), Judge("kill and resume")
    same = kills = went_on = 0
    with scratch_folder("kill") as scratch:
        workloads = {"batch": Workload(program_of(arguments), scratch, "batch", 5, 3), "one": Workload(program_of(arguments), scratch, "one", 1, 24)}
        if not traced.usable():
            print("strace cannot be used here: all kills come at random times")
        for number, (name, kind) in enumerate(kinds_of(arguments.runs, traced.usable())):
            stop, folder = Stop(workloads[name], kind, draw), workloads[name].folder()
            folder.mkdir()
            problems = stop.stop(folder) + torn(stop.workload, folder)
            if number % 4 == 3:
                second = Stop(stop.workload, kind, draw)
                problems += second.stop(folder, "--resume")
                stop.kills += second.kills
            more, result, steps = resumed(stop.workload, folder, max(1, stop.kills))
            kills += stop.kills
            went_on += steps > 0
            same += not (problems + more)
            judge.case(stop.name(), problems + more, result.told())
    judge.check("most runs were really ended", kills > 0.5 * arguments.runs, f"{kills}")
    judge.check("some runs went on inside a video", went_on > 0 or arguments.runs < 20, f"{went_on}")
    print(f"{same} of {arguments.runs} resumed bit-identically ({kills} kills and signals met a run; {went_on} went on inside a video)")
    return judge.end()


if __name__ == "__main__":
    sys.exit(main())
