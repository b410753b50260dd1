"""What the tests of reliability share: runs of the program with a time limit, judgements of what they leave, counting.

Videos are compared byte for byte with those of an undisturbed run, which is more than that they decode. Standard library only.
"""
import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

OK, BUG, USAGE, MODEL, INPUT, OUTPUT, MEMORY, DEVICE, REMOTE, FAILED, NUMERIC = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
LOADER = 127  # of the system's: a shared library of the program could not be read
NOT_LOADED = "cannot load a part of t2v"  # the same, of a part that the program loads itself
PATIENCE_S = 120  # of a run that takes a second: longer is a hang
SMALL = ["-s", "16x16", "-f", "1", "--steps", "2", "--threads", "1", "--progress", "none", "--io", "pread"]


class Result:
    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err.decode("utf-8", "replace"), seconds

    def errors(self):
        return [line for line in self.err.splitlines() if line.startswith("t2v: error:")]

    def told(self):
        return f"exit {self.code} after {self.seconds:.1f} s: {self.err.strip()[-700:]}"


def environment(more=None):
    env = {name: value for name, value in os.environ.items() if not name.startswith("T2V_")}
    return {**env, **(more or {})}


def run(command, folder, patience=PATIENCE_S, env=None, **more):
    """Result of a finished run; its code is None when it did not end in time."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=environment(env), **streams)
    try:
        out, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        return Result(None, out or b"", err or b"", time.monotonic() - start)
    return Result(process.returncode, out or b"", err or b"", time.monotonic() - start)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def videos(folder):
    """{name: SHA-256} of the videos that are there under their own names."""
    return {p.name: digest(p) for p in sorted(folder.glob("[!.]*.mp4"))} if folder.exists() else {}


def listing(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()} if folder.exists() else set()


def result_lines(path):
    """The lines of a results file; ValueError when one is torn."""
    if not path.exists():
        return []
    text = path.read_text()
    if text and not text.endswith("\n"):
        raise ValueError(f"the last line has no end: {text[-80:]!r}")
    return [json.loads(line) for line in text.splitlines() if line]


def end_problems(result):
    """What no run may end with, whatever was done to it: a list of texts."""
    problems = []
    if result.code is None:
        problems.append("it hangs")
    elif result.code < 0 or result.code > 128 + 64:
        problems.append("it ended by a signal")
    elif result.code == BUG and NOT_LOADED not in result.err:
        problems.append("exit 1 means a bug")
    if "what():" in result.err or "terminate called" in result.err:
        problems.append("raw text of a library")
    return problems


class Judge:
    """Counts cases; prints those that fail."""

    def __init__(self, family):
        self.family, self.tried, self.failures = family, 0, []

    def case(self, name, problems, detail=""):
        self.tried += 1
        if problems:
            self.failures.append(name)
            print(f"FAIL {name}: {'; '.join(problems)}; {detail}", flush=True)

    def check(self, name, condition, detail=""):
        self.case(name, [] if condition else ["not so"], detail)

    def end(self):
        print(f"{self.family}: {self.tried} tried, {len(self.failures)} failed", flush=True)
        return 1 if self.failures or not self.tried else 0


def parser_of(text):
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--bin", required=True, help="the program")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn by chance")
    return parser


def program_of(arguments):
    return str(pathlib.Path(arguments.bin).resolve())


@contextlib.contextmanager
def scratch_folder(name):
    path = pathlib.Path(tempfile.mkdtemp(prefix=f"t2v-{name}-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def write_prompts(path, count, texts=None, **fields):
    """A prompt file of small videos with seeds of their own, and with as many different texts (without: all differ)."""
    shapes, colours = ["circle", "square", "triangle", "star"], ["red", "blue", "green", "yellow", "white"]
    lines = []
    for i in range(count):
        kind = i % (texts or count)
        text = f"a {colours[kind % 5]} {shapes[kind % 4]} number {kind} on a black background"
        lines.append(json.dumps({"prompt": text, "seed": 100 + i, "output": f"{i:05}.mp4", **fields}) + "\n")
    path.write_text("".join(lines))
