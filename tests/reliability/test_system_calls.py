#!/usr/bin/env python3
"""The k-th open, read, write, fsync, rename, unlink fails: a run ends with an exit code and one line, or is unharmed.

    python3 test_system_calls.py --bin build/t2v [--runs 60] [--shim libwrite_shim.so]

Whatever happens: no signal, no hang, no exit 1; a video is absent, the old one, or the whole new one; no line of the
results is torn; nothing else is left behind. Exits 77 (skipped) without strace.
"""
import pathlib
import random
import sys

import traced
from runs import (LOADER, OK, SMALL, Judge, end_problems, listing, parser_of, program_of, result_lines, run, scratch_folder, videos,
                  write_prompts)

SKIPPED = 77
ERRORS = {
    "openat": ["EIO", "EINTR", "ENOSPC", "EMFILE"],
    "pread64": ["EIO", "EINTR"],
    "write": ["EIO", "ENOSPC", "EINTR"],
    "pwrite64": ["EIO", "ENOSPC", "EINTR"],
    "fsync": ["EIO", "ENOSPC", "EINTR"],
    "rename": ["EIO", "ENOSPC", "EINTR"],
    "ftruncate": ["EIO"],
    "mkdir": ["EIO", "ENOSPC", "EINTR"],
    "unlink": ["EIO", "EINTR"],
    "close": ["EIO", "EINTR"],
}
NO_CPU = "failed to parse processor information"
OLD = b"an older video"
NAMES = {f"{i:05}.mp4" for i in range(3)}
# LibTorch's own: its reader of these files crashes when one reading of several fails (none at all is fine), and says exit 1
# without random numbers.
NOT_OURS = ("/sys/devices/system/cpu/", "/dev/urandom", "/proc/sys/crypto/fips_enabled")
# Beside the videos: what a failed run keeps on purpose.
KEPT = (".latents.safetensors", ".t2v-state")


class Workload:
    """Three small videos with a state after each step, or one over an older file."""

    def __init__(self, program, scratch, name):
        self.name, self.scratch, self.program = name, scratch, program
        self.count = 0
        write_prompts(scratch / "three.jsonl", 3)
        folder, result = self.run(lambda command: command)
        assert result.code == OK, result.told()
        self.whole = videos(folder)
        file = scratch / "calls"
        self.run(lambda command: traced.recorded(ERRORS, file, command))
        self.calls = traced.Calls(file)

    def command(self, folder):
        if self.name == "batch":
            return [self.program, "generate", "--prompts", "../three.jsonl", "-o", str(folder / "out"), *SMALL, "--checkpoint-every", "0.00001"]
        return [self.program, "generate", "-p", "a red circle", "--seed", "7", "-o", str(folder / "out/one.mp4"), *SMALL]

    def run(self, wrap, env=None):
        """(the folder of the videos, the result)"""
        folder = self.scratch / f"{self.name}{self.count}"
        self.count += 1
        (folder / "out").mkdir(parents=True)
        if self.name == "single":
            (folder / "out/one.mp4").write_bytes(OLD)
        elif self.count % 2:
            (folder / "out").rmdir()
        return folder / "out", run(wrap(self.command(folder)), folder, env=env)

    def problems(self, folder, result, call):
        problems = end_problems(result)
        found = videos(folder)
        if NO_CPU in result.err and result.code == OK:  # another kernel of LibTorch's, with other roundings
            found = {name: self.whole.get(name) for name in found}
        if self.name == "single":
            old = (folder / "one.mp4").exists() and (folder / "one.mp4").read_bytes() == OLD
            if not old and found != self.whole or result.code == OK and old:
                problems.append(f"the video is {found}")
            left = listing(folder) - {"one.mp4"}
        else:
            problems += self.batch_problems(folder, result, found)
            left = listing(folder) - NAMES - {"results.jsonl"}
        allowed = () if result.code == OK and call != "unlink" else KEPT
        left = {name for name in left if not name.endswith(allowed)} if allowed else left
        if left and call not in ("unlink", "openat"):  # a folder that cannot be opened cannot be cleaned
            problems.append(f"left behind: {sorted(left)}")
        if len(result.errors()) > 1 + 3 * (self.name == "batch") or not result.errors() and result.code not in (OK, LOADER) and call != "write":
            problems.append(f"{len(result.errors())} error lines")
        return problems

    def batch_problems(self, folder, result, found):
        problems = [f"{name} is torn" for name, value in found.items() if self.whole.get(name) != value]
        try:
            done = {pathlib.Path(line["output"]).name for line in result_lines(folder / "results.jsonl") if line["status"] == "done"}
        except ValueError as error:
            return problems + [f"results: {error}"]
        if not done <= set(found):
            problems.append(f"done, and not there: {done - set(found)}")
        if result.code == OK and (set(found) != NAMES or done != NAMES):
            problems.append(f"exit 0, and there are {sorted(found)}, done {sorted(done)}")
        return problems


def plans_of(workload, runs, draw):
    """(call, error, k): all calls get their share; those with few places are tried at all of them."""
    every = {call: [(call, error, k) for k in workload.calls.places(call) for error in errors] for call, errors in ERRORS.items()}
    for plans in every.values():
        draw.shuffle(plans)
    chosen = []
    while len(chosen) < runs and any(every.values()):
        for plans in every.values():
            if plans and len(chosen) < runs:
                chosen.append(plans.pop())
    return chosen


def short_writes(workload, shim, judge, runs):
    """Every n-th write takes a part only; true short writes, which injection cannot make."""
    for n in range(1, runs + 1):
        for name in ("", "results.jsonl"):
            env = {"LD_PRELOAD": str(shim), "T2V_SHORT_EVERY": str(n), "T2V_SHORT_PATH": name}
            folder, result = workload.run(lambda command: command, env)
            problems = workload.problems(folder, result, "write")
            if not name and result.code != OK and workload.name == "single":
                problems.append("short writes are no failure")
            judge.case(f"{workload.name}: every {n}. write of {name or 'all files'} is short", problems, result.told())


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--shim", type=pathlib.Path, help="libwrite_shim.so, for short writes")
    arguments = parser.parse_args()
    if not traced.usable():
        print("SKIPPED: strace cannot be used here (apt-get install strace)")
        return SKIPPED
    judge, draw = Judge("system calls"), random.Random(arguments.seed)
    codes, met = {}, 0
    with scratch_folder("calls") as scratch:
        for name, share in (("single", arguments.runs // 3), ("batch", arguments.runs - arguments.runs // 3)):
            workload = Workload(program_of(arguments), scratch, name)
            for call, error, k in plans_of(workload, share, draw):
                hits = scratch / "hits"
                folder, result = workload.run(lambda command: traced.injected(call, "error=" + error, k, command, hits))
                codes[result.code] = codes.get(result.code, 0) + 1
                found = traced.hits(hits)
                met += bool(found)
                if any(path in line for line in found for path in NOT_OURS):
                    continue
                judge.case(f"{name}: {error} at {call} {k}", workload.problems(folder, result, call), f"{found[:3]} {result.told()}")
            if arguments.shim:
                short_writes(workload, arguments.shim.resolve(), judge, max(1, arguments.runs // 60))
    judge.check("most faults are met", met > 0.8 * arguments.runs, f"{met}")
    print(f"{met} of {arguments.runs} faults were met; exit codes: " + ", ".join(f"{code}: {count} times" for code, count in sorted(codes.items(), key=str)))
    return judge.end()


if __name__ == "__main__":
    sys.exit(main())
