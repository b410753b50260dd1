#!/usr/bin/env python3
"""Causal generation through the program: latents equal those of the PyTorch twin (reference.safetensors), the past
in int8 gives nearly the same, memory does not depend on the length, streamed frames are those of `t2v decode`, and
weights, profiles and budgets that cannot work are refused with a reason."""

import argparse
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import cases
import causal_model as m

HERE = pathlib.Path(__file__).resolve().parent
TOLERANCE = 5e-4  # of latents with a spread of about 1, after up to 15 frames of feedback
FAILURES = []


def check(condition, what):
    print(("ok   " if condition else "FAIL ") + what, flush=True)
    if not condition:
        FAILURES.append(what)


class Program:
    def __init__(self, binary, folder):
        self.binary, self.folder, self.count = binary, folder, 0

    def run(self, *arguments, model="model", command="generate"):
        """(exit code, stderr, peak resident bytes)"""
        words = [self.binary, command, "-m", str(self.folder / model), *map(str, arguments)]
        if command == "generate" and "--device" not in arguments:
            words += ["--device", "cpu", "--dtype", "fp32"]
        with tempfile.TemporaryFile("w+") as text:
            process = subprocess.Popen(words, stdout=text, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)
            text.seek(0)
            return os.waitstatus_to_exitcode(status), text.read(), usage.ru_maxrss * 1024

    def stop(self, number, step, *arguments, video=1):
        """Sends the signal behind so many steps of the n-th video; (exit code, stderr)."""
        words = [self.binary, "generate", "-m", str(self.folder / "model"), "--device", "cpu", "--dtype", "fp32",
                 "--progress", "json", *map(str, arguments)]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        lines, before = [], math.inf
        for line in process.stderr:
            lines.append(line)
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("stage") != "denoise":
                continue
            video -= event["done"] < before
            before = event["done"]
            if video == 0 and before >= step:
                process.send_signal(number)
                break
        lines.append(process.communicate()[1])
        return process.returncode, "".join(lines)

    def profile(self, values, name=None):
        self.count += 1
        path = self.folder / (name or f"profile{self.count}.json")
        path.write_text(values if isinstance(values, str) else json.dumps(values))
        return path


def case_arguments(program, name, dump):
    words = ["--causal", program.profile(cases.profile(name)), "--frames", cases.frames(name), "--seed", cases.SEED,
             "--negative-prompt", cases.NEGATIVE, "--size", f"{cases.WIDTH}x{cases.HEIGHT}", "--dump", dump,
             "-o", program.folder / "out.rgb"]
    change = cases.CASES[name][2].get("change")
    if change:
        words += ["--prompt-at", f"{cases.change_seconds()}s:{cases.OTHER}", "--prompt-change", change]
    return words + ["-p", cases.PROMPT]


def largest_difference(a, b):
    assert len(a) == len(b), (len(a), len(b))
    worst = max(abs(x - y) for x, y in zip(a, b))
    return worst if all(map(math.isfinite, a)) else math.inf


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def compare_with_twin(program, reference):
    dump = program.folder / "dump.safetensors"
    found = {}
    for name in cases.CASES:
        code, text, _ = program.run(*case_arguments(program, name, dump))
        if code != 0:
            check(False, f"{name}: exit {code}: {text[-400:]}")
            continue
        tensors = m.read_safetensors(dump)
        found[name] = tensors["latents_final"][1]
        error = largest_difference(found[name], reference[name][1])
        check(error < TOLERANCE, f"{name}: latents equal the twin's (largest difference {error:.1e})")
        frames = cases.frames(name)
        check(tensors["video"][0][2] == frames, f"{name}: {frames} frames come out")
        if name == "whole":
            check(largest_difference(tensors["prompt_embeds"][1][:len(reference["rows_prompt"][1])],
                                     reference["rows_prompt"][1]) < 1e-3, "the prompt's rows are those of the twin")
    # Negative controls: the twin's cases differ from each other where they should.
    for a, b in (("sinks", "relative"), ("reset_cross", "recache"), ("reset_cross", "flush"), ("recache", "flush")):
        check(largest_difference(reference[a][1], reference[b][1]) > 10 * TOLERANCE, f"{a} and {b} are not the same")
    for name in ("window", "relative", "recache", "frames"):
        code, text, _ = program.run("--kv", "int8", *case_arguments(program, name, dump))
        if code != 0 or name not in found:
            check(False, f"{name}, --kv int8: exit {code}: {text[-400:]}")
            continue
        latents = m.read_safetensors(dump)["latents_final"][1]
        if name == "recache":
            # With int8 the past does not hold the frames that the next chunk drops: one chunk less is made anew.
            check(cosine(latents, found[name]) > 0.9, f"{name}, --kv int8: runs")
            continue
        check(cosine(latents, found[name]) > 0.999, f"{name}, --kv int8: cosine {cosine(latents, found[name]):.6f}")
        check(largest_difference(latents, found[name]) > 1e-6, f"{name}, --kv int8 is another computation")


def compare_lengths(program):
    """Frames beyond whole chunks are cut off; noise for the whole length may be given; memory stays."""
    profile = program.profile({**cases.BASE, "window": 6, "chunk": 3})
    common = ["--causal", profile, "--seed", 3, "--size", f"{cases.WIDTH}x{cases.HEIGHT}", "-o",
              program.folder / "out.rgb"]
    dump = program.folder / "length.safetensors"
    code, text, _ = program.run(*common, "--frames", 17, "--dump", dump, "-p", cases.PROMPT)
    check(code == 0, f"17 frames: exit {code} {text[-300:] if code else ''}")
    short = m.read_safetensors(dump)
    check(short["video"][0][2] == 17 and short["latents_final"][0][2] == 5, "5 latent frames of 6 that are made")
    check(short["init_latents"][0][2] == 6, "noise is of whole chunks")
    noise = program.folder / "noise.safetensors"
    shape, values = short["init_latents"]
    m.write_safetensors(noise, [("latents", shape, values)])
    code, text, _ = program.run(*common, "--frames", 17, "--latents", noise, "--dump", dump, "-p", cases.PROMPT)
    check(code == 0 and m.read_safetensors(dump)["init_latents"][1] == values, "the noise may be given")
    code, text, _ = program.run(*common, "--frames", 33, "--latents", noise, "-p", cases.PROMPT)
    check(code == 4 and "initial noise" in text, f"noise of another length is refused ({code})")
    _, text, _ = program.run(*common, "--seconds", 4, "--dry-run", "-p", cases.PROMPT)
    check("frames = 33" in text and "16-bit" not in text and "fp32, 6 latent frames" in text,
          "the plan tells length, keys and values")
    check("state for --resume" not in text, "a short video has a state")
    _, text, _ = program.run("--causal", profile, "--seconds", 3600, "--size", "832x480", "--dry-run", "-p", cases.PROMPT)
    check("state for --resume: none: latents of 2.88 GB" in text, "an hour has none, and the plan tells it")
    peaks = []
    for latent_frames in (21, 210):
        code, text, peak = program.run(*common, "--frames", 4 * (latent_frames - 1) + 1, "-p", cases.PROMPT)
        check(code == 0, f"{latent_frames} latent frames: exit {code} {text[-300:] if code else ''}")
        peaks.append(peak)
    # The process is small here: a few MB of heap are more than a per cent of it.
    check(abs(peaks[1] - peaks[0]) <= max(0.01 * peaks[0], 4e6),
          f"peak memory of 21 and 210 latent frames: {peaks[0] / 1e6:.1f} and {peaks[1] / 1e6:.1f} MB")


def compare_decoding(program):
    """What is decoded while the next chunk is made is what `t2v decode` makes of the saved latents."""
    latents = program.folder / "latents.safetensors"
    program.run("--causal", program.profile({**cases.BASE, "window": 6}), "--frames", 33, "--seed", 5, "--size",
                f"{cases.WIDTH}x{cases.HEIGHT}", "--save-latents", latents, "-o", program.folder / "a.rgb",
                "-p", cases.PROMPT)
    code, text, _ = program.run(latents, "-o", program.folder / "b.rgb", "--device", "cpu",
                                "--dtype", "fp32", command="decode")
    check(code == 0, f"the saved latents can be decoded: exit {code} {text[-300:] if code else ''}")
    a, b = ((program.folder / name).read_bytes() for name in ("a.rgb", "b.rgb"))
    check(len(a) == 33 * cases.WIDTH * cases.HEIGHT * 3 and a == b, "streamed frames are the same, byte for byte")


def check_resuming(program):
    """Killed behind --checkpoint-every, and interrupted: with --resume the same file, byte for byte."""
    profile = program.profile({**cases.BASE, "chunk": 2, "first_chunk": 1, "window": 8, "sinks": 2, "sink_rope": "relative"})
    folder = program.folder / "resume"
    folder.mkdir()
    # Long enough to be met in the middle: decoding holds the steps back.
    common = ["--causal", profile, "--frames", 129, "--size", f"{cases.WIDTH}x{cases.HEIGHT}", "--seed", 7]
    one = [*common, "-p", cases.PROMPT, "-o", folder / "one.rgb", "--preview", folder / "look.png", "--checkpoint-every", 0.00001]
    video, state = folder / "one.rgb", folder / ".one.rgb.t2v-state"
    code, text, _ = program.run(*one)
    check(code == 0 and not state.exists(), f"a whole video leaves no state: exit {code} {text[-300:] if code else ''}")
    whole = video.read_bytes()
    check((folder / "look.png").read_bytes().startswith(b"\x89PNG"), "the preview is a picture")
    for name, number, wanted in (("SIGKILL", signal.SIGKILL, -signal.SIGKILL), ("SIGTERM", signal.SIGTERM, 143)):
        video.unlink()
        code, text = program.stop(number, 5, *one)
        check(code == wanted and state.exists() and not video.exists(), f"{name}: exit {code}, the state is there")
        if number == signal.SIGTERM:
            check("--resume goes on from there" in text, "what to do is told")
        kept = state.read_bytes()
        code, text, _ = program.run(*one, "--resume")
        check(code == 0 and "went on behind step" in text, f"{name}, --resume: exit {code} {text[-300:] if code else ''}")
        check(video.exists() and video.read_bytes() == whole and not state.exists(), f"{name}: the same video, byte for byte")
    video.unlink()
    state.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    code, text, _ = program.run(*one, "--resume")
    check(code == 4 and state.name in text and "try without --resume" in text, f"a damaged state: exit {code} {text[-200:]}")
    check_resumed_batch(program, folder, common)


def check_resumed_batch(program, folder, common):
    """SIGINT in the second of two videos."""
    several = [*common[:-2], "--seed", 3, "-p", cases.PROMPT, "-p", cases.OTHER]
    program.run(*several, "-o", str(folder / "{index}-whole.rgb"))
    wholes = sorted(folder.glob("*-whole.rgb"))
    out = [*several, "-o", str(folder / "{index}.rgb"), "--results", folder / "results.jsonl"]
    code, text = program.stop(signal.SIGINT, 5, *out, video=2)
    left = sorted(path.name for path in folder.glob(".*.t2v-state") if "one" not in path.name)
    check(code == 130 and len(left) == 1, f"SIGINT in the second video: exit {code}, {left}")
    code, text, _ = program.run(*out, "--resume")
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()][-2:]
    check(code == 0 and [line["status"] for line in lines] == ["skipped", "done"], f"--resume: exit {code} {text[-300:] if code else ''}")
    check(lines[1]["resumed_steps"] > 0, "the second went on in the middle")
    same = all(path.read_bytes() == (folder / path.name.replace("-whole", "")).read_bytes() for path in wholes)
    check(len(wholes) == 2 and same, "the resumed batch is that of an undisturbed run")


def check_evidence(program, base):
    """Which weights count as causal."""
    profile = program.profile(cases.BASE)
    common = ["--causal", profile, "--frames", 9, "--size", f"{cases.WIDTH}x{cases.HEIGHT}", "--seed", 1, "-o",
              program.folder / "out.rgb", "-p", cases.PROMPT]

    def made(name, **more):
        folder = program.folder / name
        folder.mkdir()
        m.write_model(base, folder, **more)
        return folder

    made("plain", prefix="")
    code, text, _ = program.run(*common, model="plain")
    check(code == 3 and "trained causal" in text and "--force-causal" in text, f"plain weights are refused ({code})")
    code, text, _ = program.run("--force-causal", *common, model="plain")
    check(code == 0, f"--force-causal runs them ({code})")
    made("generator", prefix="generator.model._fsdp_wrapped_module.")
    code, text, _ = program.run(*common, model="generator")
    check(code == 0, f"a `generator` around the tensors is enough ({code}) {text[-200:] if code else ''}")
    config = made("config", prefix="") / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_frame_per_block": 3}))
    code, text, _ = program.run(*common, model="config")
    check(code == 0, f"a key of the config is enough ({code})")
    made("own", prefix="", settings={"causal": "causal-forcing-frame"})
    code, text, _ = program.run(*common[2:], "--dry-run", model="own")
    check(code == 0 and "causal = causal-forcing-frame" in text, f"t2v.json names a profile, which is the default ({code})")
    code, text, _ = program.run("--prompt-at", "1s:x", *common[2:], model="plain")
    check(code == 2 and "--causal" in text, f"--prompt-at without --causal ({code})")
    code, text, _ = program.run("--kv", "int8", *common[2:], model="plain")
    check(code == 2 and "--causal" in text, f"--kv without --causal ({code})")
    code, text, _ = program.run(*common, "--ram-budget", "1MiB")
    check(code == 6 and "needs at least" in text, f"a budget that cannot work ({code})")


def check_profiles(program):
    words = ["--frames", 9, "--size", f"{cases.WIDTH}x{cases.HEIGHT}", "-o", program.folder / "out.rgb", "--dry-run"]

    def refused(values, code, *parts):
        path = program.profile(values) if not isinstance(values, tuple) else values[0]
        found, text, _ = program.run("--causal", path, *words, "-p", cases.PROMPT)
        check(found == code and all(part in text for part in parts), f"{parts[0]}: exit {found} {text.strip()[-160:]}")

    refused(("nothing-like-it",), 2, "nothing-like-it", "self-forcing", "longlive-1")
    refused({**cases.BASE, "colour": 1}, 4, "colour")
    refused({k: v for k, v in cases.BASE.items() if k != "window"}, 4, "window")
    refused({**cases.BASE, "window": 2}, 4, "window")
    refused({**cases.BASE, "chunk": 2.5}, 4, "chunk")
    refused({**cases.BASE, "timesteps": [250, 500]}, 4, "timesteps")
    refused({**cases.BASE, "timesteps": []}, 4, "timesteps")
    refused({**cases.BASE, "sampler": "heun"}, 4, "sampler")
    refused(json.dumps(cases.BASE).replace('"shift": 5', '"shift": NaN'), 4, "profile")
    for name in ("self-forcing", "causal-forcing-chunk", "causal-forcing-frame", "longlive-1", "shapes-causal"):
        code, text, _ = program.run("--causal", name, *words, "-p", cases.PROMPT)
        check(code == 0 and f"causal = {name}" in text, f"profile {name} ({code})")
    code, text, _ = program.run("--causal", "self-forcing", "--steps", 9, *words, "-p", cases.PROMPT)
    check(code == 2 and "--steps" in text, f"--steps against the profile ({code})")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--base", required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "model").mkdir()
        m.write_model(arguments.base, folder / "model")
        program = Program(arguments.bin, folder)
        compare_with_twin(program, m.read_safetensors(HERE / "reference.safetensors"))
        compare_lengths(program)
        compare_decoding(program)
        check_resuming(program)
        check_evidence(program, arguments.base)
        check_profiles(program)
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
