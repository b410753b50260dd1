#!/usr/bin/env python3
"""Several processes at once on one output file, one folder, one results file, one list, one model cache.

    python3 test_two_writers.py --bin build/t2v [--rounds 1]

What is defined: the last one to finish wins, whole; every process succeeds; no line of the results is torn or lost; nothing
is left behind, also when one of them is killed. (A cache that four processes share: tests/remote.)
"""
import random
import signal
import subprocess
import sys
import time

from runs import OK, SMALL, Judge, digest, environment, listing, parser_of, program_of, result_lines, run, scratch_folder, videos, write_prompts


def together(commands, folder, kill_first_after=None):
    """(exit codes, standard errors)"""
    processes = [subprocess.Popen(c, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for c in commands]
    if kill_first_after is not None:
        time.sleep(kill_first_after)
        processes[0].kill()
    errors = [p.communicate(timeout=180)[1].decode("utf-8", "replace")[-300:] for p in processes]
    return [p.returncode for p in processes], errors


class Writers:
    def __init__(self, program, scratch, judge, draw):
        self.program, self.scratch, self.judge, self.draw, self.count = program, scratch, judge, draw, 0
        self.expected = {}
        for seed in (1, 2):
            result = run(self.one(seed, f"seed{seed}.mp4"), scratch)
            assert result.code == OK, result.told()
            self.expected[seed] = digest(scratch / f"seed{seed}.mp4")
        write_prompts(scratch / "list.jsonl", 4)
        start = time.monotonic()
        result = run(self.list("whole"), scratch)
        assert result.code == OK, result.told()
        self.seconds, self.whole = time.monotonic() - start, videos(scratch / "whole")

    def one(self, seed, output):
        return [self.program, "generate", "-p", "a red circle", "--seed", str(seed), "-o", output, *SMALL, "--checkpoint-every", "0.00001", "--steps", "6"]

    def list(self, folder, *more):
        return [self.program, "generate", "--prompts", "list.jsonl", "-o", str(folder) + "/", *SMALL, "--checkpoint-every", "0.00001", *more]

    def folder(self):
        self.count += 1
        path = self.scratch / f"case{self.count}"
        path.mkdir()
        return path

    def same_file(self):
        folder = self.folder()
        codes, errors = together([self.one(seed, "v.mp4") for seed in (1, 2)], folder)
        found = digest(folder / "v.mp4")
        self.judge.check("two seeds, one output file", codes == [OK, OK] and found in self.expected.values() and listing(folder) == {"v.mp4"},
                         f"{codes}, {listing(folder)}, {errors}")

    def same_folder(self, killed):
        folder = self.folder()
        after = self.draw.uniform(0.4, 1.0) * self.seconds if killed else None
        codes, errors = together([self.list(folder), self.list(folder)], self.scratch, after)
        try:
            lines = result_lines(folder / "results.jsonl")
        except ValueError as error:
            lines, errors = [], [str(error)]
        done = sorted(line["index"] for line in lines if line["status"] == "done")
        least = [1, 2, 3, 4] * (1 if killed else 2)
        name = f"two processes, one list, one folder{', one is killed' if killed else ''}"
        right = codes[1] == OK and codes[0] in ((OK, -signal.SIGKILL) if killed else (OK,)) and videos(folder) == self.whole
        self.judge.check(name, right and len(done) >= len(least) and set(done) == {1, 2, 3, 4} and (killed or done == sorted(least)), f"{codes}, {done}, {errors}")
        # What a killed process leaves goes with the next run of the same list.
        result = run(self.list(folder, "--resume"), self.scratch)
        self.judge.check(name + ": then all is there, and nothing else", result.code == OK and videos(folder) == self.whole
                         and listing(folder) == set(self.whole) | {"results.jsonl"}, f"{result.told()}, {listing(folder)}")

    def resumed_beside(self):
        """--resume while the first run still works: both end well, and temporary files of the living one stay."""
        folder = self.folder()
        codes, errors = together([self.list(folder), self.list(folder, "--resume"), self.list(folder, "--resume")], self.scratch)
        left = listing(folder) - set(self.whole) - {"results.jsonl"}
        self.judge.check("--resume beside a run that lives", codes == [OK] * 3 and videos(folder) == self.whole and not left, f"{codes}, {left}, {errors}")

    def same_results(self):
        """Two lists with one results file."""
        folder = self.folder()
        codes, errors = together([self.list(folder / name, "--results", str(folder / "all.jsonl")) for name in "ab" if not (folder / name).mkdir()], self.scratch)
        try:
            lines = [line["output"] for line in result_lines(folder / "all.jsonl")]
        except ValueError as error:
            lines = [str(error)]
        self.judge.check("two folders, one results file", codes == [OK, OK] and len(set(lines)) == len(lines) == 8, f"{codes}, {lines}, {errors}")


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    judge = Judge("two writers")
    with scratch_folder("writers") as scratch:
        writers = Writers(program_of(arguments), scratch, judge, random.Random(arguments.seed))
        for _ in range(arguments.rounds):
            writers.same_file()
            writers.same_folder(killed=False)
            writers.same_folder(killed=True)
            writers.resumed_beside()
            writers.same_results()
    return judge.end()


if __name__ == "__main__":
    sys.exit(main())
