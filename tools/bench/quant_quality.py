#!/usr/bin/env python3
"""What 8-bit weights and rows do to videos: attribute accuracy of the shipped model and PSNR against 16-bit ones.

    quant_quality.py --binary build/t2v [--count 240] [--seed 777] [--json FILE] NAME=FLAGS ...
    quant_quality.py --binary build/t2v "bf16=--dtype bf16 --quant none" "int8=--dtype bf16 --quant int8"

Every variant makes the same prompts from the same seeds; the first one is what the others are compared with. `-m PATH`
among the flags takes another model (of `t2v quantize`). Videos are judged by the model's own evaluation
(tools/train_shapes: eval.py, checker.py) as they come out of the MP4 files. Needs PyAV, NumPy and torch. Ends with
status 1 where a variant is more than --within points below the first.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "train_shapes"))

import checker  # noqa: E402
import eval as shapes_eval  # noqa: E402

ATTRIBUTES = ["color", "background", "motion", "shape", "size", "everything"]


def make_videos(binary: str, model: str, cases: list[dict], flags: str) -> list[np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        prompts = pathlib.Path(folder) / "prompts.jsonl"
        lines = [json.dumps({"prompt": c["prompt"], "seed": c["seed"]}, ensure_ascii=False) for c in cases]
        prompts.write_text("\n".join(lines) + "\n")
        words = flags.split()
        own_model = [] if "-m" in words or "--model" in words else ["-m", model]
        command = [binary, "generate", *own_model, "--prompts", str(prompts), "-q", "-o", f"{folder}/{{index}}.mp4"]
        subprocess.run([*command, *words], check=True, stdout=subprocess.DEVNULL)
        paths = sorted(pathlib.Path(folder).glob("*.mp4"), key=lambda path: int(path.stem))
        if len(paths) != len(cases):
            raise SystemExit(f"quant_quality: {len(paths)} videos for {len(cases)} prompts")
        return [shapes_eval.read_video(path) for path in paths]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 99.0 if error == 0 else min(99.0, -10 * np.log10(error))


def judge(cases: list[dict], videos: list[np.ndarray]) -> dict[str, float]:
    """Per cent right by attribute."""
    for case, video in zip(cases, videos, strict=True):
        seen = checker.read_attributes(video)
        case["right"] = checker.compare(seen, case["attributes"], case["said"])
    return shapes_eval.tabulate(cases)["all"]["all"]


def compare(videos: list[np.ndarray], first: list[np.ndarray]) -> dict[str, float]:
    values = np.array([psnr(a, b) for a, b in zip(videos, first, strict=True)])
    return {"median": float(np.median(values)), "p10": float(np.percentile(values, 10)), "least": float(values.min())}


def show(name: str, row: dict) -> None:
    accuracy = "".join(f"{row['accuracy'][key]:>12}" for key in ATTRIBUTES)
    tail = f"{row['psnr']['median']:10.1f}{row['psnr']['p10']:8.1f}{row['psnr']['least']:8.1f}" if "psnr" in row else ""
    print(f"{name:16}{accuracy}{tail}", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="+", metavar="NAME=FLAGS")
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", default=str(HERE.parents[1] / "models/shapes"))
    parser.add_argument("--count", type=int, default=240, help="prompts")
    parser.add_argument("--seed", type=int, default=777, help="of prompts and noise")
    parser.add_argument("--within", type=float, default=1.0, help="points of accuracy that may be lost")
    parser.add_argument("--json", type=pathlib.Path, help="report file")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    cases = shapes_eval.make_cases(options.count, options.seed, True)
    print(f"{'':16}" + "".join(f"{key:>12}" for key in ATTRIBUTES) + f"{'PSNR':>10}{'p10':>8}{'least':>8}")
    rows, first, lost = {}, None, []
    for variant in options.variants:
        name, _, flags = variant.partition("=")
        videos = make_videos(options.binary, options.model, cases, flags)
        rows[name] = {"flags": flags, "accuracy": judge(cases, videos)}
        if first is None:
            first, base = videos, rows[name]["accuracy"]
        else:
            rows[name]["psnr"] = compare(videos, first)
            fall = max(base[key] - rows[name]["accuracy"][key] for key in ATTRIBUTES)
            if fall > options.within:
                lost.append(f"{name}: {fall:.1f} points")
        show(name, rows[name])
    if options.json:
        report = {"count": options.count, "seed": options.seed, "variants": rows, "lost": lost}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print("quant_quality: " + ("lost: " + "; ".join(lost) if lost else f"all within {options.within} points"))
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
