#!/usr/bin/env python3
"""Flags that say which weights, from where and with how much memory, against a fake engine; reports about weights.

    python3 test_cli_weights.py --bin build/.../fake/t2v
"""
import json
import sys

from cli_harness import INPUT, MODEL, USAGE, generate, refused, run_families, works


def options_of(result):
    """The EngineOptions of a dry run, as the fake engine got them."""
    line = next(x for x in result.stdout.decode().splitlines() if x.startswith("# options: "))
    return json.loads(line[len("# options: "):])


GIB = 2**30


def options(name, arguments, expected, **more):
    """A dry run whose EngineOptions must have these values."""
    def test(result, _):
        got = options_of(result)
        return all(got[key] == value for key, value in expected.items()) or print(got)
    works(name, generate("--dry-run", *arguments), [], test, **more)


def size_cases():
    sizes = ["0", "-1", "12X", "GiB", "", "nan", "inf", "1e3GiB", "1e400", "12 GiB", " 12GiB", "0x10", "9999999999999TiB",
             "9223372036854775808", "0.0001B", "1..5GiB", "12GiBB", "0.5", "+5GiB", "12iB"]
    for flag in ["--ram-budget", "--vram-budget", "--cache-limit", "--max-vram"]:
        for size in sizes if flag == "--ram-budget" else sizes[:4]:
            refused(f"{flag} {size!r}", generate(flag, size), USAGE, flag.replace("--max-vram", "--vram-budget"), "such as 12GiB")
    for text, size in [("12GiB", 12 * GIB), ("12G", 12 * GIB), ("12gb", 12 * 10**9), ("500MiB", 500 * 2**20), ("1.5TiB", 1536 * GIB),
                       ("123456", 123456), ("7B", 7), ("3k", 3072), ("9223372036854775807", 2**63 - 1)]:
        options(f"size {text}", ["--ram-budget", text], {"ram_budget": size})


def refused_cases():
    choices = {"--offload": ["x", ""], "--text-encoder-device": ["gpu"], "--io": ["mmap", ""], "--vae-tiling": ["x", ""], "--cache-dir": [""], "--vae": [""],
               "--remote-timeout": ["0", "x", "nan"]}
    for flag, values in choices.items():
        for value in values:
            refused(f"{flag} {value!r}", generate(flag, value), USAGE, flag)
    loras = {"one.txt:": "no number", "one.txt:x": "no number", "one.txt:nan": "no number", "one.txt:1e400": "no number",
             "one.txt@mid": "no expert", "one.txt@": "no expert", "one.txt:0.5@high": "no number", "": "no file", ":1": "no file",
             "@high:1": "no file"}
    for value, words in loras.items():
        refused(f"--lora {value!r}", generate("--lora", value), USAGE, "--lora", words, "FILE")
    refused("--lora-high of the other expert", generate("--lora-high", "one.txt@low"), USAGE, "--lora-high", "high-noise expert only")
    for flag, what in [("--lora", "LoRA"), ("--vae", "VAE"), ("--transformer", "transformer"), ("--transformer-low", "low-noise"),
                       ("--text-encoder", "text encoder"), ("--tokenizer", "tokenizer"), ("--model", "model")]:
        refused(f"{flag} absent", generate(flag, "absent.pth"), MODEL, "cannot open " + what, "absent.pth")
    refused("--model of an unknown store", generate("-m", "gs://bucket/x"), MODEL, "gs://", "s3://")
    refused("--t5-cpu and another device", generate("--t5-cpu", "--text-encoder-device", "cuda"), USAGE, "--t5-cpu")
    refused("--lora for one line", ["generate", "--prompts", "lora.jsonl", "-o", "{index}.mp4"], INPUT, "lora.jsonl")
    refused("bad T2V_IO", generate(), USAGE, "T2V_IO", environment={"T2V_IO": "x"})
    refused("a video over its LoRA", generate("--lora", "one.txt", "--profile", "one.txt"), USAGE, "same file")


def option_cases():
    options("defaults", [], {"loras": [], "offload": 0, "text_encoder_device": 0, "vae_tiling": 0, "ram_budget": 0, "vram_budget": 0, "io": "",
                             "lora_lenient": False, "ignore_extra": False, "cache_limit": 200 * GIB, "remote_timeout": 30,
                             "cache_dir": "/somewhere/t2v"}, environment={"XDG_CACHE_HOME": "/somewhere"})
    options("the user's cache", [], {"cache_dir": "/home/x/.cache/t2v"}, environment={"HOME": "/home/x", "XDG_CACHE_HOME": ""})
    options("components", ["--transformer", "one.txt", "--transformer-low-path", "two.txt", "--t5_path", "folder", "--vae_path", "x.csv",
                           "--tokenizer", "nul.txt"],
            {"transformer": "one.txt", "transformer_low": "two.txt", "text_encoder": "folder", "vae": "x.csv", "tokenizer": "nul.txt"})
    options("remote paths pass untouched", ["-m", "s3://bucket/a//b?x=1", "--transformer", "https://host/x.gguf", "--vae", "http://h/./v.pth",
                                            "--lora", "s3://bucket/l.safetensors@low:-.5"],
            {"model": "s3://bucket/a//b?x=1", "transformer": "https://host/x.gguf", "vae": "http://h/./v.pth",
             "loras": [["s3://bucket/l.safetensors", "low", -0.5]]})
    options("LoRAs", ["--lora", "one.txt", "--lora=one.txt@high:0.75", "--lora", "high_noise.safetensors:2", "--lora", "./b:c.safetensors",
                      "--lora", "./b:c.safetensors@low:1e-1", "--lora-high", "one.txt:3", "--lora_low", "two.txt", "--lora-low", "two.txt@low:0"],
            {"loras": [["one.txt", "", 1], ["one.txt", "high", 0.75], ["high_noise.safetensors", "", 2], ["./b:c.safetensors", "", 1],
                       ["./b:c.safetensors", "low", 0.1], ["one.txt", "high", 3], ["two.txt", "low", 1], ["two.txt", "low", 0]]})
    options("switches", ["--lora-lenient", "--ignore_extra"], {"lora_lenient": True, "ignore_extra": True})
    for value, number in [("auto", 0), ("none", 1), ("model", 2), ("block", 3), ("True", 2), ("False", 1)]:
        options(f"--offload {value}", ["--offload_model", value], {"offload": number})
    options("--text-encoder-device", ["--text-encoder-device", "cuda"], {"text_encoder_device": 2})
    for value, number in [("auto", 0), ("on", 1), ("off", 2)]:
        options(f"--vae-tiling {value}", ["--vae_tiling", value], {"vae_tiling": number})
    options("--t5-cpu", ["--t5_cpu"], {"text_encoder_device": 1})
    options("cache", ["--cache-dir", "c", "--cache-limit", "1GiB"], {"cache_dir": "c", "cache_limit": GIB})
    options("T2V_CACHE", [], {"cache_dir": "e"}, environment={"T2V_CACHE": "e"})
    options("--cache-dir beats T2V_CACHE", ["--cache-dir", "c"], {"cache_dir": "c"}, environment={"T2V_CACHE": "e"})
    options("T2V_IO", [], {"io": "uring"}, environment={"T2V_IO": "uring"})
    options("--io beats T2V_IO", ["--io", "pread"], {"io": "pread"}, environment={"T2V_IO": "uring"})
    options("T2V_REMOTE_TIMEOUT", [], {"remote_timeout": 2.5}, environment={"T2V_REMOTE_TIMEOUT": "2.5"})
    options("config file", ["--config", "weights.cfg"],
            {"loras": [["one.txt", "low", 2], ["one.txt", "", 1]], "ram_budget": 12 * GIB, "text_encoder_device": 1, "vae": "one.txt"})
    options("the command line wins", ["--config", "weights.cfg", "--lora", "two.txt", "--ram-budget", "1GiB", "--text-encoder-device", "auto"],
            {"loras": [["two.txt", "", 1]], "ram_budget": GIB, "text_encoder_device": 0})


def decode_cases():
    works("decode --vae", ["decode", "latents.safetensors", "-o", "b.mp4", "--vae", "one.txt", "--ram-budget", "1G"], ["b.mp4"])
    works("decode --preview", ["decode", "latents.safetensors", "--preview", "-o", "b.mp4"], ["b.mp4"],
          lambda r, f: r.stdout == b"b.mp4\n", fake="model")
    works("decode --preview first", ["decode", "--preview", "latents.safetensors", "-o", "b.mp4", "-q"], ["b.mp4"], environment={"T2V_MODEL": "no"})
    refused("decode --preview: absent", ["decode", "--preview", "absent.pth", "-o", "b.mp4"], INPUT, "absent.pth")
    refused("--preview has no value", ["decode", "--preview=x", "latents.safetensors", "-o", "b.mp4"], USAGE, "--preview", "no value")


def report_cases():
    def weights_of(path):
        return json.loads(path.read_text())["weights"]
    works("profile has weights", generate("--profile", "p.json"), ["a.mp4", "p.json"],
          lambda r, f: weights_of(f.path / "p.json") == {"bytes": 2 * 10**9, "gb_per_s": 1.5, "stall_ms": 2.0, "expert_switch_ms": 3.0,
                                                         "streamed_blocks": 40})
    works("profile table has weights", generate("--profile"), ["a.mp4"],
          lambda r, f: b"weights 2.00 GB at 1.50 GB/s, stalled 2.0 ms, expert switch 3.0 ms, 40 blocks streamed" in r.stderr)

    def has_bytes(result, _):
        events = [json.loads(line) for line in result.stderr.splitlines()]
        loading = [e for e in events if e.get("stage") == "load_transformer"]
        return [e["bytes_done"] for e in loading] == [0, 2 * 10**9] and all(e["bytes_total"] == 2 * 10**9 for e in loading) \
            and loading[-1]["gb_per_s"] > 0 and "bytes_done" not in next(e for e in events if e.get("stage") == "denoise")
    works("progress json has bytes", generate("--progress", "json"), ["a.mp4"], has_bytes)
    works("progress plain has GB/s", generate("--progress", "plain"), ["a.mp4"], lambda r, f: b"2.00 GB, " in r.stderr and b"GB/s" in r.stderr)


if __name__ == "__main__":
    sys.exit(run_families([size_cases, refused_cases, option_cases, decode_cases, report_cases]))
