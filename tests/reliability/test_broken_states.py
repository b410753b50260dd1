#!/usr/bin/env python3
"""Broken files that --resume reads: the state of a video, results.jsonl, the seeds of a run, the video itself.

    python3 test_broken_states.py --bin build/t2v [--every 1]

A run with --resume either makes the right video or is refused with exit 4 and a line that names the file; never a signal,
a hang, exit 1 or another video.
"""
import json
import random
import struct
import subprocess
import sys

from runs import FAILED, INPUT, OK, SMALL, Judge, end_problems, environment, parser_of, program_of, run, scratch_folder, videos, write_prompts

STATE = ".one.mp4.t2v-state"


def command(program, *more):
    return [program, "generate", "-p", "a red circle", "--seed", "7", "-o", "one.mp4", *SMALL, "--steps", "40", "--checkpoint-every", "0.00001", *more]


def parts(state):
    size = struct.unpack("<Q", state[:8])[0]
    return json.loads(state[8:8 + size]), state[8 + size:]


def joined(header, body):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def edited(state, edit):
    header, body = parts(state)
    edit(header)
    return joined(header, body)


def with_tensor(name, **fields):
    return lambda header: header[name].update(fields)


def set_steps(text):
    return lambda header: header["__metadata__"].update({"t2v.steps_done": text})


def fewer(name):
    """The shape with its last side halved, and the bytes to go with it."""
    def edit(header):
        entry = header[name]
        begin, end = entry["data_offsets"]
        entry["shape"][-1] //= 2
        entry["shape"][-2] *= 2
    return edit


def broken_states(state, draw):
    header, body = parts(state)
    cases = {"empty": b"", "zeros": bytes(len(state)), "8 bytes": state[:8], "half": state[:len(state) // 2], "one byte less": state[:-1],
             "one byte more": state + b"x", "text": b"not a state\n" * 50, "a huge header": struct.pack("<Q", 1 << 60) + state[8:],
             "NaN": joined(header, b"\xff" * len(body)), "another recipe": edited(state, lambda h: h["__metadata__"].update({"t2v.recipe": "{}"})),
             "no recipe": edited(state, lambda h: h["__metadata__"].pop("t2v.recipe")), "no steps": edited(state, lambda h: h["__metadata__"].pop("t2v.steps_done"))}
    for text in ("41", "40", "999", "1000", "-1", "1e3", "x", "", "99999999999999999999", "3, \"m\": 4", "0"):
        cases[f"steps {text!r}"] = edited(state, set_steps(text))
    for name in [name for name in header if name != "__metadata__"]:
        cases[f"{name} left out"] = edited(state, lambda h, name=name: h.pop(name))
        cases[f"{name} of another shape"] = edited(state, fewer(name))
        cases[f"{name} of integers"] = edited(state, with_tensor(name, dtype="I32"))
    for _ in range(12):
        at = draw.randrange(len(state) - len(body))
        cases[f"byte {at} is flipped"] = state[:at] + bytes([state[at] ^ (1 << draw.randrange(8))]) + state[at + 1:]
    return cases


def killed_behind(program, folder, step):
    """True when a run that was killed behind this step has left its state."""
    process = subprocess.Popen(command(program, "--progress", "json"), cwd=folder, env=environment(), stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("stage") == "denoise" and event.get("done", 0) >= step:
            break
    process.kill()
    process.communicate()
    (folder / "one.mp4").unlink(missing_ok=True)
    return (folder / STATE).exists()


def state_cases(program, scratch, judge, arguments):
    draw = random.Random(arguments.seed)
    folder = scratch / "state"
    folder.mkdir()
    result = run(command(program), folder)
    assert result.code == OK, result.told()
    whole = videos(folder)
    (folder / "one.mp4").unlink()
    if not any(killed_behind(program, folder, 3) for _ in range(5)):
        judge.check("a killed run leaves its state", False, "it ended too early, five times")
        return
    state = (folder / STATE).read_bytes()
    (folder / "one.mp4").unlink(missing_ok=True)
    cases = {"itself": state, **broken_states(state, draw)}
    for name in list(cases)[::arguments.every]:
        content = cases[name]
        (folder / STATE).write_bytes(content)
        (folder / "one.mp4").unlink(missing_ok=True)
        result = run(command(program, "--resume"), folder)
        problems = end_problems(result)
        if result.code == OK and videos(folder) != whole:
            problems.append("another video")
        if result.code not in (OK, INPUT) or result.code == INPUT and ("t2v-state" not in result.err or "try" not in result.err):
            problems.append("neither made nor refused by the state's name")
        judge.case(f"a state that is {name}", problems, result.told())


def results_cases(program, scratch, judge):
    folder = scratch / "results"
    folder.mkdir()
    write_prompts(folder / "two.jsonl", 2)
    batch = [program, "generate", "--prompts", "two.jsonl", "-o", "out", *SMALL, "--progress", "none"]
    result = run(batch, folder)
    assert result.code == OK, result.told()
    whole, path = videos(folder / "out"), folder / "out/results.jsonl"
    good = path.read_bytes()
    lines = {"empty": b"", "zeros": bytes(500), "a torn last line": good[:-40], "bytes": b"\xff\xfe" * 200, "no objects": b"1\n[]\nnull\n\"x\"\n",
             "fields of other types": b'{"index": "x", "status": 5, "seed": -1, "output": [], "bytes": "many"}\n' * 3, "a huge seed": good.replace(b'"seed":100', b'"seed":1e300'),
             "deep": b"[" * 100_000 + b"\n", "lies": good.replace(b'"sha256":"', b'"sha256":"0').replace(b'"bytes":1', b'"bytes":9'), "one line of 20 MB": b"x" * 20_000_000}
    for name, content in lines.items():
        path.write_bytes(content)
        result = run([*batch, "--resume"], folder)
        problems = end_problems(result) + ([] if result.code == OK and videos(folder / "out") == whole else ["not the same videos"])
        judge.case(f"results that are {name}", problems, result.told())
    for name, content in {"empty": b"", "text": b"not a video", "half": b"", "a folder": None}.items():
        path.write_bytes(good)
        video = folder / "out/00000.mp4"
        data = video.read_bytes()
        video.unlink()
        video.mkdir() if content is None else video.write_bytes(content or data[:len(data) // 2])
        result = run([*batch, "--resume"], folder)
        if content is None:
            problems = end_problems(result) + ([] if result.code in (2, 5, FAILED) else [f"exit {result.code}"])
            video.rmdir()
            video.write_bytes(data)
        else:
            problems = end_problems(result) + ([] if result.code == OK and videos(folder / "out") == whole else ["not the same videos"])
        judge.case(f"a video that is {name}", problems, result.told())


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--every", type=int, default=1, help="only every n-th broken state")
    arguments = parser.parse_args()
    judge = Judge("broken states")
    with scratch_folder("states") as scratch:
        state_cases(program_of(arguments), scratch, judge, arguments)
        results_cases(program_of(arguments), scratch, judge)
    return judge.end()


if __name__ == "__main__":
    sys.exit(main())
