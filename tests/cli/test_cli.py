#!/usr/bin/env python3
"""The whole command line of t2v, run as a user runs it, against a fake engine and fake media.

    python3 test_cli.py --bin build/.../fake/t2v

test_cli_weights.py has the flags of model files and memory, cli_harness.py what every case checks.
"""
import json
import os
import resource
import signal
import subprocess
import sys
import time

from cli_harness import (BUG, DEVICE, INPUT, MEMORY, MODEL, NUMERIC, OK, OUTPUT, RED, USAGE, Folder, binary, check, generate,
                         problems_of, refused, run, run_families, works)


def usage_cases():
    numbers = {"--steps": ["0", "-5", "1.5", "nan", "", "abc", "0x10", "1001", "99999999999999999999", " 3", "3 "],
               "--seed": ["-1", "0x10", "18446744073709551616", "1e5", "", "seed", "1.0"],
               "--frames": ["0", "-5", "x", "5.0", "1e400"], "--fps": ["0", "-1", "nan", "inf", "1e400", "abc", ""],
               "--seconds": ["0", "-2", "nan", "two"], "--shift": ["0", "-1", "nan", "inf", "x"],
               "--guidance-scale": ["nan", "-1", "inf", "1e400", "4,0", ""], "--guidance-scale-high": ["x", "-0.1"],
               "--guidance-scale-low": ["nan"], "--boundary": ["-0.1", "1.1", "nan", "x"],
               "--size": ["832x480foo", "832", "x", "0x480", "-832x480", "832x-480", "1080p", "", "1e3x480", "99999x99999"],
               "--width": ["0", "-16", "x", "99999"], "--height": ["1.5", ""], "--count": ["0", "-1", "x"],
               "--crf": ["-1", "x", "18.5"], "--threads": ["0", "x"], "--solver": ["ddim", ""], "--sigma-table": ["x"],
               "--dtype": ["int3", ""], "--device": ["gpu", "cuda:", "cuda:-1", "cuda:x"], "--backend": ["x"], "--attention": ["sage", ""],
               "--quant": ["int4", ""], "--int8-rotate": ["128", "x"], "--quant-preset": ["best"], "--kv": ["fp8"], "--condition-cache": ["maybe"],
               "--prompt-at": ["a blue square", "5s:", "-1s:x", "nan:x"], "--prompt-change": ["cut"], "--sink-rope": ["x"], "--causal": [""],
               "--progress": ["loud"], "--preset": ["lightning-3", "nope"], "--t-list": ["", "1,2", "1000,x"],
              "--step-cache": ["on", "easy:", "easy:x", "mag:101"], "--codec": [""], "--output": [""],
               "--dump": [""], "--model": [""], "--latents": [""]}
    for flag, values in numbers.items():
        for value in values:
            refused(f"{flag} {value!r}", generate(flag, value), USAGE, flag)
    refused("unknown command", ["genrate"], USAGE, "did you mean generate?")
    refused("unknown flag", generate("--stpes", "3"), USAGE, "did you mean --steps?")
    refused("unknown flag, no neighbour", generate("--qqqqqqq"), USAGE, "--qqqqqqq")
    refused("unknown letter", generate("-Z"), USAGE, "-Z")
    refused("control bytes in a flag", generate("--\x1b[31mred\x07"), USAGE)
    refused("control bytes in a value", generate("--steps", "\x1b[2J\n\rx"), USAGE, "\\x1b")
    refused("not UTF-8 in a value", generate("--steps", b"\xff\xfe"), USAGE, "\\xff")
    refused("very long value", generate("--steps", "9" * 100000), USAGE)
    refused("guidance_scale_2", generate("--guidance_scale_2", "3"), USAGE, "--guidance-scale-low")
    refused("value missing", generate("--steps"), USAGE, "--steps", "missing")
    refused("switch with a value", generate("--dry-run=3"), USAGE, "takes no value")
    refused("flag of another command", ["presets", "--steps", "3"], USAGE, "not a flag of")
    refused("stray argument", ["generate", "-p", "a", "red", "circle"], USAGE, "'red'")
    refused("no prompt", ["generate", "-o", "a.mp4"], USAGE, "--prompt", "try")
    refused("frames and seconds", generate("-f", "5", "--seconds", "1"), USAGE, "--seconds")
    refused("size and width", generate("-s", "64x64", "-W", "64"), USAGE, "--size")
    refused("verbose and quiet", generate("-v", "-q"), USAGE, "--quiet")
    refused("several problems at once", generate("--steps", "x", "--fps", "y", "--zzzzzzz"), USAGE, "--steps", "--fps", "--zzzzzzz")
    refused("calibrate-cache with two prompts", ["calibrate-cache", "-p", "a", "-p", "b"], USAGE, "2 prompts")
    refused("a size the model refuses", generate("-s", "65x64"), USAGE, "try 64x64")
    refused("frames the model refuses", generate("-f", "6"), USAGE, "try 5")
    refused("nothing", [], USAGE)
    refused("only a flag", ["--prompt", "x"], USAGE, "generate")
    refused("bad T2V_BACKEND", generate(), USAGE, "T2V_BACKEND", environment={"T2V_BACKEND": "x"})
    refused("seeds beyond the end", generate("--seed", str(2**64 - 2), "--count", "3", "-o", "{seed}.mp4"), USAGE, "2^64-1")
    refused("count with latents", generate("--latents", "latents.safetensors", "--count", "2"), USAGE, "--count")
    refused("config: no form", generate("--config", "bad.cfg"), USAGE, "line 1")
    refused("config: unknown flag", generate("--config", "unknown.cfg"), USAGE, "line 1", "--steps")
    refused("config: bad value", generate("--config", "value.cfg"), USAGE, "--steps", "line 1")
    refused("config: open quote", generate("--config", "open.cfg"), USAGE, "line 1")
    refused("config: absent", generate("--config", "absent.cfg"), INPUT, "absent.cfg")


def input_cases():
    def prompt(*arguments):
        return ["generate", *arguments, "-o", "a.mp4"]
    refused("empty prompt", prompt("-p", ""), INPUT, "empty")
    refused("blank prompt", prompt("-p", " \t\n"), INPUT, "empty")
    refused("prompt is not UTF-8", prompt("-p", b"abc\xffdef"), INPUT, "0xff", "offset 3")
    refused("prompt has an overlong form", prompt("-p", b"\xc0\xaf"), INPUT, "offset 0")
    refused("prompt has a surrogate", prompt("-p", b"x\xed\xa0\x80"), INPUT, "offset 1")
    refused("negative prompt is not UTF-8", generate("-n", b"\x80"), INPUT, "--negative-prompt")
    refused("@FILE absent", prompt("-p", "@absent.txt"), INPUT, "absent.txt")
    refused("@ alone", prompt("-p", "@"), INPUT)
    refused("@FILE is a folder", prompt("-p", "@folder"), INPUT, "folder")
    refused("@FILE empty", prompt("-p", "@empty.txt"), INPUT, "empty")
    refused("@FILE with NUL", prompt("-p", "@nul.txt"), INPUT, "NUL", "offset 1")
    refused("@FILE UTF-16", prompt("-p", "@utf16.txt"), INPUT, "UTF-16")
    refused("@FILE too long", prompt("-p", "@long.txt"), INPUT, "too long")
    refused("stdin empty", prompt("-p", "-"), INPUT, "empty", stdin=b"")
    refused("stdin /dev/null", prompt("-p", "-"), INPUT, "empty", stdin=None)
    refused("stdin closed", prompt("-p", "-"), INPUT, preexec_fn=lambda: os.close(0), stdin=None)
    refused("stdin too long", prompt("-p", "-"), INPUT, "too long", stdin=b"x" * 1_000_001)
    refused("stdin twice", prompt("-p", "-", "-p", "-"), USAGE, "once", stdin=b"x")
    refused("--prompts absent", prompt("--prompts", "absent.txt"), INPUT, "absent.txt")
    refused("--prompts folder", prompt("--prompts", "folder"), INPUT, "folder")
    refused("--prompts empty", prompt("--prompts", "empty.txt"), INPUT, "empty")
    refused("--prompts comments only", prompt("--prompts", "comments.txt"), INPUT, "empty")
    refused("--prompts not UTF-8", prompt("--prompts", "bad_utf8.txt"), INPUT, "offset 9")
    refused("--prompts with NUL", prompt("--prompts", "nul.txt"), INPUT, "NUL")
    refused("--prompts UTF-16", prompt("--prompts", "utf16.txt"), INPUT, "UTF-16")
    refused("jsonl: all bad lines told", prompt("--prompts", "bad.jsonl"), INPUT, "line 3", "line 4")
    refused("jsonl: unknown field", prompt("--prompts", "unknown.jsonl"), INPUT, "line 1", "--steps")
    refused("jsonl: output", prompt("--prompts", "output.jsonl"), INPUT, "line 1")
    refused("latents absent", generate("--latents", "absent.safetensors"), INPUT, "absent")
    refused("latents folder", generate("--latents", "folder"), INPUT, "folder")
    refused("decode: latents absent", ["decode", "absent", "-o", "a.mp4"], INPUT, "absent")
    refused("decode: latents folder", ["decode", "folder", "-o", "a.mp4"], INPUT, "folder")
    refused("picture absent", generate("--image", "absent.png"), INPUT, "absent.png", "--image")
    refused("picture is a folder", generate("--image", "folder"), INPUT, "folder")
    refused("picture unreadable", generate("--image", "one.txt"), INPUT, "one.txt", "--image")
    refused("last picture unreadable", generate("--image", "one.src", "--last-image", "one.txt"), INPUT, "--last-image")
    refused("encode: video absent", ["encode", "absent.mp4", "-o", "x"], INPUT, "absent.mp4")
    refused("encode: unreadable", ["encode", "one.txt", "-o", "x"], INPUT, "one.txt")
    refused("encode: more frames than there are", ["encode", "clip.src", "-o", "x", "--frames", "9"], INPUT, "5 frames")
    refused("inspect: no video", ["inspect", "one.txt"], INPUT)
    refused("inspect: absent", ["inspect", "absent.mp4"], INPUT, "absent")
    refused("model absent", generate("-m", "absent"), MODEL, "absent")
    refused("T2V_MODEL absent", generate(), MODEL, "nowhere", environment={"T2V_MODEL": "nowhere"})
    refused("model broken", generate(), MODEL, fake="model")


def output_cases():
    refused("folder absent", ["generate", *RED, "-o", "no/such/a.mp4"], OUTPUT, "no/such")
    refused("folder is a file", ["generate", *RED, "-o", "one.txt/a.mp4"], OUTPUT)
    refused("suffix unknown", ["generate", *RED, "-o", "a.xyz"], USAGE, "a.xyz")
    refused("no suffix", ["generate", *RED, "-o", "a"], USAGE)
    refused("codec unknown", generate("--codec", "libfoo"), USAGE, "libfoo")
    refused("dump folder absent", generate("--dump", "no/d.st"), OUTPUT, "--dump")
    refused("dump is a folder", generate("--dump", "folder"), OUTPUT, "--dump")
    refused("save-latents folder absent", generate("--save-latents", "no/l.st"), OUTPUT, "--save-latents")
    refused("profile folder absent", generate("--profile", "no/p.json"), OUTPUT, "--profile")
    refused("two outputs collide", generate("--dump", "./a.mp4"), USAGE, "same file")
    refused("output would replace an input", ["generate", "--prompts", "two.txt", "-o", "{index}.mp4", "--profile", "two.txt"], USAGE, "same file")
    refused("several videos, one name", ["generate", *RED, "-p", "blue", "-o", "a.mp4"], USAGE, "{index}")
    refused("several videos, one dump", ["generate", *RED, "-p", "blue", "-o", "folder", "--dump", "d"], USAGE, "--dump")
    refused("several videos of one slug", ["generate", *RED, "--count", "2", "-o", "{slug}.mp4"], USAGE, "same name")
    refused("several videos to stdout", ["generate", *RED, "--count", "2", "-o", "-"], USAGE, "standard output")
    refused("decode without output", ["decode", "latents.safetensors"], USAGE, "--output")
    refused("decode onto itself", ["decode", "latents.safetensors", "-o", "./latents.safetensors"], USAGE, "same file")
    refused("decode without latents", ["decode", "-o", "a.mp4"], USAGE, "LATENTS")
    refused("encode without output", ["encode", "clip.src"], USAGE, "--output")
    refused("encode onto itself", ["encode", "clip.src", "-o", "./clip.src"], USAGE, "same file")
    refused("encode without a video", ["encode", "-o", "x"], USAGE, "VIDEO")
    refused("name too long", ["generate", *RED, "-o", "x" * 300 + ".mp4"], OUTPUT)
    if os.geteuid() != 0:
        refused("folder read-only", ["generate", *RED, "-o", "/proc/a.mp4"], OUTPUT)
    refused("work: memory", generate(), MEMORY, fake="oom")
    refused("work: bad_alloc", generate(), MEMORY, fake="bad_alloc")
    refused("work: our bug", generate(), BUG, "bug in t2v", fake="internal")
    refused("work: unknown exception", generate(), BUG, "bug in t2v", fake="throw_int")
    refused("work: numeric", generate(), NUMERIC, fake="numeric")
    refused("work: device", generate(), DEVICE, fake="device")
    refused("no GPU", generate("--device", "cuda:0"), DEVICE, "--device")

    def rescue(name, arguments, command):
        with Folder() as folder:
            result = run(arguments, folder, fake="sink_fails")
            extra = folder.listing() - folder.before
            err = result.stderr.decode()
            check(name, result.returncode == OUTPUT and extra == {"a.mp4.latents.safetensors"} and command in err, err)
    rescue("failed save keeps latents", generate(), "t2v decode a.mp4.latents.safetensors -o a.mp4")
    with Folder() as folder:
        (folder.path / "a.mp4").write_text("old")
        result = run(generate(), folder, fake="sink_fails")
        check("an old file survives", (folder.path / "a.mp4").read_text() == "old" and result.returncode == OUTPUT)


def working_cases():
    lines = lambda result: result.stdout.decode().splitlines()
    works("plain", generate(), ["a.mp4"], lambda r, f: r.stdout == b"a.mp4\n" and b"seed 4711" in r.stderr)
    works("quiet", generate("-q"), ["a.mp4"], lambda r, f: r.stderr == b"" and r.stdout == b"a.mp4\n")
    works("default name", ["generate", *RED, "--seed", "3"], ["a-red-circle-3.mp4"])
    works("into a folder", ["generate", *RED, "-o", "folder"], ["folder/a-red-circle-4711.mp4"])
    works("no name but placeholders", ["generate", *RED, "-o", "{index}-{seed}.mp4"], ["0001-4711.mp4"])
    works("count", ["generate", *RED, "--count", "2", "--seed", "7", "-o", "new"],
          ["new", "new/results.jsonl", "new/0001-a-red-circle-7.mp4", "new/0002-a-red-circle-8.mp4"], lambda r, f: len(lines(r)) == 2)
    works("prompt file", ["generate", "--prompts", "two.txt", "-o", "{index}-{slug}.mp4"],
          ["0001-first-prompt.mp4", "0002-second-prompt.mp4", "results.jsonl"])
    works("jsonl", ["generate", "--prompts", "good.jsonl", "--seed", "1", "-o", "{slug}-{seed}.mp4"], ["a-5.mp4", "b-1.mp4", "results.jsonl"])
    works("@FILE", ["generate", "-p", "@one.txt", "-o", "{slug}.mp4"], ["ein-roter-kreis.mp4"])
    works("stdin", ["generate", "-p", "-", "-o", "{slug}.mp4"], ["blue.mp4"], stdin=b"\xef\xbb\xbfblue\r\n")
    works("stdout", ["generate", *RED, "-o", "-"], [], lambda r, f: r.stdout.startswith(b"FAKE {"))
    works("no metadata", generate("--no-metadata"), ["a.mp4"], lambda r, f: (f.path / "a.mp4").read_text().startswith("FAKE \n"))
    works("side outputs", generate("--dump", "d", "--save_latents", "l", "--profile", "p.json"), ["a.mp4", "d", "l", "p.json"],
          lambda r, f: json.loads((f.path / "p.json").read_text())["stages"][0]["name"] == "denoise")
    works("profile table", generate("--profile"), ["a.mp4"], lambda r, f: b"denoise" in r.stderr and b"first step" in r.stderr)
    works("warnings", generate(), ["a.mp4"], lambda r, f: b"t2v: warning: something\\x07 odd" in r.stderr, fake="warn")
    works("progress json", generate("--progress", "json"), ["a.mp4"],
          lambda r, f: [json.loads(x)["event"] for x in r.stderr.splitlines()][-1] == "done")
    works("progress none", generate("--progress", "none"), ["a.mp4"])
    works("dry run", generate("--dry-run", "--steps", "9"), [], lambda r, f: "steps = 9" in lines(r) and "# device: fake" in lines(r))
    works("dry run of several", ["generate", "--prompts", "two.txt", "--dry-run", "-o", "new"], [], lambda r, f: "# video 2 of 2" in lines(r))
    works("config", ["generate", "--config", "good.cfg", "--dry-run"], [],
          lambda r, f: {"steps = 7", "size = 32x32", "seed = 9", 'prompt = "from \\"config\\""'} <= set(lines(r)))
    works("the command line wins", ["generate", "--config", "good.cfg", "--steps", "4", "-p", "x", "--dry-run"], [],
          lambda r, f: {"steps = 4", "prompt = x", "seed = 9"} <= set(lines(r)))
    works("aliases", ["generate", *RED, "--sample_steps", "4", "--cfg-high", "2", "--cfg_low=3", "--flow-shift", "2.5", "--frame_num",
                      "9", "--base_seed", "1", "--sampling-method", "euler", "--save_file", "b.mp4", "--dry-run"], [],
          lambda r, f: {"steps = 4", "guidance-scale-high = 2", "guidance-scale-low = 3", "shift = 2.5", "frames = 9",
                        "seed = 1", "solver = euler", "output = b.mp4"} <= set(lines(r)))
    works("largest seed", generate("--seed", str(2**64 - 1), "--dry-run"), [], lambda r, f: f"seed = {2**64 - 1}" in lines(r))
    works("values that change nothing", generate("--quant", "none", "--attention", "auto", "--offload", "none"), ["a.mp4"])
    works("encode", ["encode", "clip.src", "-o", "x.latents"], ["x.latents"], lambda r, f: r.stdout == b"x.latents\n"
          and (f.path / "x.latents").read_text() == "FAKE LATENTS of 5")
    works("encode the first frames", ["encode", "clip.src", "-o", "x.latents", "--frames", "1"], ["x.latents"],
          lambda r, f: (f.path / "x.latents").read_text() == "FAKE LATENTS of 1")
    works("pictures", generate("--image", "one.src", "--last-image", "one.src"), ["a.mp4"])
    works("decode", ["decode", "latents.safetensors", "-o", "b.mp4", "--fps", "12"], ["b.mp4"], lambda r, f: r.stdout == b"b.mp4\n")
    works("decode into a folder", ["decode", "latents.safetensors", "-o", "folder"], ["folder/latents.mp4"])
    works("presets", ["presets"], [], lambda r, f: lines(r)[0] == "official" and '  negative-prompt = "a b"' in lines(r))
    works("presets json", ["presets", "--json"], [], lambda r, f: json.loads(r.stdout)["diffusers"]["steps"] == "4")
    works("tokenize", ["tokenize", "-p", "ab\n", "-p", "", "-p", "汉"], [],
          lambda r, f: [json.loads(x)["ids"] for x in lines(r)] == [[3, 1], [0, 1], [3, 1]])
    works("tokenize --tokenizer", ["tokenize", "--tokenizer", "one.txt", "-p", "ab"], [])
    works("calibrate-cache", ["calibrate-cache", "-p", "a", "-o", "table.json"], ["table.json"], lambda r, f: lines(r) == ["table.json"])
    works("inspect model", ["inspect", "folder"], [], lambda r, f: b"fake model" in r.stdout)
    works("inspect model json", ["inspect", "folder", "--json"], [], lambda r, f: json.loads(r.stdout)["layout"] == "fake")
    works("T2V_BACKEND", ["inspect", "folder"], [], environment={"T2V_BACKEND": "reference"})
    works("help", ["--help"], [], lambda r, f: b"quantize" in r.stdout and b"generate" in r.stdout)
    for command in ["generate", "decode", "inspect", "presets", "tokenize"]:
        works(f"help of {command}", [command, "--help"], [], lambda r, f: b"--help" in r.stdout)
        works(f"help for {command}", ["help", command], [], lambda r, f: b"--help" in r.stdout)
    works("version", ["--version"], [], lambda r, f: r.stdout.startswith(b"t2v "))
    with Folder() as folder:
        run(["generate", "-p", "it's $HOME", "-o", "a.mp4", "--lora", "one.txt@low:0.5", "--lora", "two.txt"], folder)
        command = run(["inspect", "a.mp4", "--command"], folder).stdout.decode().strip()
        check("inspect --command", "--prompt 'it'\\''s $HOME'" in command and "--config" not in command
              and command.count("--lora") == 2 and "--lora one.txt@low:0.5" in command and "--lora two.txt " in command, command)
        shown = json.loads(run(["inspect", "a.mp4", "--json"], folder).stdout)
        check("inspect video", shown["recipe"]["steps"] == 3 and shown["video"]["container"] == "fake", str(shown))
        first = run(["generate", "-p", "a \"b\" #\\c\n汉", "--dry-run"], folder).stdout
        (folder.path / "again.cfg").write_bytes(first)
        check("a dry run is a config file", run(["generate", "--config", "again.cfg", "--dry-run"], folder).stdout == first)


def signal_cases():
    for number, code in [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]:
        with Folder() as folder:
            env = {**os.environ, "T2V_FAKE": "slow"}
            process = subprocess.Popen([binary(), *generate("--steps", "300")], cwd=folder.path, env=env, stderr=subprocess.PIPE,
                                       stdout=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
            process.stderr.readline()                # it has begun
            process.send_signal(number)
            process.send_signal(number)              # as timeout(1) does: still one event
            start = time.time()
            _, err = process.communicate(timeout=30)
            wrong = problems_of(subprocess.CompletedProcess([], process.returncode, b"", err), code, folder.listing(), folder.before)
            check(f"signal {number}", not wrong and time.time() - start < 5, wrong)


def stream_cases():
    with Folder() as folder:
        for name, closed in [("stdout", [1]), ("stderr", [2]), ("all", [0, 1, 2])]:
            process = subprocess.Popen([binary(), *generate()], cwd=folder.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       preexec_fn=lambda fds=closed: [os.close(fd) for fd in fds])
            code = process.wait(60)
            content = (folder.path / "a.mp4").read_text()
            check(f"closed {name}", code == OK and content.startswith("FAKE {") and content.endswith("frame\n"), content[:200])
            (folder.path / "a.mp4").unlink()
        with open("/dev/full", "wb") as full:
            process = subprocess.run([binary(), "presets"], cwd=folder.path, stdout=full, stderr=subprocess.PIPE)
            check("presets to a full disk", process.returncode == OUTPUT and b"standard output" in process.stderr, str(process))
            process = subprocess.run([binary(), *generate()], cwd=folder.path, stdout=subprocess.DEVNULL, stderr=full)
            check("stderr to a full disk", process.returncode == OK, str(process))
        reader, writer = os.pipe()
        os.close(reader)
        process = subprocess.run([binary(), "generate", "--help"], stdout=writer, stderr=subprocess.PIPE)
        check("a reader that has gone", process.returncode == OK, str(process))
        os.close(writer)
        (folder.path / "a.mp4").unlink(missing_ok=True)
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
        before = folder.listing()
        process = subprocess.run([binary(), *generate()], cwd=folder.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limit)
        check("file size limit", process.returncode == OUTPUT and folder.listing() - before <= {"a.mp4.latents.safetensors"}, str(process))


if __name__ == "__main__":
    sys.exit(run_families([usage_cases, input_cases, output_cases, working_cases, signal_cases, stream_cases]))
