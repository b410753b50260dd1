"""Measures a shapes model: generates held-out prompts in both languages and reads the attributes off the videos.

    eval.py --engine t2v --binary build/t2v --model models/shapes     (through MP4 files: needs PyAV)
    eval.py --engine diffusers --model models/shapes
    eval.py --ground-truth                                            (checks the checker)

Ends with status 1 where a threshold of config.json is missed.
"""
import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

import checker
import domain
import grammar
from runtime import HERE, load_config


def make_cases(count: int, seed: int, held: bool) -> list[dict]:
    """Alternating English and Chinese prompts that name all attributes but, sometimes, size."""
    rng = random.Random(seed)
    cases = []
    for index, attributes in enumerate(domain.sample(rng, count, held=held)):
        language = ("en", "zh")[index % 2]
        text, said = grammar.prompt(rng, attributes, language, complete=True)
        cases.append({"prompt": text, "language": language, "attributes": attributes, "said": said,
                      "seed": seed * 100000 + index})
    return cases


def read_video(path: Path) -> np.ndarray:
    """Frames [T, H, W, 3] in 0...1."""
    import av
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames).astype(np.float32) / 255


def videos_of_t2v(cases: list[dict], options: argparse.Namespace):
    """One process for all prompts: a .jsonl file with a seed a line, videos named by index."""
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts.jsonl"
        lines = [json.dumps({"prompt": c["prompt"], "seed": c["seed"]}, ensure_ascii=False) for c in cases]
        prompts.write_text("\n".join(lines) + "\n")
        subprocess.run([options.binary, "generate", "--model", options.model, "--prompts", str(prompts),
                        "-q", "-o", f"{folder}/{{index}}.mp4", *options.t2v_flags.split()], check=True,
                       stdout=subprocess.DEVNULL)
        paths = sorted(Path(folder).glob("*.mp4"), key=lambda p: int(p.stem))
        if len(paths) != len(cases):
            raise SystemExit(f"eval: t2v wrote {len(paths)} videos for {len(cases)} prompts")
        for path in paths:
            yield read_video(path)


def videos_of_diffusers(cases: list[dict], options: argparse.Namespace):
    from diffusers import WanPipeline
    defaults = json.loads((Path(options.model) / "t2v.json").read_text())
    width, height = map(int, defaults["size"].split("x"))
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[options.dtype]
    pipeline = WanPipeline.from_pretrained(options.model, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    for first in range(0, len(cases), options.batch):
        batch = cases[first:first + options.batch]
        out = pipeline(prompt=[c["prompt"] for c in batch], negative_prompt=defaults["negative_prompt"],
                       height=height, width=width, num_frames=defaults["frames"],
                       num_inference_steps=defaults["steps"], guidance_scale=defaults["guidance_scale_high"],
                       guidance_scale_2=defaults["guidance_scale_low"] if pipeline.transformer_2 else None,
                       generator=[torch.Generator().manual_seed(c["seed"]) for c in batch],
                       max_sequence_length=defaults["text_len"])
        yield from np.asarray(out.frames)


def videos_of_renderer(cases: list[dict], options: argparse.Namespace):
    config = load_config()
    for case in cases:
        generator = torch.Generator().manual_seed(case["seed"])
        video = domain.render(generator, torch.tensor([case["attributes"]]), config["frames"], config["side"],
                              config["spread"])
        yield ((video[0] + 1) / 2).permute(1, 2, 3, 0).numpy()


def tabulate(cases: list[dict]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Accuracy in per cent by attribute for all cases and by language, shape and motion, with the number of cases."""
    groups: dict[tuple[str, str], list[dict[str, bool]]] = defaultdict(list)
    for case in cases:
        shape, motion = domain.SHAPES[case["attributes"][1]], domain.MOTIONS[case["attributes"][3]]
        keys = (("all", "all"), ("language", case["language"]), ("shape", shape), ("motion", motion))
        for key in keys:
            groups[key].append(case["right"])
    table: dict[str, dict[str, dict]] = defaultdict(dict)
    for (kind, name), results in sorted(groups.items()):
        row = {"n": len(results)}
        for attribute in ("color", "background", "motion", "shape", "size"):
            known = [r[attribute] for r in results if attribute in r]
            row[attribute] = round(100 * sum(known) / len(known), 1) if known else None
        row["everything"] = round(100 * sum(all(r.values()) for r in results) / len(results), 1)
        table[kind][name] = row
    return table


def print_table(table: dict) -> None:
    columns = list(table["all"]["all"])
    print(f"{'':18}" + "".join(f"{name:>12}" for name in columns))
    for kind in ("all", "language", "shape", "motion"):
        for name, row in table[kind].items():
            label = name if kind == "all" else f"{kind} {name}"
            print(f"{label:18}" + "".join(f"{'-' if row[c] is None else row[c]:>12}" for c in columns))


def failures(cases: list[dict]) -> list[dict]:
    """What went wrong, in words."""
    found = []
    for case in cases:
        asked = dict(zip(domain.ATTRIBUTES, case["attributes"]))
        wrong = [name for name, ok in case["right"].items() if not ok]
        if wrong:
            names = {n: domain.ATTRIBUTES[n] + (["static"] if n == "motion" else []) for n in wrong}
            found.append({"prompt": case["prompt"], "seed": case["seed"],
                          "wrong": {n: {"asked": names[n][asked[n]], "seen": names[n][case["seen"][n]]
                                        if case["seen"][n] != checker.NOTHING else None} for n in wrong}})
    return found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("t2v", "diffusers"), default="t2v")
    parser.add_argument("--ground-truth", action="store_true", help="judge rendered clips instead of a model")
    parser.add_argument("--model", default=str(HERE.parents[1] / "models" / "shapes"))
    parser.add_argument("--binary", default=str(HERE.parents[1] / "build" / "t2v"))
    parser.add_argument("--t2v-flags", default="", help="more flags for t2v generate, in one string")
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16", help="of diffusers")
    parser.add_argument("--count", type=int, default=None, help="prompts (config.json)")
    parser.add_argument("--seed", type=int, default=None, help="of prompts and noise (config.json)")
    parser.add_argument("--seen", action="store_true", help="training triples instead of held-out ones")
    parser.add_argument("--batch", type=int, default=16, help="clips a diffusers call")
    parser.add_argument("--json", type=Path, help="report file")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    settings = load_config()["eval"]
    cases = make_cases(options.count or settings["count"], options.seed or settings["seed"], not options.seen)
    engines = {"t2v": videos_of_t2v, "diffusers": videos_of_diffusers}
    make_videos = videos_of_renderer if options.ground_truth else engines[options.engine]
    for case, video in zip(cases, make_videos(cases, options), strict=True):
        case["seen"] = checker.read_attributes(video)
        case["right"] = checker.compare(case["seen"], case["attributes"], case["said"])
    table = tabulate(cases)
    print_table(table)
    overall = table["all"]["all"]
    missed = [f"{name} {overall[name]} % < {least} %" for name, least in settings["thresholds"].items()
              if not overall[name] >= least]
    if options.json:
        report = {"engine": "ground truth" if options.ground_truth else options.engine,
                  "seed": options.seed or settings["seed"], "held_out": not options.seen, "table": table,
                  "missed": missed, "failures": failures(cases)}
        options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print("eval: " + ("missed: " + "; ".join(missed) if missed else "all thresholds met"))
    return 1 if missed else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
