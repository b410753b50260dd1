#!/usr/bin/env python3
"""Image-to-video and `t2v encode` through the program itself. Standard library only.

usage: test_image_to_video.py --bin build/t2v [--only PATTERN]
"""

import argparse
import array
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import image_models
from containers import read_safetensors
from suite import require, run_cases

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
SHIPPED = REPOSITORY / "models/shapes"
WIDTH, HEIGHT, FRAMES = 64, 32, 9
USAGE, MODEL, INPUT, MEMORY = 2, 3, 4, 6


def floats(tensor) -> array.array:
    values = array.array("f")
    values.frombytes(tensor.data)
    return values


def far(a: array.array, b: array.array) -> float:
    require(len(a) == len(b), f"{len(a)} values against {len(b)}")
    return max(abs(x - y) for x, y in zip(a, b))


class Suite:
    def __init__(self, binary: str, folder: pathlib.Path):
        self.binary, self.folder = str(pathlib.Path(binary).resolve()), folder
        tokenizer = SHIPPED / "tokenizer/spiece.model"
        image_models.write_image_model(tokenizer, folder / "i2v")
        image_models.write_text_image_model(tokenizer, folder / "ti2v")
        self.red = image_models.write_png(folder / "red.png", WIDTH, HEIGHT, 1)
        image_models.write_png(folder / "blue.png", WIDTH, HEIGHT, 2)
        image_models.write_png(folder / "odd.png", 100, 50, 3)

    def run(self, *arguments) -> subprocess.CompletedProcess:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("T2V_")}
        words = [self.binary, *map(str, arguments)]
        return subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300)

    def works(self, *arguments) -> str:
        done = self.run(*arguments)
        require(done.returncode == 0, f"exit {done.returncode}: {done.stderr[-400:]}")
        return done.stdout + done.stderr

    def refused(self, code: int, word: str, *arguments) -> None:
        done = self.run(*arguments)
        require(done.returncode == code, f"exit {done.returncode}, expected {code}: {done.stderr[-300:]}")
        require(word in done.stderr, f"no '{word}' in: {done.stderr[-300:]}")

    def generate(self, model: str, name: str, *arguments) -> dict:
        """The dump of a small fp32 run on the CPU."""
        self.works(*self.small(model, name), "--dump", f"{name}.dump", *arguments)
        return read_safetensors(self.folder / f"{name}.dump")

    @staticmethod
    def small(model: str, name: str) -> list:
        return ["generate", "-m", model, "-p", "a circle", "-n", "", "--size", f"{WIDTH}x{HEIGHT}", "--frames", FRAMES,
                "--steps", "3", "--seed", "5", "--device", "cpu", "--dtype", "fp32", "-o", f"{name}.mp4"]  # fmt: skip

    def encode(self, model: str, picture: str, *arguments) -> array.array:
        self.works("encode", picture, "-m", model, "-o", "encoded.safetensors", "--device", "cpu", "--dtype", "fp32",
                   *arguments)  # fmt: skip
        found = read_safetensors(self.folder / "encoded.safetensors")["latents"]
        self.encoded_shape = tuple(found.shape)
        return floats(found)

    # Image-to-video of two experts.

    def condition(self) -> None:
        dump = self.generate("i2v", "red", "--image", "red.png")
        require(tuple(dump["condition"].shape) == (1, 20, 3, 4, 8), f"condition is {dump['condition'].shape}")
        values, plane = floats(dump["condition"]), 4 * 8
        for channel in range(4):
            for frame in range(3):
                at = (channel * 3 + frame) * plane
                given = 1.0 if frame == 0 else 0.0
                require(set(values[at : at + plane]) == {given}, f"mask of channel {channel}, frame {frame}")
        # The encoder is causal: the first latent frame is that of the picture alone.
        alone = self.encode("i2v", "red.png")
        require(self.encoded_shape == (1, 16, 1, 4, 8), f"latents are {self.encoded_shape}")
        first = array.array("f")
        for channel in range(16):
            at = (4 + channel) * 3 * plane
            first += values[at : at + plane]
        require(far(first, alone) < 1e-5, "the first latent frame is not the picture's")
        pixels = floats(dump["image_tensor"])
        expected = array.array("f", (self.red[(i % (WIDTH * HEIGHT)) * 3 + i // (WIDTH * HEIGHT)] / 127.5 - 1
                                     for i in range(len(pixels))))  # fmt: skip
        require(far(pixels, expected) < 1e-6, "image_tensor is not the picture")

    def last_picture(self) -> None:
        dump = self.generate("i2v", "last", "--image", "red.png", "--last-image", "blue.png")
        values, plane = floats(dump["condition"]), 4 * 8
        given = [[values[(channel * 3 + frame) * plane] for frame in range(3)] for channel in range(4)]
        require(given == [[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 1]], f"mask {given}")
        latents = lambda which: [values[((4 + z) * 3 + which) * plane + i] for z in range(16) for i in range(plane)]
        require(far(latents(1), latents(2)) > 1e-3, "the last picture is not in the condition")

    def in_turns(self) -> None:
        """A batch of several pictures gives what each gives alone; the lines name their own."""
        lines = [{"prompt": "a circle", "image": name, "seed": 5} for name in ("red.png", "blue.png", "red.png")]
        (self.folder / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        words = [w for w in self.small("i2v", "x") if w not in ("-p", "a circle")]
        words[words.index("x.mp4")] = "{index}.mp4"
        self.works(*words, "--prompts", "lines.jsonl", "--save-latents", "{index}.latents")
        got = [floats(read_safetensors(path)["latents"]) for path in sorted(self.folder.glob("*.latents"))]
        require(len(got) == 3, f"{len(got)} videos")
        require(far(got[0], got[2]) < 1e-4, f"the same picture differs by {far(got[0], got[2])}")
        alone = floats(self.generate("i2v", "alone", "--image", "blue.png")["latents_final"])
        require(far(got[1], alone) < 1e-4, f"in a batch it is {far(got[1], alone)} off")
        require(far(got[0], got[1]) > 1e-3, "another picture gives the same latents")

    def size_of_picture(self) -> None:
        words = ["generate", "-p", "x", "--frames", "9", "--dry-run", "-o", "x.mp4", "--ram-budget", "200GiB"]
        plan = self.works(*words, "-m", "i2v", "--image", "odd.png")
        require('size = "1344x672"' in plan or "size = 1344x672" in plan, f"no 1344x672 in {plan[:400]}")
        plan = self.works(*words, "-m", "ti2v", "--image", "red.png", "--height", "64")
        require("128x64" in plan, f"no 128x64 in {plan[:400]}")
        plan = self.works(*words, "-m", "i2v", "--image", "odd.png", "--size", "64x32")
        require("peak of" in plan and "64x32" in plan, "no plan")

    def recipe(self) -> None:
        self.works(*self.small("i2v", "kept"), "--image", "red.png", "--last-image", "blue.png")
        command = self.works("inspect", "kept.mp4", "--command")
        require("--image red.png" in command and "--last-image blue.png" in command, command)

    def wrong_pictures(self) -> None:
        small = self.small("i2v", "no")
        self.refused(USAGE, "--image FILE", *small)
        self.refused(USAGE, "--last-image", *small, "--last-image", "red.png")
        self.refused(INPUT, "absent.png", *small, "--image", "absent.png")
        self.refused(INPUT, "folder", *small, "--image", ".")
        (self.folder / "text.png").write_text("no picture, but some text in a file")
        self.refused(INPUT, "text.png", *small, "--image", "text.png")
        self.refused(USAGE, "from text alone", "generate", "-m", SHIPPED, "-p", "x", "--image", "red.png", "-o", "x.mp4")
        self.refused(USAGE, "no last one", *self.small("ti2v", "no"), "--image", "red.png", "--last-image", "red.png")
        self.refused(USAGE, "--frames 5", *small, "--image", "red.png", "--last-image", "red.png", "--frames", "1")
        self.refused(MEMORY, "--ram-budget", *small, "--image", "red.png", "--ram-budget", "100MiB")
        done = self.run(*small, "--image", "odd.png", "--size", "32x64")
        require(done.returncode == 0 and "stretched" in done.stderr, f"no warning: {done.stderr[-300:]}")

    # Text-and-image-to-video.

    def held_frame(self) -> None:
        text = self.generate("ti2v", "text")
        require("condition" not in text, "a condition without a picture")
        dump = self.generate("ti2v", "held", "--image", "red.png")
        picture = self.encode("ti2v", "red.png")
        require(self.encoded_shape == (1, 48, 1, 2, 4), f"latents are {self.encoded_shape}")
        require(far(floats(dump["condition"]), picture) < 1e-5, "the condition is not the picture's latents")
        final, plane = floats(dump["latents_final"]), 2 * 4
        for channel in range(48):
            at = channel * 3 * plane
            held = picture[channel * plane : (channel + 1) * plane]
            require(far(final[at : at + plane], held) < 1e-5, f"channel {channel} of the first frame was not held")
        mask = floats(dump["first_frame_mask"])
        require(list(mask) == [0.0] * plane + [1.0] * 2 * plane, "first_frame_mask")
        require(far(final, floats(text["latents_final"])) > 1e-3, "the picture changes nothing")

    # t2v encode.

    def round_trip(self) -> None:
        """Frames -> latents -> frames -> the same number of frames, for both VAEs and the shipped one."""
        self.works(*self.small("ti2v", "clip"))
        for model in ("i2v", "ti2v", SHIPPED):
            self.encode(model, "clip.mp4")
            require(self.encoded_shape[2] == 3, f"{self.encoded_shape} of {model}")
            self.works("decode", "encoded.safetensors", "-m", model, "-o", "again.mp4", "--device", "cpu")
            told = json.loads(self.works("inspect", "again.mp4", "--json"))
            require(str(FRAMES) in json.dumps(told), f"not {FRAMES} frames: {told}")

    def shipped_picture(self) -> None:
        """The shipped VAE gives a picture back."""
        self.works("generate", "-p", "a red circle moves right on a black background", "--steps", "4", "--frames", "5",
                   "--seed", "3", "--device", "cpu", "-o", "true.png")  # fmt: skip
        self.works("encode", "true.png/00000.png", "-o", "one.safetensors", "--device", "cpu", "--dtype", "fp32")
        self.works("decode", "one.safetensors", "-o", "back.png", "--device", "cpu", "--dtype", "fp32")
        self.works("encode", "back.png/00000.png", "-o", "two.safetensors", "--device", "cpu", "--dtype", "fp32")
        one = floats(read_safetensors(self.folder / "one.safetensors")["latents"])
        two = floats(read_safetensors(self.folder / "two.safetensors")["latents"])
        error = sum((a - b) ** 2 for a, b in zip(one, two)) / sum(a * a for a in one)
        require(error < 0.1, f"the latents of the decoded picture are {error:.3f} away")

    def wrong_sources(self) -> None:
        self.works(*self.small("ti2v", "long"))
        self.refused(USAGE, "--output", "encode", "red.png", "-m", "i2v")
        self.refused(USAGE, "VIDEO", "encode", "-m", "i2v", "-o", "x.safetensors")
        self.refused(INPUT, "96 or 104", "encode", "odd.png", "-m", "i2v", "-o", "x.safetensors")
        self.refused(INPUT, "absent", "encode", "absent.mp4", "-m", "i2v", "-o", "x.safetensors")
        self.refused(INPUT, "--frames 5", "encode", "long.mp4", "-m", "i2v", "--frames", "8", "-o", "x.safetensors")
        self.refused(INPUT, "try fewer", "encode", "long.mp4", "-m", "i2v", "--frames", "13", "-o", "x.safetensors")
        self.refused(MEMORY, "--ram-budget", "encode", "red.png", "-m", "i2v", "-o", "x.safetensors", "--ram-budget",
                     "10MiB")  # fmt: skip
        require(not (self.folder / "x.safetensors").exists(), "a refused run left a file")
        self.encode("i2v", "long.mp4", "--frames", "5")
        require(self.encoded_shape == (1, 16, 2, 4, 8), f"latents are {self.encoded_shape}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="t2v-image-") as folder:
        suite = Suite(options.bin, pathlib.Path(folder))
        names = ["condition", "last_picture", "in_turns", "size_of_picture", "recipe", "wrong_pictures",
                 "held_frame", "round_trip", "shipped_picture", "wrong_sources"]  # fmt: skip
        count, failed = run_cases([(name, getattr(suite, name)) for name in names], options.only)
    print(f"{count - failed} passed, {failed} failed")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
