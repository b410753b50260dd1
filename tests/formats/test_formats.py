#!/usr/bin/env python3
"""One model in every layout, naming and container: the engine must make the same latents from all of them.

test_formats.py --bin build/t2v [--base MODEL] [--filter REGEX] [--keep FOLDER] [--torch PYTHON]

Plain layouts give the same bits as the diffusers folder. Quantised ones give what a diffusers folder with the
values gives that the quantised ones stand for. --base takes a diffusers folder instead of the tiny random
model, cut to 16 bits, in the plain layouts. Standard library only.
"""

import argparse
import array
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import containers
import ggml_quant
import layouts
import naming
import scheme_quant
from containers import Stored, read_safetensors, store, write_gguf, write_safetensors, write_torch_archive
from layouts import PREFIX, Model
from suite import Failure, run_cases
from tiny_model import Tensor

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SIZE, FRAMES, STEPS = "32x32", 5, 2
# Of what the expansion in fp32 and the one here may differ in, after all layers.
NEAR = 1e-5
# Linear layers that are quantised; all kinds of places, few enough to be quick in Python.
LAYERS = ["blocks.0.self_attn.q", "blocks.1.cross_attn.k", "blocks.1.ffn.2"]
TEXT_LAYERS = ["blocks.0.attn.q", "blocks.1.ffn.fc2"]


class Program:
    def __init__(self, path: pathlib.Path, scratch: pathlib.Path):
        self.path, self.scratch = path.resolve(), scratch
        self.environment = dict(os.environ, T2V_MODEL="")
        self.environment.pop("T2V_MODEL")

    def run(self, *arguments: str | pathlib.Path) -> subprocess.CompletedProcess:
        command = [str(self.path), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=self.environment)

    def latents(self, *model: str | pathlib.Path) -> dict[str, Stored]:
        dump = self.scratch / "dump.safetensors"
        dump.unlink(missing_ok=True)
        result = self.run(
            "generate", *model, "-p", "a small red circle", "-n", "", "-s", SIZE, "-f", str(FRAMES), "--steps",
            str(STEPS), "--shift", "3", "--guidance-scale", "2", "--seed", "7", "--device", "cpu", "--dtype", "fp32",
            "--progress", "none", "--dump", dump, "-o", self.scratch / "x.gif",
        )  # fmt: skip
        if result.returncode != 0:
            raise Failure(f"exit code {result.returncode}: {result.stderr.strip()[-600:]}")
        (self.scratch / "x.gif").unlink()
        return read_safetensors(dump)

    def refusal(self, *arguments: str | pathlib.Path, code: int = 3) -> str:
        result = self.run(*arguments)
        if result.returncode != code:
            raise Failure(f"exit code {result.returncode}, expected {code}: {result.stderr.strip()[-600:]}")
        return result.stderr

    def inspect(self, path: pathlib.Path) -> dict:
        result = self.run("inspect", path, "--json")
        if result.returncode != 0:
            raise Failure(f"inspect: exit code {result.returncode}: {result.stderr.strip()[-600:]}")
        return json.loads(result.stdout)


def floats(tensor: Stored) -> array.array:
    values = array.array("f")
    values.frombytes(tensor.data)
    return values


def require_same(got: dict[str, Stored], expected: dict[str, Stored], names: list[str]) -> None:
    for name in names:
        if got[name].shape != expected[name].shape or got[name].data != expected[name].data:
            raise Failure(f"{name} differs: {distance(got[name], expected[name]):.3g} relative")


def distance(got: Stored, expected: Stored) -> float:
    """Relative, over the whole tensor; NaN counts as far."""
    a, b = floats(got), floats(expected)
    size = sum(y * y for y in b) ** 0.5
    error = sum((x - y) ** 2 for x, y in zip(a, b)) ** 0.5 / max(size, 1e-30)
    return error if error == error else float("inf")


class Suite:
    def __init__(self, program: Program, pair: Model, single: Model, scratch: pathlib.Path):
        self.program, self.pair, self.single, self.scratch = program, pair, single, scratch
        self.base = scratch / "base"
        layouts.write_diffusers(pair, self.base)
        self.expected = program.latents("-m", self.base)
        self.farthest = 0.0  # of quantised files from their dense twins

    def folder(self, name: str) -> pathlib.Path:
        return self.scratch / name

    # --- plain layouts

    def check_plain(self, name: str, write, *flags: str | pathlib.Path) -> None:
        folder = self.folder(name)
        write(folder)
        got = self.program.latents("-m", folder, *flags)
        require_same(got, self.expected, ["prompt_ids", "latents_final", "video"])

    def plain_cases(self):
        pair = self.pair
        yield "diffusers bf16 shards", lambda: self.check_plain(
            "diffusers_bf16", lambda folder: layouts.write_diffusers(pair, folder, "BF16", shards=3)
        )
        yield "diffusers fp16", lambda: self.check_plain(
            "diffusers_fp16", lambda folder: layouts.write_diffusers(pair, folder, "F16")
        )
        yield "original Wan layout", lambda: self.check_plain("wan", lambda folder: layouts.write_wan(pair, folder))
        yield "original Wan layout without configs", lambda: self.check_plain(
            "wan_bare", lambda folder: layouts.write_wan(pair, folder, configs=False), *self.vae_of_base(), *self.heads()
        )
        yield "ComfyUI", lambda: self.check_comfy(split=False)
        yield "ComfyUI, split files", lambda: self.check_comfy(split=True)
        for dtype in ("F32", "F16", "BF16"):
            prefix = PREFIX if dtype == "BF16" else ""
            yield f"GGUF {dtype}", lambda dtype=dtype, prefix=prefix: self.check_plain(
                f"gguf_{dtype}",
                lambda folder: layouts.write_gguf_folder(pair, folder, dtype, prefix),
                *self.vae_of_base(),
                *self.heads(),
            )
        yield "torch archives", lambda: self.check_plain(
            "torch", lambda folder: layouts.write_torch_folder(pair, folder), *self.vae_of_base(), *self.heads()
        )
        yield "one file and flags", self.check_flags
        yield "one file among others", self.check_one_file

    def check_comfy(self, split: bool) -> None:
        folder = self.folder("comfy_split" if split else "comfy")
        write = lambda place: layouts.write_comfy(self.pair, place, split)
        self.check_plain(folder.name, write, *self.vae_of_base(), *self.heads())

    def vae_of_base(self) -> list[str | pathlib.Path]:
        """Files without a config say no statistics of the latents; a real base may have its own."""
        return []

    def heads(self) -> list[str | pathlib.Path]:
        return []

    def check_flags(self) -> None:
        folder = self.folder("flags")
        layouts.write_comfy(self.pair, folder / "comfy")
        layouts.write_wan(self.pair, folder / "wan")
        got = self.program.latents(
            "--transformer", folder / "wan/high_noise_model",
            "--transformer-low", folder / "comfy/diffusion_models/wan2.2_t2v_low_noise_14B_fp16.safetensors",
            "--text-encoder", folder / "wan/models_t5_umt5-xxl-enc-bf16.pth",
            "--vae", self.base, "--tokenizer", folder / "wan",
            "-m", folder / "comfy/diffusion_models/wan2.2_t2v_high_noise_14B_fp16.safetensors",
        )  # fmt: skip
        require_same(got, self.expected, ["latents_final", "video"])

    def check_one_file(self) -> None:
        folder = self.folder("one_file")
        layouts.write_torch_folder(self.pair, folder)
        (folder / "wan-high.pt").rename(folder / "WAN-High.bin")  # suffixes say nothing
        (folder / "wan-low.pt").rename(folder / "WAN-Low.bin")
        got = self.program.latents("-m", folder / "WAN-Low.bin")
        require_same(got, self.expected, ["latents_final", "video"])

    # --- quantised files, against a dense model of the values that they stand for

    def check_quantised(self, name: str, transformer: dict, text: dict, dense: tuple[dict, dict], gguf: bool) -> None:
        folder, twin = self.folder(name), self.folder(name + "_twin")
        if gguf:
            write_gguf(folder / "wan.gguf", "wan", transformer)
            write_gguf(folder / "umt5.gguf", "t5encoder", text)
        else:
            write_safetensors(folder / "diffusion_models/wan.safetensors", transformer)
            write_safetensors(folder / "text_encoders/umt5.safetensors", text)
        write_torch_archive(folder / "vae/Wan2.1_VAE.pth", layouts.native_vae(self.single, "F32"))
        layouts.write_twin(self.base, twin, *dense)
        got = self.program.latents("-m", folder, "--tokenizer", self.base / "tokenizer/spiece.model")
        expected = self.program.latents("-m", twin)
        for tensor in ("prompt_embeds", "latents_final"):
            error = distance(got[tensor], expected[tensor])
            if not error <= NEAR:
                raise Failure(f"{tensor} is {error:.3g} from what the quantised values give")
            self.farthest = max(self.farthest, error)

    def single_expected(self) -> dict[str, Stored]:
        if not hasattr(self, "_single_expected"):
            folder = self.folder("single")
            layouts.write_diffusers(self.single, folder)
            self._single_expected = self.program.latents("-m", folder)
        return self._single_expected

    def split(self, quantise, text_quantise=None):
        """Stored and dense tensors of both models: `quantise(name, tensor)` gives {suffix: Stored} and the values."""
        out = []
        for tensors, layers, use in (
            (self.single.transformer, LAYERS, quantise),
            (self.single.text_encoder, TEXT_LAYERS, text_quantise or quantise),
        ):
            stored, dense = {}, {}
            for name, tensor in tensors.items():
                layer = name.removesuffix(".weight")
                if name.endswith(".weight") and layer in layers:
                    # No grid of powers of two, which some schemes would hold exactly.
                    odd = Tensor(tensor.shape, array.array("f", [0.83 * value for value in tensor.values]))
                    parts, dense[name] = use(odd)
                    stored.update({layer + suffix: part for suffix, part in parts.items()})
                else:
                    stored[name], dense[name] = store(tensor, "F32" if len(tensor.shape) == 1 else "F16"), tensor
            out.append((stored, dense))
        return out

    def check_ggml(self, kind: str) -> None:
        def quantise(tensor):
            if tensor.shape[-1] % ggml_quant.GROUP[kind] != 0:  # as the usual programs do
                return quantise_as(tensor, "Q8_0")
            return quantise_as(tensor, kind)

        def quantise_as(tensor, own):
            stored, values = ggml_quant.quantise(tensor, own)
            return {".weight": stored}, values

        (transformer, dense), (text, text_dense) = self.split(quantise)
        text = {naming.gguf_text(name): tensor for name, tensor in text.items()}
        self.check_quantised(f"ggml_{kind}", transformer, text, (dense, text_dense), gguf=True)

    def check_scheme(self, name: str, quantise, markers: dict[str, Stored] | None = None) -> None:
        (transformer, dense), (text, text_dense) = self.split(quantise)
        transformer = {PREFIX + key: tensor for key, tensor in {**transformer, **(markers or {})}.items()}
        text = {naming.transformers_text(key): tensor for key, tensor in text.items()}
        text.update(markers or {})
        self.check_quantised(name.replace(" ", "_"), transformer, text, (dense, text_dense), gguf=False)

    def quantised_cases(self):
        for kind in ggml_quant.GROUP:
            yield f"GGUF {kind}", lambda kind=kind: self.check_ggml(kind)
        words, scalar = scheme_quant.words, scheme_quant.scalar

        def fp8_old(tensor, dtype="F8_E4M3"):
            stored, scale, values = scheme_quant.fp8(tensor, dtype, scaled=True)
            return {".weight": stored, ".scale_weight": scalar(scale), ".scale_input": scalar(1.0)}, values

        def fp8_new(tensor):
            stored, scale, values = scheme_quant.fp8(tensor, "F8_E4M3", scaled=True)
            marker = words(format="float8_e4m3fn", full_precision_matrix_mult=False)
            return {".weight": stored, ".weight_scale": scalar(scale), ".comfy_quant": marker}, values

        def fp8_plain(tensor):
            stored, _, values = scheme_quant.fp8(tensor, "F8_E5M2", scaled=False)
            return {".weight": stored}, values

        def int8_row(tensor):
            stored, scale, values = scheme_quant.int8_rows(tensor)
            return {".weight": stored, ".weight_scale": scale}, values

        def int8_comfy(tensor):
            stored, scale, values = scheme_quant.int8_tensor(tensor)
            return {".weight": stored, ".weight_scale": scale, ".comfy_quant": words(format="int8_tensorwise")}, values

        def int8_rotated(tensor):
            group = 256 if tensor.shape[1] % 256 == 0 else 64 if tensor.shape[1] % 64 == 0 else 16
            stored, scale, values = scheme_quant.int8_rows(tensor, group)
            marker = words(format="int8_tensorwise", convrot=True, convrot_groupsize=group)
            return {".weight": stored, ".weight_scale": scale, ".comfy_quant": marker}, values

        def int8_block(tensor):
            stored, scale, values = scheme_quant.int8_blocks(tensor)
            return {".int8_weight": stored, ".scale": scale}, values

        yield "fp8 scaled, old keys", lambda: self.check_scheme(
            "fp8 old", fp8_old, {"scaled_fp8": Stored("F8_E4M3", (2,), b"\0\0")}
        )
        yield "fp8 e5m2 scaled, old keys", lambda: self.check_scheme(
            "fp8 e5m2", lambda tensor: fp8_old(tensor, "F8_E5M2"), {"scaled_fp8": Stored("F8_E5M2", (0,), b"")}
        )
        yield "fp8 scaled, new keys", lambda: self.check_scheme("fp8 new", fp8_new)
        yield "fp8 without scales", lambda: self.check_scheme("fp8 plain", fp8_plain)
        yield "int8 by row (A)", lambda: self.check_scheme("int8 A", int8_row)
        yield "int8 by tensor (B)", lambda: self.check_scheme("int8 B", int8_comfy)
        yield "int8 rotated (B)", lambda: self.check_scheme("int8 B rotated", int8_rotated)
        yield "int8 by block (C)", lambda: self.check_scheme("int8 C", int8_block)

    # --- what is said about models that do not work

    def message_cases(self):
        yield "several candidates are listed", self.check_several
        yield "missing, extra and misshapen tensors", self.check_misfits
        yield "image-to-video models are inspected, and want a picture", self.check_image_model

    def require_words(self, text: str, *wanted: str) -> None:
        for word in wanted:
            if word not in text:
                raise Failure(f"the message does not say {word!r}: {text.strip()}")

    def check_several(self) -> None:
        folder = self.folder("several")
        layouts.write_comfy(self.single, folder)
        name = "wan2.1_t2v_14B_fp16.safetensors"
        copy = folder / "diffusion_models/copy.safetensors"
        copy.symlink_to(folder / "diffusion_models" / name)
        text = self.program.refusal("inspect", folder)
        self.require_words(text, name, "copy.safetensors", "--transformer")
        got = self.program.latents("-m", folder, "--transformer", copy)
        require_same(got, self.single_expected(), ["latents_final", "video"])

    def check_misfits(self) -> None:
        folder = self.folder("misfits")
        layouts.write_comfy(self.single, folder)
        path = folder / "diffusion_models/wan2.1_t2v_14B_fp16.safetensors"
        whole = read_safetensors(path)
        extra = {**whole, PREFIX + "blocks.0.more.weight": store(self.single.transformer["head.modulation"], "F32")}
        write_safetensors(path, extra)
        self.require_words(self.program.refusal("inspect", folder), "blocks.0.more.weight", "not expected")
        got = self.program.latents("-m", folder, "--ignore-extra")
        require_same(got, self.single_expected(), ["latents_final"])
        broken = dict(whole)
        for letter in "qkvo":
            del broken[f"{PREFIX}blocks.1.self_attn.{letter}.weight"]
            del broken[f"{PREFIX}blocks.1.cross_attn.{letter}.weight"]
            del broken[f"{PREFIX}blocks.1.cross_attn.{letter}.bias"]
        norm = PREFIX + "blocks.0.norm3.bias"
        broken[norm] = Stored("F16", (2, len(whole[norm].data) // 4), whole[norm].data)
        write_safetensors(path, broken)
        text = self.program.refusal("generate", "-m", folder, "-p", "x", "-o", self.scratch / "x.gif")
        self.require_words(text, "13 tensors do not fit", "blocks.0.norm3.bias", "and 3 more", "looks like", "blocks of")

    def check_image_model(self) -> None:
        import tiny_model

        folder = self.folder("image")
        layouts.write_wan(self.pair, folder)
        for name, seed in (("high_noise_model", 8), ("low_noise_model", 9)):
            for path in (folder / name).iterdir():
                path.unlink()
            tensors = layouts.named(tiny_model.transformer(seed, 36), layouts.same, "BF16")
            write_safetensors(folder / name / "diffusion_pytorch_model.safetensors", tensors)
        said = self.program.inspect(folder)
        if said["task"] != "image-to-video" or said["layout"] != "wan" or said["experts"] != 2:
            raise Failure(f"inspect says {said['task']}, {said['layout']}, {said['experts']} experts")
        text = self.program.refusal("generate", "-m", folder, "-p", "x", "-o", self.scratch / "x.gif", code=2)
        self.require_words(text, "image-to-video")


class BaseSuite(Suite):
    """A model from outside: its own statistics and heads are told by configs beside the files."""

    def vae_of_base(self) -> list[str | pathlib.Path]:
        return ["--vae", self.base / "vae"]

    def heads(self) -> list[str | pathlib.Path]:
        flags = ["--transformer", self.base / "transformer"]
        return flags + (["--transformer-low", self.base / "transformer_2"] if self.pair.transformer_2 else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--base", type=pathlib.Path, help="a diffusers folder (the tiny random model)")
    parser.add_argument("--filter", default="", help="only cases whose name matches")
    parser.add_argument("--keep", type=pathlib.Path, help="a new folder, where the models are left")
    parser.add_argument("--torch", help="a Python with torch: torch.save itself writes the archives")
    arguments = parser.parse_args()
    containers.torch_python = arguments.torch
    with tempfile.TemporaryDirectory(prefix="t2v-formats-") as temporary:
        scratch = arguments.keep or pathlib.Path(temporary)
        scratch.mkdir(parents=True, exist_ok=arguments.keep is None)
        program = Program(arguments.bin, scratch)
        if arguments.base:
            model = layouts.read_diffusers(arguments.base)
            suite = BaseSuite(program, model, model, scratch)
            cases = [case for case in suite.plain_cases() if not case[0].startswith("one file")]
        else:
            tokenizer = REPOSITORY / "models/shapes/tokenizer/spiece.model"
            pair = layouts.make_tiny(tokenizer, experts=2)
            suite = Suite(program, pair, layouts.make_tiny(tokenizer), scratch)
            cases = [*suite.plain_cases(), *suite.quantised_cases(), *suite.message_cases()]
        count, failed = run_cases(cases, arguments.filter)
    print(f"formats: {count} cases, {failed} failed; quantised ones within {suite.farthest:.1e}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
