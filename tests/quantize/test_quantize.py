#!/usr/bin/env python3
"""`t2v quantize`: every kind of source, bit by bit against the specification; what it refuses; LoRA; the result runs.

    test_quantize.py --bin build/.../t2v [--filter REGEX]

Standard library only; the last line counts the cases.
"""

import argparse
import array
import json
import pathlib
import re
import shutil
import struct
import sys
import tempfile

from quantize_runs import (
    REPOSITORY, TEXT_LAYERS, TRANSFORMER_LAYERS, Program, check_layer, least_row_cosine, read_header,
    relative, require, rows_of, text_encoder_of, transformer_of,
)  # fmt: skip

import containers
import ggml_quant
import layouts
import row_math
import scheme_quant
from containers import Stored, read_safetensors, store, write_gguf, write_safetensors
from suite import run_cases
from tiny_model import Tensor

LAYERS = ["blocks.0.self_attn.q", "blocks.1.cross_attn.k", "blocks.1.ffn.2"]
TEXT = ["blocks.0.attn.q", "blocks.1.ffn.fc2"]
# Of a random model, whose layers have no structure that forgives: of latents and of rows of the text.
NEAR_LATENTS, TEXT_COSINE = 0.15, 0.995
SHIPPED = REPOSITORY / "models/shapes"


class Suite:
    def __init__(self, program: Program, scratch: pathlib.Path):
        self.program, self.scratch = program, scratch
        tokenizer = SHIPPED / "tokenizer/spiece.model"
        self.pair, self.single = layouts.make_tiny(tokenizer, experts=2), layouts.make_tiny(tokenizer)
        self.base = scratch / "base"
        layouts.write_diffusers(self.pair, self.base, "BF16")
        self.expected = program.dump(self.base, scratch, "--quant", "none")
        self.worst_text, self.worst_latents = 1.0, 0.0

    # --- every layout of the same values gives the same int8

    def check_layout(self, name: str, write, *flags) -> None:
        source, target = self.scratch / name, self.scratch / (name + "-int8")
        write(source)
        report = self.program.quantise(source, target, *flags)
        high = read_safetensors(transformer_of(target))
        self.check_file(high, self.pair.transformer, TRANSFORMER_LAYERS)
        self.check_file(read_safetensors(transformer_of(target, "low")), self.pair.transformer_2, TRANSFORMER_LAYERS)
        text = read_safetensors(text_encoder_of(target))
        self.check_file(text, self.pair.text_encoder, TEXT_LAYERS)
        self.check_layers(report, "transformer", LAYERS, high, self.pair.transformer)
        self.check_layers(report, "text_encoder", TEXT, text, self.pair.text_encoder)
        require(len(report["layers"]) == 2 * 2 * 10 + 2 * 7, f"{len(report['layers'])} layers in the report")
        require(len(report["worst"]) == 10, "not ten worst layers")
        self.check_whole(target)
        self.check_runs(target)

    def check_file(self, file: dict[str, Stored], source: dict[str, Tensor], layers: re.Pattern) -> None:
        expected = set(source)
        for name in source:
            if layers.fullmatch(name):
                expected.add(name.removesuffix(".weight") + ".weight_scale")
                require(file[name].dtype == "I8", f"{name} is {file[name].dtype}")
            else:
                values = containers.load(file[name])
                require(values.shape == source[name].shape and values.values == source[name].values, f"{name} differs")
        require(set(file) == expected, f"other tensors: {sorted(set(file) ^ expected)[:4]}")

    def check_layers(self, report: dict, component: str, names: list[str], file, source, asked: int = 256) -> None:
        for name in names:
            found = [x for x in report["layers"] if x["component"] == component and x["layer"] == name]
            require(len(found) == 1, f"{len(found)} reports of {name}")
            check_layer(found[0], source[name + ".weight"].values, file, asked)

    def check_whole(self, target: pathlib.Path) -> None:
        left = [p.name for p in target.rglob("*") if p.name.startswith(".") or p.name.endswith(".partial")]
        require(not left, f"left behind: {left}")
        _, metadata = read_header(transformer_of(target))
        require(metadata["t2v.quant"] == "int8" and metadata["t2v.rotate"] == "256", str(metadata)[:200])
        require(re.fullmatch("[0-9a-f]{64}", metadata["t2v.source_sha256"]) and set(metadata["t2v.source_sha256"]) != {"0"},
                "no source hash")  # fmt: skip

    def check_runs(self, target: pathlib.Path, *flags) -> dict[str, Stored]:
        got = self.program.dump(target, self.scratch, *flags)
        rows = sum(containers_mask(self.expected))
        cosine = least_row_cosine(got["prompt_embeds"], self.expected["prompt_embeds"], rows)
        error = relative(got["latents_final"], self.expected["latents_final"])
        self.worst_text, self.worst_latents = min(self.worst_text, cosine), max(self.worst_latents, error)
        require(cosine >= TEXT_COSINE, f"cosine of a row of the text is {cosine:.5f}")
        require(error <= NEAR_LATENTS, f"latents are {error:.3g} from those of the source")
        return got

    def layout_cases(self):
        pair = self.pair
        yield "diffusers, shards", lambda: self.check_layout(
            "diffusers", lambda folder: layouts.write_diffusers(pair, folder, "BF16", shards=3)
        )
        yield "diffusers fp16", lambda: self.check_layout(
            "fp16", lambda folder: layouts.write_diffusers(pair, folder, "F16")
        )
        yield "diffusers fp32", lambda: self.check_layout(
            "fp32", lambda folder: layouts.write_diffusers(pair, folder, "F32")
        )
        yield "original Wan", lambda: self.check_layout("wan", lambda folder: layouts.write_wan(pair, folder))
        yield "ComfyUI", lambda: self.check_layout("comfy", lambda folder: layouts.write_comfy(pair, folder))
        for dtype in ("F16", "BF16"):
            yield f"GGUF {dtype}", lambda dtype=dtype: self.check_layout(
                f"gguf-{dtype}", lambda folder: layouts.write_gguf_folder(pair, folder, dtype)
            )
        yield "torch archives", lambda: self.check_layout(
            "torch", lambda folder: layouts.write_torch_folder(pair, folder)
        )
        yield "components by flags", lambda: self.check_layout(
            "flags", lambda folder: layouts.write_comfy(pair, folder), "--vae", self.base, "--text-encoder", self.base,
            "--tokenizer", self.base / "tokenizer/spiece.model",
        )

    # --- sources that are quantised already

    def check_packed(self, name: str, quantise, gguf: bool = False, source_word: str = "") -> None:
        folder, target = self.scratch / name, self.scratch / (name + "-int8")
        stored, dense = {}, {}
        for key, tensor in self.single.transformer.items():
            layer = key.removesuffix(".weight")
            if key.endswith(".weight") and layer in LAYERS:
                odd = Tensor(tensor.shape, array.array("f", [0.83 * value for value in tensor.values]))
                parts, dense[key] = quantise(odd)
                stored.update({layer + suffix: part for suffix, part in parts.items()})
            else:
                stored[key], dense[key] = store(tensor, "F32" if len(tensor.shape) == 1 else "F16"), tensor
        if gguf:
            write_gguf(folder / "wan.gguf", "wan", stored)
        else:
            write_safetensors(folder / "wan.safetensors", stored)
        write_safetensors(folder / "umt5.safetensors", layouts.comfy_text(self.single, "F16"))
        containers.write_torch_archive(folder / "vae.pth", layouts.native_vae(self.single, "F32"))
        report = self.program.quantise(folder, target)
        file = read_safetensors(transformer_of(target))
        self.check_layers(report, "transformer", LAYERS[:1], file, dense)
        words = {x["source"] for x in report["layers"] if x["layer"] in LAYERS and x["component"] == "transformer"}
        require(words == {source_word}, f"the report says {words}")
        self.program.dump(target, self.scratch)

    def packed_cases(self):
        words, scalar = scheme_quant.words, scheme_quant.scalar

        def ggml(kind):
            def use(tensor):
                stored, values = ggml_quant.quantise(tensor, kind)
                return {".weight": stored}, values

            return use

        def fp8(tensor):
            stored, scale, values = scheme_quant.fp8(tensor, "F8_E4M3", scaled=True)
            return {".weight": stored, ".scale_weight": scalar(scale)}, values

        def int8_rows(tensor):
            stored, scale, values = scheme_quant.int8_rows(tensor)
            return {".weight": stored, ".weight_scale": scale}, values

        def int8_blocks(tensor):
            stored, scale, values = scheme_quant.int8_blocks(tensor)
            return {".int8_weight": stored, ".scale": scale}, values

        def rotated(tensor):
            stored, scale, _ = scheme_quant.int8_rows(tensor, 64)
            marker = words(format="int8_tensorwise", convrot=True, convrot_groupsize=64)
            values = array.array("f")  # in fp32, one operation after the other, as the program does it
            for row, factor in zip(rows_of(array.array("b", stored.data), stored.shape), array.array("f", scale.data)):
                values.extend(row_math.rotate(row_math.fp32(factor * v for v in row), 64))
            values = Tensor(tensor.shape, values)
            return {".weight": stored, ".weight_scale": scale, ".comfy_quant": marker}, values

        for kind in ("Q8_0", "Q4_K"):
            yield f"GGUF {kind}", lambda kind=kind: self.check_packed(kind, ggml(kind), gguf=True, source_word=kind)
        yield "fp8 scaled", lambda: self.check_packed("fp8", fp8, source_word="fp8 scaled")
        yield "int8 by row", lambda: self.check_packed("int8-rows", int8_rows, source_word="int8 row")
        yield "int8 by block", lambda: self.check_packed("int8-blocks", int8_blocks, source_word="int8 block")
        yield "int8, rotated otherwise", lambda: self.check_packed("int8-rotated", rotated, source_word="int8 row")

    # --- flags

    def check_rotation(self, asked: int) -> None:
        target = self.scratch / f"rotate-{asked}"
        report = self.program.quantise(self.base, target, "--int8-rotate", asked)
        file = read_safetensors(transformer_of(target))
        self.check_layers(report, "transformer", LAYERS, file, self.pair.transformer, asked)
        _, metadata = read_header(transformer_of(target))
        require(metadata["t2v.rotate"] == str(asked), metadata["t2v.rotate"])
        layer = json.loads(metadata["_quantization_metadata"])["layers"]["blocks.0.self_attn.q"]
        require(layer.get("convrot_groupsize", 0) == asked, str(layer))
        self.check_runs(target)

    # A width of 4 x 65 takes groups of 4, one of 16 x 13 of 16: the file says so layer by layer.
    def check_narrow(self) -> None:
        source, target = self.scratch / "narrow", self.scratch / "narrow-int8"
        shutil.copytree(self.base, source)
        config = json.loads((source / "text_encoder/config.json").read_text())
        config["d_ff"] = 208
        (source / "text_encoder/config.json").write_text(json.dumps(config))
        path = source / "text_encoder/model.safetensors"
        tensors, make = read_safetensors(path), self.pair.text_encoder["blocks.0.attn.q.weight"].values
        for i in range(2):
            for name, shape in (("wi_0", (208, 64)), ("wi_1", (208, 64)), ("wo", (64, 208))):
                values = array.array("f", (make * 4)[: 208 * 64])
                full = f"encoder.block.{i}.layer.1.DenseReluDense.{name}.weight"
                tensors[full] = store(Tensor(shape, values), "BF16")
        write_safetensors(path, tensors)
        report = self.program.quantise(source, target)
        groups = {x["layer"]: x["rotation"] for x in report["layers"] if x["component"] == "text_encoder"}
        require(groups["blocks.0.ffn.fc2"] == 16 and groups["blocks.0.ffn.fc1"] == 64, str(groups))
        got = self.program.dump(target, self.scratch)
        expected = self.program.dump(source, self.scratch, "--quant", "none")
        cosine = least_row_cosine(got["prompt_embeds"], expected["prompt_embeds"], sum(containers_mask(expected)))
        require(cosine >= TEXT_COSINE, f"cosine of a row of the text is {cosine:.5f}")

    def check_on_the_fly(self) -> None:
        """With one text encoder: INT8 made while the model is read, and read from the folder, resident and streamed."""
        target = self.scratch / "same"
        self.program.quantise(self.base, target)
        own = ["--text-encoder", self.base / "text_encoder"]
        for mode in ("int8", "int8-wo"):
            for dtype in ("fp32", "bf16"):
                flags = ["--quant", mode, "--dtype", dtype]
                expected = self.program.dump(self.base, self.scratch, *flags)
                for more in ([], ["--offload", "block"]):
                    got = self.program.dump(target, self.scratch, *own, *flags, *more)
                    require(got["latents_final"].data == expected["latents_final"].data, f"{mode} {dtype} {more}: latents differ")
        plain = self.program.dump(self.base, self.scratch, "--quant", "none", "--dtype", "bf16")
        require(plain["latents_final"].data != expected["latents_final"].data, "--quant changes nothing")

    def check_quality(self) -> None:
        target = self.scratch / "quality"
        report = self.program.quantise(self.base, target, "--quant-preset", "quality")
        parts = {x["component"] for x in report["layers"]}
        require(parts == {"text_encoder"}, f"two blocks are all protected, yet {parts}")
        require(read_header(transformer_of(target))[1]["t2v.preset"] == "quality", "no preset in the metadata")
        self.check_runs(target)

    def check_lora(self) -> None:
        layer, size = "blocks.0.self_attn.q", 256
        down = Tensor((1, size), array.array("f", [(i % 5 - 2) / 64 for i in range(size)]))
        up = Tensor((size, 1), array.array("f", [(i % 7 - 3) / 64 for i in range(size)]))
        shift = Tensor((size,), array.array("f", [(i % 3) / 8 for i in range(size)]))
        lora = self.scratch / "style.safetensors"
        write_safetensors(lora, {f"{layer}.lora_down.weight": store(down, "F32"), f"{layer}.lora_up.weight": store(up, "F32"),
                                 f"{layer}.diff_b": store(shift, "F32")})  # fmt: skip
        target = self.scratch / "lora"
        report = self.program.quantise(self.base, target, "--lora", f"{lora}@high:0.5")
        merged = dict(self.pair.transformer)
        weight = merged[layer + ".weight"]
        values = array.array("f", weight.values)
        for row in range(size):
            for column in range(size):
                values[row * size + column] += 0.5 * up.values[row] * down.values[column]
        merged[layer + ".weight"] = Tensor(weight.shape, values)
        file = read_safetensors(transformer_of(target))
        self.check_layers(report, "transformer", LAYERS, file, merged)
        bias = containers.load(file[layer + ".bias"]).values
        source = self.pair.transformer[layer + ".bias"].values
        expected = [x + 0.5 * y for x, y in zip(source, shift.values)]
        require(max(abs(x - y) for x, y in zip(bias, expected)) <= 2**-8, "the bias has no delta")
        require(report["loras"] == ["style.safetensors@high:0.5"], str(report["loras"]))
        low = read_safetensors(transformer_of(target, "low"))
        self.check_layers(report, "transformer_2", LAYERS[:1], low, self.pair.transformer_2)
        require(read_header(transformer_of(target))[1]["t2v.lora"] == "style.safetensors@high:0.5", "no t2v.lora")

    def check_twice(self) -> None:
        """Quantising what is quantised changes nothing: the values are on their grid."""
        first, second = self.scratch / "once", self.scratch / "twice"
        self.program.quantise(self.base, first)
        self.program.quantise(first, second)
        a, b = read_safetensors(transformer_of(first)), read_safetensors(transformer_of(second))
        for name in a:
            if a[name].dtype != "I8":
                continue
            scales = [array.array("f", x[name.removesuffix(".weight") + ".weight_scale"].data) for x in (a, b)]
            near = max(abs(x - y) / x for x, y in zip(*scales))
            other = sum(x != y for x, y in zip(a[name].data, b[name].data)) / len(a[name].data)
            require(near < 1e-6 and other < 1e-3, f"{name}: scales {near:.2g}, values {other:.2g}")

    def check_json(self) -> None:
        result = self.program.run("quantize", self.base, "-o", self.scratch / "json", "--json", "--progress", "json")
        require(result.returncode == 0, result.stderr)
        report = json.loads(result.stdout)
        lines = [json.loads(line) for line in result.stderr.splitlines()]
        require(report["quant"] == "int8" and lines[-1]["event"] == "done", result.stderr[:300])
        require(any(line["event"] == "progress" and line["bytes_total"] > 0 for line in lines), result.stderr[:300])
        table = self.program.run("quantize", self.base, "-o", self.scratch / "table").stderr
        require("SQNR dB" in table and "worst of 54 layers" in table and "wrote" in table, table)

    def flag_cases(self):
        for asked in (0, 64):
            yield f"--int8-rotate {asked}", lambda asked=asked: self.check_rotation(asked)
        yield "groups as narrow as a width demands", self.check_narrow
        yield "the same bits as on the fly", self.check_on_the_fly
        yield "--quant-preset quality", self.check_quality
        yield "--lora", self.check_lora
        yield "quantised again", self.check_twice
        yield "JSON and the table", self.check_json

    # --- what is refused

    def refuse(self, code: int, words: list[str], source, target, *flags, **more) -> None:
        self.program.refused(code, words, "quantize", source, "-o", target, "--progress", "none", *flags, **more)

    def check_broken(self) -> None:
        for component, file, tensor, row in (
            ("transformer_2", "transformer_2/diffusion_pytorch_model.safetensors", "blocks.1.attn2.to_k.weight", 17),
            ("transformer", "transformer/diffusion_pytorch_model.safetensors", "proj_out.weight", 3),
            ("text_encoder", "text_encoder/model.safetensors", "shared.weight", 700),
        ):
            for word, bits in (("nan", 0x7FC0), ("infinity", 0xFF80)):
                source, target = self.scratch / f"{word}-{component}", self.scratch / f"{word}-{component}-int8"
                shutil.copytree(self.base, source)
                tensors = read_safetensors(source / file)
                stored = tensors[tensor]
                at = row * (len(stored.data) // stored.shape[0]) + 10
                data = stored.data[:at] + struct.pack("<H", bits) + stored.data[at + 2 :]
                write_safetensors(source / file, {**tensors, tensor: Stored(stored.dtype, stored.shape, data)})
                self.refuse(3, [f"'{tensor}'", f"row {row} ", file], source, target)
                whole = [p.name for p in target.rglob(file.split("/")[1]) if p.parent.name == component]
                require(not whole, f"left {whole} of a broken source")

    def check_targets(self) -> None:
        some = self.scratch / "some"
        some.mkdir()
        (some / "letter.txt").write_text("mine")
        self.refuse(2, ["not empty", str(some)], self.base, some)
        require((some / "letter.txt").read_text() == "mine", "foreign file was touched")
        self.refuse(2, ["is MODEL itself"], self.base, self.base)
        self.refuse(2, ["lies in it"], self.base, self.base / "new")
        self.refuse(2, ["holds it"], self.base / "transformer" / "..", self.scratch)
        self.refuse(5, ["cannot make the folder"], self.base, some / "letter.txt")
        self.program.refused(2, ["-o: missing"], "quantize", self.base)
        self.program.refused(2, ["MODEL: missing"], "quantize", "-o", self.scratch / "never")
        self.refuse(3, ["No such file"], self.scratch / "absent", self.scratch / "never")
        self.refuse(2, ["int8 only", "fp8"], self.base, self.scratch / "never", "--quant", "fp8")
        self.refuse(2, ["--int8-rotate", "0, 64, 256"], self.base, self.scratch / "never", "--int8-rotate", "128")
        self.refuse(5, ["--report"], self.base, self.scratch / "never", "--report", self.scratch / "absent/r.json")
        require(not (self.scratch / "never").exists(), "a refused run made its folder")

    def check_scheme(self) -> None:
        source = self.scratch / "mxfp8"
        layouts.write_comfy(self.single, source)
        path = source / "diffusion_models/wan2.1_t2v_14B_fp16.safetensors"
        tensors = read_safetensors(path)
        name = layouts.PREFIX + "blocks.0.self_attn.q"
        tensors[name + ".comfy_quant"] = scheme_quant.words(format="mxfp8")
        write_safetensors(path, tensors)
        self.refuse(3, ["mxfp8", "blocks.0.self_attn.q"], source, self.scratch / "mxfp8-int8")

    def refusal_cases(self):
        yield "rows that are not finite", self.check_broken
        yield "targets", self.check_targets
        yield "a scheme that is not read", self.check_scheme

    # --- the shipped model

    def check_shipped(self) -> None:
        target = self.scratch / "shapes-int8"
        report = self.program.quantise(SHIPPED, target)
        require(min(x["sqnr_db"] for x in report["layers"]) > 30, "a layer below 30 dB")
        for prompt in ("a small red circle moves left", "a large blue square", "two green triangles"):
            got = self.program.dump(target, self.scratch, prompt=prompt)
            expected = self.program.dump(SHIPPED, self.scratch, "--quant", "none", prompt=prompt)
            rows = sum(containers_mask(expected))
            cosine = least_row_cosine(got["prompt_embeds"], expected["prompt_embeds"], rows)
            require(cosine >= TEXT_COSINE, f"{prompt}: cosine of a row of the text is {cosine:.5f}")

    def cases(self):
        yield from self.layout_cases()
        yield from self.packed_cases()
        yield from self.flag_cases()
        yield from self.refusal_cases()
        yield "the shipped model", self.check_shipped


def containers_mask(dump: dict[str, Stored]) -> list[int]:
    return [value for value in struct.unpack(f"<{len(dump['prompt_mask'].data) // 8}q", dump["prompt_mask"].data)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--filter", default="", help="only cases whose name matches")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="t2v-quantize-") as temporary:
        suite = Suite(Program(arguments.bin), pathlib.Path(temporary))
        count, failed = run_cases(suite.cases(), arguments.filter)
        print(f"rows of the text within cosine {suite.worst_text:.5f}, latents within {suite.worst_latents:.3g}")
    print(f"quantize: {count} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
