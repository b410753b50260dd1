#!/usr/bin/env python3
"""The transformer of a model folder in t2v and in diffusers: same weights, same threads, same run.

    python3 compare_diffusers.py --bin build/bench_transformer --model MODEL/transformer [--size 320x192] [--frames 9]
                                 [--dtype bf16] [--repeats 5]

Alternates the two in rounds, prints medians of CPU and wall seconds and the ratio. Needs torch and diffusers.
"""
import argparse
import json
import resource
import statistics
import subprocess
import time

import torch
from diffusers import WanTransformer3DModel


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def run_t2v(o, repeats: int) -> dict:
    width, height = o.size.split("x")
    out = subprocess.run([o.bin, o.model, width, height, str(o.frames), o.dtype, str(repeats)], check=True,
                         capture_output=True, text=True).stdout
    return {row["name"]: row for row in map(json.loads, out.splitlines())}


@torch.inference_mode()
def run_diffusers(o, model, repeats: int) -> list:
    width, height = (int(v) // 8 for v in o.size.split("x"))
    dtype = model.patch_embedding.weight.dtype  # some tables stay float32
    latents = torch.randn(1, 16, (o.frames - 1) // 4 + 1, height, width).to(dtype)
    text = torch.randn(1, 512, model.config.text_dim).to(dtype)
    rows = []
    for i in range(repeats + 1):
        cpu, wall = cpu_seconds(), time.perf_counter()
        model(latents, torch.tensor([700]), text)
        if i:  # the first is the warm-up
            rows.append((cpu_seconds() - cpu, time.perf_counter() - wall))
    return rows


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bin", required=True)
    ap.add_argument("--model", required=True)
    ap.add_argument("--size", default="320x192")
    ap.add_argument("--frames", type=int, default=9)
    ap.add_argument("--dtype", default="bf16", choices=("bf16", "fp32"))
    ap.add_argument("--repeats", type=int, default=5)
    o = ap.parse_args()
    torch.manual_seed(0)
    dtype = torch.bfloat16 if o.dtype == "bf16" else torch.float32
    model = WanTransformer3DModel.from_pretrained(o.model, torch_dtype=dtype).eval()
    ours = [run_t2v(o, (o.repeats + 1) // 2)]
    theirs = run_diffusers(o, model, o.repeats)
    ours.append(run_t2v(o, o.repeats // 2 + 1))
    cpu = statistics.mean(r["forward"]["cpu_s"] for r in ours)
    wall = statistics.mean(r["forward"]["wall_s"] for r in ours)
    peak = statistics.mean(r["gemm_peak"]["gflop_per_cpu_s"] for r in ours)
    rate = statistics.mean(r["forward"]["gflop_per_cpu_s"] for r in ours)
    their_cpu = statistics.median(r[0] for r in theirs)
    their_wall = statistics.median(r[1] for r in theirs)
    print(json.dumps({"size": o.size, "frames": o.frames, "dtype": o.dtype, "threads": torch.get_num_threads(),
                      "t2v": {"cpu_s": round(cpu, 2), "wall_s": round(wall, 2)},
                      "diffusers": {"cpu_s": round(their_cpu, 2), "wall_s": round(their_wall, 2)},
                      "ratio_cpu": round(cpu / their_cpu, 3), "ratio_wall": round(wall / their_wall, 3),
                      "share_of_gemm_peak": round(rate / peak, 3), "gemm_peak_gflops": round(peak, 1),
                      "attention_gflops": round(ours[0]["attention_auto"]["gflop_per_cpu_s"], 1),
                      "attention_flash_gflops": round(ours[0]["attention_flash"]["gflop_per_cpu_s"], 1),
                      "peak_rss_gb": ours[0]["peak_rss_gb"]["value"]}))


if __name__ == "__main__":
    main()
