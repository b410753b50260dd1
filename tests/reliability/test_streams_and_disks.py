#!/usr/bin/env python3
"""Full and read-only disks, closed and full streams, readers that go away, signals.

    python3 test_streams_and_disks.py --bin build/t2v [--more]

A run ends within 5 s of what stops it, with the right exit code and one line that says what to do; nothing is left behind,
and an older video stays. --more: every size of a small disk and file-size limit. Parts that need root say so when left out.
"""
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import spaces
from runs import (FAILED, INPUT, OK, OUTPUT, SMALL, Judge, digest, end_problems, environment, listing, parser_of, program_of, result_lines,
                  run, scratch_folder, videos, write_prompts)

OLD = b"an older video"
LATENTS = ".latents.safetensors"
RESCUED = ["t2v-7" + LATENTS]  # of a video that nobody took: t2v decode finishes it
NOBODY = 65534


class Place:
    """The program, a folder, what an undisturbed video looks like."""

    def __init__(self, program, scratch, judge):
        self.program, self.scratch, self.judge = program, scratch, judge
        self.count = 0
        folder = self.folder()
        result = run(self.one("one.mp4"), folder)
        assert result.code == OK, result.told()
        self.whole = (folder / "one.mp4").read_bytes()
        write_prompts(scratch / "three.jsonl", 3)

    def folder(self):
        self.count += 1
        path = self.scratch / f"case{self.count}"
        path.mkdir()
        return path

    def one(self, output, *more):
        return [self.program, "generate", "-p", "a red circle", "--seed", "7", "-o", str(output), *SMALL, *more]

    def case(self, name, result, code, words=(), left=None, folder=None, more=()):
        """code: the one expected, or several; left: what may lie in the folder."""
        codes = code if isinstance(code, tuple) else (code,)
        problems = end_problems(result) + list(more)
        if result.code not in codes:
            problems.append(f"exit {result.code}, expected {code}")
        missing = [word for word in words if word not in result.err]
        if missing:
            problems.append(f"not told: {missing}")
        if result.code not in (OK, None) and "2>" not in name and len(result.errors()) != 1:
            problems.append(f"{len(result.errors())} error lines")
        if folder is not None and left is not None and listing(folder) != set(left):
            problems.append(f"there are {sorted(listing(folder))}")
        self.judge.case(name, problems, result.told())


def stream_cases(place, more_streams):
    whole = place.whole

    def shell(name, redirections, output, code, *words, made=None, more=(), left=()):
        folder = place.folder()
        command = ["sh", "-c", f'exec "$@" {redirections}', "sh", *place.one(output, *more)]
        result = run(command, folder)
        problems = []
        if made is not None and (not (folder / made).exists() or (folder / made).read_bytes() != whole):
            problems.append("the video is not that of an undisturbed run")
        place.case(f"{name} {redirections}", result, code, words, [made] if made else left, folder, problems)

    for streams in (">&-", "<&- >&- 2>&-", "2>/dev/full", *more_streams):
        shell("closed or full:", streams, "one.mp4", OK, made="one.mp4")
    shell("the path cannot be told:", ">/dev/full", "one.mp4", OUTPUT, "standard output", made="one.mp4")
    shell("the video goes to", ">/dev/full", "-", OUTPUT, "No space left", "t2v decode", left=RESCUED)
    shell("the video goes to closed", ">&-", "-", (OK, OUTPUT))
    shell("the prompt comes from closed", "<&-", "one.mp4", INPUT, "prompt", more=("-p", "-"))
    shell("the prompt comes from a folder", "</", "one.mp4", INPUT, "prompt", more=("-p", "-"))
    shell("progress to", "2>/dev/full", "one.mp4", OK, made="one.mp4", more=("--progress", "json"))
    for name, output, stream, codes in (("the video", "-", "stdout", (OUTPUT,)), ("its path", "one.mp4", "stdout", (OK,)), ("messages", "one.mp4", "stderr", (OK,))):
        folder = place.folder()
        reading, writing = os.pipe()
        os.close(reading)
        result = run(place.one(output, "--progress", "plain"), folder, **{stream: writing})
        os.close(writing)
        place.case(f"the reader of {name} is gone 2>", result, codes, (), RESCUED if output == "-" else ["one.mp4"], folder)


def limit_cases(place, sizes):
    """RLIMIT_FSIZE: needs no root, and makes true short writes."""
    for size in sizes:
        folder = place.folder()
        (folder / "one.mp4").write_bytes(OLD)
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        result = run(place.one("one.mp4"), folder, preexec_fn=limit)
        fits = size >= len(place.whole)
        expected = place.whole if fits else OLD
        left = {"one.mp4"} | ({"one.mp4" + LATENTS} if (folder / ("one.mp4" + LATENTS)).exists() else set())
        problems = [] if (folder / "one.mp4").read_bytes() == expected else ["the older video is gone"]
        if not fits and len(left) == 2 and "t2v decode" not in result.err:
            problems.append("latents are there, and t2v decode is not named")
        place.case(f"files of at most {size} bytes", result, OK if fits else OUTPUT, () if fits else ("File too large",), left, folder, problems)


def disk_cases(place, kilobytes, inode_counts):
    for size in kilobytes:
        path = place.scratch / f"disk{size}"
        with spaces.disk(path, f"size={size}k"):
            (path / "one.mp4").write_bytes(OLD)
            result = run(place.one(path / "one.mp4", "--save-latents", str(path / "l.safetensors")), place.scratch)
            now = (path / "one.mp4").read_bytes()
            ok = result.code == OK and now == place.whole or result.code == OUTPUT and now == OLD
            left = {"one.mp4", "l.safetensors", "one.mp4" + LATENTS} & listing(path)
            place.case(f"a disk of {size} kB, one video", result, (OK, OUTPUT), () if result.code == OK else ("No space left", "try"), left, path,
                       [] if ok else ["the video is neither old nor new"])
        path = place.scratch / f"batchdisk{size}"
        with spaces.disk(path, f"size={size}k"):
            batch_on_disk(place, path, f"a disk of {size} kB, a batch")
    for inodes in inode_counts:
        path = place.scratch / f"inodes{inodes}"
        with spaces.disk(path, f"size=1m,nr_inodes={inodes}"):
            batch_on_disk(place, path, f"a disk of {inodes} inodes, a batch")
    path = place.scratch / "readonly"
    with spaces.disk(path, "size=1m"):
        (path / "one.mp4").write_bytes(OLD)
        spaces.make_read_only(path)
        result = run(place.one(path / "one.mp4"), place.scratch)
        place.case("a read-only disk", result, OUTPUT, ("Read-only", "--output"), ["one.mp4"], path, ["slow"] if result.seconds > 5 else [])
        result = run([place.program, "generate", "--prompts", str(place.scratch / "three.jsonl"), "-o", str(path / "new"), *SMALL], place.scratch)
        place.case("a read-only disk, a batch", result, OUTPUT, ("Read-only", "--output"), ["one.mp4"], path)


def batch_on_disk(place, path, name):
    """What fits is made, and is whole; the rest has its reason, and the batch can go on when there is room."""
    command = [place.program, "generate", "--prompts", str(place.scratch / "three.jsonl"), "-o", str(path) + "/", *SMALL]
    result = run(command, place.scratch)
    problems = end_problems(result)
    try:
        done = {pathlib.Path(x["output"]).name for x in result_lines(path / "results.jsonl") if x["status"] == "done"}
        if not done <= set(videos(path)):
            problems.append(f"done, and not there: {done - set(videos(path))}")
    except ValueError as error:
        problems.append(f"results: {error}")
    hidden = {x for x in listing(path) if x.endswith((".mp4", ".t2v-state")) and x.startswith(".")}
    if hidden:
        problems.append(f"left behind: {hidden}")
    if result.code not in (OK, OUTPUT, FAILED):
        problems.append(f"exit {result.code}")
    subprocess.run(["mount", "-o", "remount,size=4m,nr_inodes=100", str(path)], check=True)
    again = run([*command, "--resume"], place.scratch)
    problems += end_problems(again) + ([] if again.code == OK and len(videos(path)) == 3 else [f"with room: {again.told()}"])
    place.judge.case(name, problems, result.told())


def folder_cases(place):
    folder = place.folder()
    result = run(place.one("absent/one.mp4"), folder)
    place.case("a folder that is not there", result, OUTPUT, ("absent", "mkdir"), [], folder)
    (folder / "file").write_bytes(b"x")
    result = run(place.one("file/one.mp4"), folder)
    place.case("a file in place of a folder", result, OUTPUT, ("not a folder",), ["file"], folder)
    readable = os.geteuid() != 0 or run([place.program, "--version"], "/", user=NOBODY).code == OK
    if readable:
        closed = place.folder()
        os.chmod(place.scratch, 0o755)
        os.chmod(closed, 0o555)
        result = run(place.one(closed / "one.mp4"), "/", **({"user": NOBODY} if os.geteuid() == 0 else {}))
        place.case("a folder without the right to write", result, OUTPUT, ("not writable",), [], closed, ["slow"] if result.seconds > 5 else [])
    else:
        print("left out: another user cannot read the program, so no folder is closed to it")
    gone = place.folder() / "out"
    gone.mkdir()
    process = subprocess.Popen(place.one(gone / "one.mp4", "--steps", "60"), env=environment(), cwd=place.scratch, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    time.sleep(0.3)
    shutil.rmtree(gone)
    err = process.communicate(timeout=120)[1].decode()
    place.judge.check("the folder goes away", process.returncode == OUTPUT and err.count("t2v: error:") == 1 and str(gone) in err, err)


def signal_cases(place):
    """During denoising of a video that would take long: over within one step, and resumable."""
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        folder = place.folder()
        command = [*place.one("one.mp4"), "--steps", "900", "--progress", "json"]
        heard = lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, as it should be
        process = subprocess.Popen(command, env=environment(), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
        told = ""
        for line in process.stderr:
            told += line
            event = json.loads(line)
            if event.get("stage") == "denoise" and event.get("done", 0) >= 3:
                break
        process.send_signal(number)
        start = time.monotonic()
        told += process.communicate(timeout=120)[1]
        seconds = time.monotonic() - start
        left = listing(folder) - {".one.mp4.t2v-state"}
        place.judge.check(f"{number.name} while a video is made", process.returncode == code and seconds < 5 and not left
                          and told.count("t2v: error:") == 1 and "--resume" in told, f"exit {process.returncode} after {seconds:.1f} s, {left}: {told[-300:]}")


def report_cases(place):
    """Files beside the video: it is there although they cannot be written."""
    folder = place.folder()
    for flag in ("--results", "--profile", "--metrics-file", "--trace"):
        result = run(place.one("one.mp4", flag, "absent/x"), folder)
        place.case(f"{flag} in a folder that is not there", result, OUTPUT, (flag,), [], folder)
    result = run(place.one("one.mp4", "--results", "/dev/full"), folder)
    place.case("--results to a full disk", result, OUTPUT, ("No space left", "--results"), ["one.mp4"], folder,
               [] if digest(folder / "one.mp4") else [])


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--more", action="store_true")
    arguments = parser.parse_args()
    judge = Judge("streams and disks")
    mounts = spaces.private_mounts()
    with scratch_folder("streams") as scratch:
        place = Place(program_of(arguments), scratch, judge)
        stream_cases(place, ("<&-", "2>&-", "<&- >&-", ">&- 2>&-", "2>&- <&-") if arguments.more else ())
        limit_cases(place, [0, *range(1, 4000, 97), 100_000] if arguments.more else [0, 1500, 100_000])
        folder_cases(place)
        signal_cases(place)
        report_cases(place)
        if mounts:
            disk_cases(place, [4, 8, 12, 16, 20, 24, 28, 32, 48, 64] if arguments.more else [8, 16], [2, 3, 4, 5, 6] if arguments.more else [3])
        else:
            print("left out: no disks of our own can be mounted here (root is needed)")
    return judge.end()


if __name__ == "__main__":
    sys.exit(main())
