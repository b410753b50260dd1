"""What the tests of the command line share: a folder of files to read, runs of the program with the fake engine, checks.

Each case checks the exit code, that stderr has exactly one 't2v: error:' line when it failed (none otherwise), that no
control bytes get to the terminal and that nothing is left in the folder but what is expected. Standard library only.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import tempfile

OK, BUG, USAGE, MODEL, INPUT, OUTPUT, MEMORY, DEVICE, NUMERIC = 0, 1, 2, 3, 4, 5, 6, 7, 10
RED = ["-p", "a red circle"]
BINARY = ""
FAILURES = []
PASSED = 0


class Folder:
    """A fresh folder with the files that cases read."""

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="t2v-cli-"))
        write = lambda name, data: (self.path / name).write_bytes(data)
        write("two.txt", "\ufeff# comment\r\nfirst prompt\r\n\r\n  second prompt\n".encode())
        write("empty.txt", b"")
        write("comments.txt", b"# only\n\n#comments\n")
        write("bad_utf8.txt", b"good\nbad \xff\xfe here\n")
        write("nul.txt", b"a\0b\n")
        write("utf16.txt", "red".encode("utf-16"))
        write("long.txt", b"x" * 1_100_000)
        write("one.txt", "ein roter Kreis\n".encode())
        write("good.jsonl", b'{"prompt": "a", "seed": 5}\n\n{"prompt": "b", "size": "32x32", "negative_prompt": ""}\n')
        write("bad.jsonl", b'{"prompt": "a"}\n{"prompt": "b", "steps": "many"}\nnot json\n{"seed": 1}\n')
        write("unknown.jsonl", b'{"prompt": "a", "stpes": 3}\n')
        write("output.jsonl", b'{"prompt": "a", "output": "/etc/x.mp4"}\n')
        write("lora.jsonl", b'{"prompt": "a", "lora": "one.txt"}\n')
        write("x.csv", b"prompt\nred\n")
        write("good.cfg", b'# comment\nsteps = 7\nsize = "32x32"  # small\nprompt = "from \\"config\\""\nseed = 9\nno_metadata = true\n')
        write("bad.cfg", b"steps 7\n")
        write("unknown.cfg", b"stpes = 7\n")
        write("value.cfg", b"steps = 0x7\n")
        write("open.cfg", b'prompt = "never closed\n')
        write("latents.safetensors", b"latents")
        write("clip.src", b"SOURCE 16x8 5\n")
        write("one.src", b"SOURCE 16x8 1\n")
        write("high_noise.safetensors", b"lora")
        write("b:c.safetensors", b"lora")
        write("weights.cfg", b"lora = one.txt@low:2\nlora = one.txt\nram_budget = 12GiB\nt5_cpu = true\nvae = one.txt\n")
        (self.path / "folder").mkdir()
        (self.path / "dir.mp4").mkdir()
        self.before = self.listing()
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def listing(self):
        return {str(p.relative_to(self.path)) for p in self.path.rglob("*")}


def run(arguments, folder, stdin=b"", fake="", environment=None, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("T2V_")}
    env.update({"T2V_FAKE": fake, **(environment or {})})
    feed = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    return subprocess.run([BINARY, *arguments], cwd=folder.path, env=env, capture_output=True, timeout=60, **feed, **more)


def check(name, condition, detail=""):
    global PASSED
    if condition:
        PASSED += 1
    else:
        FAILURES.append(name)
        print(f"FAIL {name}: {detail}")


def problems_of(result, code, left, before):
    """What is wrong with a run, as text; '' when all is well."""
    err = result.stderr.decode("utf-8", "replace")
    lines = [line for line in err.split("\n") if line.startswith("t2v: error:")]
    out = []
    if result.returncode != code:
        out.append(f"exit {result.returncode}, expected {code}")
    if len(lines) != (0 if code == OK else 1):
        out.append(f"{len(lines)} error lines")
    if any(c < 32 and c != 10 or c == 127 for c in result.stderr):
        out.append("control bytes on stderr")
    if code != OK and ("what():" in err or "terminate" in err):
        out.append("raw library text")
    if left != before:
        out.append(f"left behind: {sorted(left ^ before)}")
    return "; ".join(out + ([err[-300:]] if out else []))


def refused(name, arguments, code, *words, **more):
    """A command that must fail with this exit code, name these words and leave nothing behind."""
    with Folder() as folder:
        result = run(arguments, folder, **more)
        wrong = problems_of(result, code, folder.listing(), folder.before)
        err = result.stderr.decode("utf-8", "replace")
        missing = [w for w in words if w not in err]
        check(name, not wrong and not missing, wrong or f"{missing} not in: {err}")


def works(name, arguments, made=(), test=None, **more):
    """A command that must work and make exactly these files; test(result, folder) says what else must hold."""
    with Folder() as folder:
        result = run(arguments, folder, **more)
        wrong = problems_of(result, OK, folder.listing(), folder.before | set(made))
        if not wrong and test:
            wrong = "" if test(result, folder) else f"test failed: {result.stdout!r} {result.stderr!r}"
        check(name, not wrong, wrong)


def generate(*arguments):
    return ["generate", *RED, "-o", "a.mp4", *arguments]


def run_families(families):
    """The main function of a test: parses --bin, runs the families, counts the cases in the last line."""
    global BINARY
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    BINARY = str(pathlib.Path(parser.parse_args().bin).resolve())
    for family in families:
        family()
    print(f"{PASSED} passed, {len(FAILURES)} failed")
    return 1 if FAILURES else 0


def binary():
    return BINARY
