#!/usr/bin/env python3
"""Batches of `t2v generate` against the fake engine: prompt files, results.jsonl, failures, --resume, --shard.

    python3 test_batch.py --bin build/.../fake/t2v
"""
import json
import os
import signal
import subprocess
import sys
import time

from cli_harness import INPUT, OK, OUTPUT, USAGE, Folder, binary, check, problems_of, refused, run, run_families, works

FAILED = 9


def batch(*arguments):
    return ["generate", "--prompts", "batch.txt", "-o", "out", "--progress", "none", *arguments]


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class Batch(Folder):
    """A folder with batch.txt and a run of it."""

    def __init__(self, prompts, *arguments, **more):
        self.prompts, self.arguments, self.more = prompts, arguments, more

    def __enter__(self):
        super().__enter__()
        (self.path / "batch.txt").write_text(self.prompts)
        self.run()
        return self

    def run(self, *arguments, **more):
        self.result = run(batch(*self.arguments, *arguments), self, **{**self.more, **more})
        self.errors = [x for x in self.result.stderr.decode().splitlines() if x.startswith("t2v: error:")]
        return self.result

    def lines(self, name="out/results.jsonl"):
        return lines_of(self.path / name)

    def statuses(self):
        return [line["status"] for line in self.lines()]

    def videos(self):
        return {p.name: p.read_bytes() for p in (self.path / "out").iterdir() if p.suffix == ".mp4"}


def failure_cases():
    with Batch("red\nfail device\nblue\n") as b:
        check("a failure in the middle", b.result.returncode == FAILED and b.statuses() == ["done", "failed", "done"], b.result.stderr)
        check("each failure has its line", len(b.errors) == 1 and "video 2 of 3" in b.errors[0] and "line 2" in b.errors[0], b.errors)
        bad = b.lines()[1]
        check("an error in the results", bad["error"] == {"kind": "device", "exit_code": 7, "message": "no device: by prompt"}, bad)
        good = b.lines()[0]
        check("fields of a line", {"index", "output", "seed", "prompt", "recipe_hash", "total_ms", "first_step_ms", "stages", "host_peak",
                                   "together", "retries", "resumed_steps", "time"} <= set(good) and good["index"] == 1
              and len(good["recipe_hash"]) == 64, good)
        check("stdout has the finished files", b.result.stdout.decode().split() == [line["output"] for line in b.lines() if line["status"] == "done"])
    with Batch("red\nfail device\nblue\n", "--fail-fast") as b:
        check("--fail-fast", b.result.returncode == FAILED and b.statuses() == ["done", "failed"], b.result.stderr)
    with Batch("flaky\nfail input\nnever again\nfail timeout\n", "--retries", "2") as b:
        lines = {line["prompt"]: line for line in b.lines()}
        check("--retries", b.result.returncode == FAILED and lines["flaky"]["status"] == "done" and lines["flaky"]["retries"] == 1
              and lines["fail input"]["retries"] == 0 and lines["fail timeout"]["retries"] == 2, b.lines())
        check("what never comes again has failed", lines["never again"]["status"] == "failed" and len(lines) == 4, b.lines())
    with Batch("red\nblue\n", "-q") as b:
        check("quiet", b.result.stderr == b"" and b.statuses() == ["done"] * 2, b.result.stderr)
    with Batch("red\nblue\n") as b:
        told = b.result.stderr.decode()
        check("summary", "2 videos: 2 done" in told and "videos an hour" in told and "results in out/results.jsonl" in told, told)
    with Batch("red\nblue\n", fake="sink_fails") as b:
        check("latents of a batch are rescued", b.result.returncode == FAILED and "t2v decode" in b.errors[0] and len(b.errors) == 2, b.errors)
    with Batch("a red circle\na violent gun\nblue\n", "--block-list", "one.txt") as b:
        (b.path / "one.txt").write_text("gun\n")
        b.run()
        check("refused prompts", b.result.returncode == FAILED and b.statuses()[-3:] == ["refused", "done", "done"], b.result.stderr)


def resume_cases():
    with Batch("red\nblue\n") as b:
        before, seeds = b.videos(), [line["seed"] for line in b.lines()]
        b.run("--resume")
        check("--resume skips", b.result.returncode == OK and b.statuses()[2:] == ["skipped"] * 2 and b.videos() == before, b.statuses())
        name = next(iter(sorted(before)))
        (b.path / "out" / name).write_bytes(before[name][:-3])
        b.run("--resume")
        check("a torn file is made again", b.statuses()[-2:] == ["skipped", "done"] and b.videos() == before, b.statuses())
        (b.path / "out" / name).write_bytes(before[name].replace(b"frame", b"FRAME", 1))
        b.run("--resume")
        check("a changed file is made again", b.videos() == before, b.statuses())
        os.utime(b.path / "out" / name)
        b.run("--resume")
        check("a file of another time is looked into", b.statuses()[-2:] == ["skipped"] * 2, b.statuses())
        b.run("--resume", "--steps", "4")
        check("another recipe is made", b.statuses()[-2:] == ["done"] * 2 and seeds == [line["seed"] for line in b.lines()[-2:]], b.statuses())
        (b.path / "out/results.jsonl").unlink()
        b.run("--resume", "--steps", "4", "--seed", "1")
        before = b.videos()
        (b.path / "out/results.jsonl").unlink()
        b.run("--resume", "--steps", "4", "--seed", "1")
        check("without results the recipe in the file tells", b.statuses() == ["skipped"] * 2 and b.videos() == before, b.statuses())
    with Batch("red\nblue\n", "--seed", "3") as b:
        b.run()
        check("without --resume all is made again", b.statuses() == ["done"] * 4 and len(b.videos()) == 2)


def kill_cases():
    """Killed at any time: seeds that nobody asked for stay, no line is torn."""
    for wait in [0.3, 0.9]:
        with Batch("", "--dry-run") as b:
            (b.path / "batch.txt").write_text("red\nblue\ngreen\n")
            env = {**os.environ, "T2V_FAKE": "slow"}
            process = subprocess.Popen([binary(), *batch()], cwd=b.path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(wait)
            process.kill()
            process.wait()
            remembered = json.loads((b.path / "out/.results.jsonl.t2v-seeds").read_text())
            b.arguments = ()
            b.run("--resume")
            first = {line["index"]: line["seed"] for line in b.lines()}
            check(f"killed after {wait} s", b.result.returncode == OK and len(b.videos()) == 3 and len(set(first.values())) == 3, b.statuses())
            check("the seeds were kept", isinstance(remembered["base_seed"], int) and not (b.path / "out/.results.jsonl.t2v-seeds").exists())
            b.run("--resume")
            check("then all is there", b.statuses()[-3:] == ["skipped"] * 3, b.statuses())
    with Batch("red\nblue\n", "--dry-run") as b:
        env = {**os.environ, "T2V_FAKE": "slow"}
        process = subprocess.Popen([binary(), *batch("--steps", "50")], cwd=b.path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.7)
        process.send_signal(signal.SIGTERM)
        err = process.communicate(timeout=20)[1].decode()
        check("SIGTERM", process.returncode == 143 and "0 of 2 videos are done" in err and b.lines()[0]["status"] == "interrupted", err)


def shard_cases():
    prompts = "".join(f"prompt {i}\n" for i in range(7))
    with Batch(prompts, "--shard", "0/3", "--seed", "1") as b:
        b.run("--shard", "1/3")
        b.run("--shard", "auto", environment={"JOB_COMPLETION_INDEX": "2", "JOB_COMPLETIONS": "3"})
        found = {i: [line["index"] for line in b.lines(f"out/results-{i}-of-3.jsonl")] for i in range(3)}
        check("shards", found == {0: [1, 4, 7], 1: [2, 5], 2: [3, 6]} and len(b.videos()) == 7, found)
        b.run("--shard", "auto", "--resume", environment={"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "4"})
        check("a shard that runs again", [x["status"] for x in b.lines("out/results-0-of-3.jsonl")] == ["done"] * 3 + ["skipped"] * 3)
        b.run("--shard", "9/20")
        check("a shard without videos", b.result.returncode == OK and b.result.stdout == b"", b.result.stderr)
    for value in ["3/3", "x", "auto", ""]:
        refused(f"--shard {value!r}", ["generate", "-p", "red", "-o", "a.mp4", "--shard", value], USAGE, "--shard")


def two_writers():
    with Batch("".join(f"prompt {i}\n" for i in range(40)), "--seed", "1", "--dry-run") as b:
        runs = [subprocess.Popen([binary(), *batch("--seed", "1")], cwd=b.path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(3)]
        errors = [r.communicate(timeout=60)[1] for r in runs]
        check("three processes, one folder", all(r.returncode == OK for r in runs) and len(b.lines()) == 120 and len(b.videos()) == 40, errors)
        check("nothing is left of them", {p.name for p in (b.path / "out").iterdir()} == set(b.videos()) | {"results.jsonl"})


def prompt_file_cases():
    def file_refused(name, file, data, *words, code=INPUT):
        with Folder() as folder:
            (folder.path / file).write_bytes(data)
            before = folder.listing()
            result = run(["generate", "--prompts", file, "-o", "out", "--progress", "none"], folder)
            wrong = problems_of(result, code, folder.listing(), before)
            err = result.stderr.decode("utf-8", "replace")
            check(name, not wrong and all(word in err for word in words), wrong or err)

    def file_works(name, file, data, prompts):
        with Folder() as folder:
            (folder.path / file).write_bytes(data)
            result = run(["generate", "--prompts", file, "-o", "out", "--progress", "none"], folder)
            found = [line["prompt"] for line in lines_of(folder.path / "out/results.jsonl")] if result.returncode == OK else result.stderr
            check(name, found == prompts, found)

    file_works("csv", "a.csv", b'\xef\xbb\xbfprompt,seed\r\n"two\r\nlines, ""q""",5\r\n# no\r\nplain,\r\n', ['two\r\nlines, "q"', "plain"])
    file_works("jsonl comments", "a.jsonl", b'# no\r\n{"prompt": "a"}\r\n\r\n  # no\n{"prompt": "b"}', ["a", "b"])
    file_works("a prompt of 1 MB", "a.txt", b"x" * 999_999 + b"\nb\n", ["x" * 999_999, "b"])
    file_refused("a longer line", "a.txt", b"a\n" + b"x" * 1_000_001 + b"\n", "line 2", "too long")
    file_refused("a longer csv field", "a.csv", b"prompt\n" + b"x" * 1_000_001, "line 2", "too long")
    file_refused("a million fields", "a.csv", b"prompt" + b"," * 1_000_000, "line 1", "1000 fields")
    file_refused("deep JSON", "a.jsonl", b'{"prompt": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 1", "'x'")
    file_refused("JSON that never ends", "a.jsonl", b"[" * 1_000_000, "line 1")
    file_refused("NUL", "a.csv", b"prompt\nred\nbl\0ue\n", "NUL", "line 3")
    file_refused("NUL in JSON", "a.jsonl", b'{"prompt": "a", "latents": "x\\u0000y"}', "NUL", "'latents'", "line 1")
    file_refused("invalid UTF-8", "a.jsonl", b'{"prompt": "a"}\n{"prompt": "\xff"}\n', "offset 28", "line 2")
    file_refused("a lone surrogate", "a.jsonl", b'{"prompt": "\\ud800"}', "line 1")
    file_refused("open quote", "a.csv", b'prompt\n"red\nblue\n', "line 2", "quote")
    file_refused("no prompt column", "a.csv", b"text\nred\n", "prompt")
    file_refused("unknown column", "a.csv", b"prompt,stpes\nred,3\n", "line 1", "--steps")
    file_refused("wrong number of fields", "a.csv", b"prompt,seed\nred\n", "line 2", "1 fields")
    file_refused("bad value", "a.csv", b"prompt,steps\nred,3\nblue,many\n", "line 3", "--steps")
    file_refused("a million bad lines", "a.jsonl", b"x\n" * 1_000_000, "line 1", "more")
    file_refused("a header alone", "a.csv", b"prompt,seed\n", "empty")
    for name in ["/etc/x.mp4", "../x.mp4", "a/../../x.mp4", "folder/", "a\nb.mp4"]:
        file_refused(f"output {name!r}", "a.jsonl", json.dumps({"prompt": "a", "output": name}).encode(), "line 1", "output")
    file_refused("output of unknown suffix", "a.jsonl", b'{"prompt": "a", "output": "x.exe"}\n{"prompt": "b"}', ".exe", code=USAGE)
    file_refused("one output twice", "a.csv", b"prompt,output\na,x.mp4\nb,./x.mp4\n", "same name", code=USAGE)
    with Folder() as folder:
        (folder.path / "a.csv").write_text("prompt,output,seed\na,x.mp4,7\nb,{slug}-{seed}.gif,8\n")
        result = run(["generate", "--prompts", "a.csv", "-o", "folder"], folder)
        check("output fields", result.stdout.split() == [b"folder/x.mp4", b"folder/b-8.gif"], result.stderr)
        os.symlink("/tmp", folder.path / "folder/link")
        (folder.path / "a.csv").write_text("prompt,output\na,link/x.mp4\n")
        result = run(["generate", "--prompts", "a.csv", "-o", "folder"], folder)
        check("output through a link", result.returncode == INPUT and b"link" in result.stderr, result.stderr)


def other_cases():
    with Batch("red\nblue\n", "--results", "all.jsonl", "--preview", "{index}.png") as b:
        check("--results", len(b.lines("all.jsonl")) == 2 and not (b.path / "out/results.jsonl").exists(), b.result.stderr)
        check("--preview", (b.path / "0002.png").read_text() == "PICTURE 4x2 3", b.result.stderr)
    works("results of one video", ["generate", "-p", "red", "-o", "a.mp4", "--results", "r.jsonl"], ["a.mp4", "r.jsonl"],
          lambda r, f: lines_of(f.path / "r.jsonl")[0]["status"] == "done")
    works("one video again", ["generate", "-p", "red", "-o", "a.mp4", "--resume", "--timeout", "3.5", "--checkpoint-every", "0.5"], ["a.mp4"])
    refused("preview of unknown suffix", ["generate", "-p", "red", "-o", "a.mp4", "--preview", "x.bmp"], USAGE, "--preview")
    refused("preview in no folder", ["generate", "-p", "red", "-o", "a.mp4", "--preview", "no/x.png"], OUTPUT, "--preview")
    refused("results in no folder", ["generate", "-p", "red", "-o", "a.mp4", "--results", "no/x"], OUTPUT, "--results")
    refused("results onto the video", ["generate", "-p", "red", "-o", "a.mp4", "--results", "a.mp4"], USAGE, "same file")
    for flag, values in {"--retries": ["-1", "x", "1.5"], "--timeout": ["0", "-1", "nan", "x"], "--checkpoint-every": ["0", "inf", "x"]}.items():
        for value in values:
            refused(f"{flag} {value}", ["generate", "-p", "red", "-o", "a.mp4", flag, value], USAGE, flag)
    with Batch("red\nblue\n", "--results", "/dev/full") as b:
        check("results on a full disk", b.result.returncode == OUTPUT and len(b.videos()) == 2 and "--results" in b.errors[0], b.result.stderr)


if __name__ == "__main__":
    sys.exit(run_families([failure_cases, resume_cases, kill_cases, shard_cases, two_writers, prompt_file_cases, other_cases]))
