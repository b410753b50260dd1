#!/usr/bin/env python3
"""LoRA files, component overrides and the latent preview through the real program and the shipped model.

    python3 test_lora_runs.py --bin build/.../t2v --fixtures tests/fixtures

Standard library only; the last line counts the cases.
"""
import argparse
import array
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

import cli_harness
from cli_harness import check


def write_safetensors(path, tensors):
    """tensors: name -> (shape, list of floats)."""
    header, body = {}, b""
    for name, (shape, values) in tensors.items():
        data = array.array("f", values).tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def factors(layer, scale=0.3):
    numbers = random.Random(1)
    noise = lambda count: [numbers.gauss(0, scale) for _ in range(count)]
    return {f"{layer}.lora_down.weight": ([2, 192], noise(384)), f"{layer}.lora_up.weight": ([192, 2], noise(384)),
            f"{layer}.alpha": ([], [2.0])}


class Program:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.count = 0

    def run(self, *arguments):
        return subprocess.run([self.binary, *map(str, arguments)], cwd=self.folder, capture_output=True, timeout=300)

    def latents(self, *arguments):
        """The final latents' file of a short run, as bytes without its recipe; '' when the run failed."""
        self.count += 1
        name = f"{self.count}.safetensors"
        result = self.run("generate", "-p", "a red circle", "--seed", "3", "--steps", "2", "--frames", "5", "--dtype", "fp32",
                          "--progress", "none", "--save-latents", name, "-o", f"{self.count}.mp4", *arguments)
        if result.returncode != 0:
            print(result.stderr.decode())
            return ""
        data = (self.folder / name).read_bytes()
        return data[8 + struct.unpack("<Q", data[:8])[0]:]

    def refused(self, name, code, words, *arguments):
        result = self.run("generate", "-p", "a red circle", "-o", "never.mp4", "--progress", "none", *arguments)
        err = result.stderr.decode()
        missing = [word for word in words if word not in err]
        check(name, result.returncode == code and not missing and err.count("\n") == 1 and not (self.folder / "never.mp4").exists(),
              f"exit {result.returncode}, {missing} not in: {err}")


def lora_cases(program):
    folder = program.folder
    write_safetensors(folder / "style.safetensors", factors("diffusion_model.blocks.0.self_attn.q"))
    write_safetensors(folder / "kohya.safetensors", factors("lora_unet_blocks_0_self_attn_q"))
    write_safetensors(folder / "wrong.safetensors", {**factors("blocks.0.self_attn.q"), **factors("blocks.77.self_attn.q")})
    write_safetensors(folder / "dora.safetensors", {**factors("blocks.0.self_attn.q"), "blocks.0.self_attn.q.dora_scale": ([1], [1.0])})
    (folder / "cut.safetensors").write_bytes((folder / "style.safetensors").read_bytes()[:-5])
    (folder / "text.safetensors").write_bytes(b"no weights at all")
    without = program.latents()
    both = program.latents("--lora", "style.safetensors")
    check("a LoRA changes the picture", without and both and both != without)
    check("weight 0 is without", program.latents("--lora", "style.safetensors:0") == without)
    check("the other naming is the same", program.latents("--lora", "kohya.safetensors") == both)
    high = program.latents("--lora", "style.safetensors@high")
    check("one expert is not both", high and high not in (both, without))
    check("two flags for two experts are both", program.latents("--lora-high", "style.safetensors", "--lora-low", "style.safetensors") == both)
    check("streamed blocks are the same", program.latents("--lora", "style.safetensors", "--offload", "block") == both)
    check("lenient uses the rest", program.latents("--lora", "wrong.safetensors", "--lora-lenient") == both)
    program.refused("names that do not fit", 3, ["3 tensors do not fit", "blocks.77.self_attn.q.alpha", "wrong.safetensors", "--lora-lenient"],
                    "--lora", "wrong.safetensors")
    program.refused("DoRA", 3, ["DoRA", "dora.safetensors"], "--lora", "dora.safetensors", "--lora-lenient")
    program.refused("a cut file", 3, ["cut.safetensors"], "--lora", "cut.safetensors")
    program.refused("no weights", 3, ["text.safetensors"], "--lora", "text.safetensors")
    program.refused("no room", 6, ["--ram-budget"], "--lora", "style.safetensors", "--ram-budget", "1MiB")


def recipe_cases(program):
    result = program.run("generate", "-p", "a red circle", "--steps", "1", "--frames", "5", "-o", "r.mp4", "--lora", "style.safetensors@low:0.5")
    command = program.run("inspect", "r.mp4", "--command").stdout.decode()
    check("the recipe has the LoRA", result.returncode == 0 and " --lora style.safetensors@low:0.5 " in command, command)


def preview_cases(program, fixtures):
    for name in ["bare.pth", "samples.pth", "preview.safetensors"]:
        result = program.run("decode", fixtures / "latents" / name, "--preview", "-o", f"{name}.png", "-m", "no/such/model")
        pictures = sorted(p.name for p in (program.folder / f"{name}.png").glob("*.png"))
        check(f"preview of {name}", result.returncode == 0 and pictures == ["00000.png", "00001.png"], result.stderr.decode())
    result = program.run("decode", program.folder / "style.safetensors", "--preview", "-o", "no.png")
    check("preview of no latents", result.returncode == 4 and b"'latents'" in result.stderr and not (program.folder / "no.png").exists(),
          result.stderr.decode())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--fixtures", required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="t2v-lora-") as folder:
        program = Program(str(pathlib.Path(given.bin).resolve()), pathlib.Path(folder))
        lora_cases(program)
        recipe_cases(program)
        preview_cases(program, pathlib.Path(given.fixtures).resolve())
    print(f"{cli_harness.PASSED} passed, {len(cli_harness.FAILURES)} failed")
    return 1 if cli_harness.FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
