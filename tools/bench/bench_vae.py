#!/usr/bin/env python3
"""VAE decode, t2v against diffusers at its best (channels-last weights and latents), in turns.

Needs torch, diffusers, numpy. Both sides: same weights, latents, number type and threads; CPU seconds
(user + system) and wall seconds of each decode; medians and their ratio.
usage: bench_vae.py VAE_FOLDER --program build/bench_vae [--dtype bf16] [--latents 3,24,40] [--repeats 5]
"""
import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time

# Waiting threads sleep: else a busy machine counts their spinning as work, on both sides.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # noqa: E402
from diffusers import AutoencoderKLWan  # noqa: E402


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def load_diffusers(folder, dtype):
    model = AutoencoderKLWan.from_pretrained(folder, torch_dtype=dtype).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
        elif isinstance(module, torch.nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return model


def decode_diffusers(model, latents):
    cpu, wall = cpu_seconds(), time.monotonic()
    with torch.no_grad():
        video = model.decode(latents).sample
    return cpu_seconds() - cpu, time.monotonic() - wall, video


class Ours:
    """bench_vae, which decodes once per line that it is sent."""

    def __init__(self, args, shape, latents_path, video_path):
        self.process = subprocess.Popen(
            [args.program, args.vae, latents_path, *map(str, shape), args.dtype, str(args.threads),
             str(args.repeats + 1), video_path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()  # the first decode warms up

    def read(self):
        words = self.process.stdout.readline().split()
        return float(words[1]), float(words[3]), int(words[5])

    def decode(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.read()


def compare(ours_path, theirs):
    ours = torch.from_file(ours_path, size=theirs.numel(), dtype=torch.float32).view_as(theirs)
    return ((ours - theirs).norm() / theirs.norm()).item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("vae")
    parser.add_argument("--program", required=True)
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--latents", default="3,24,40", help="T,h,w; 3,24,40 is 320x192x9")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    shape = [int(n) for n in args.latents.split(",")]
    model = load_diffusers(args.vae, dtype)
    latents = torch.randn([1, model.config.z_dim, *shape], generator=torch.Generator().manual_seed(1))
    with tempfile.TemporaryDirectory() as folder:
        latents_path, video_path = os.path.join(folder, "latents"), os.path.join(folder, "video")
        latents.numpy().tofile(latents_path)
        theirs_in = latents.to(dtype).contiguous(memory_format=torch.channels_last_3d)
        ours = Ours(args, shape, latents_path, video_path)
        decode_diffusers(model, theirs_in)  # warms up
        rows = []
        for i in range(args.repeats):
            mine = ours.decode()
            theirs = decode_diffusers(model, theirs_in)
            rows.append((mine[0], mine[1], theirs[0], theirs[1]))
            print(f"{i}: t2v cpu {mine[0]:.2f} wall {mine[1]:.2f} | diffusers cpu {theirs[0]:.2f} wall "
                  f"{theirs[1]:.2f} | cpu ratio {mine[0] / theirs[0]:.3f}", flush=True)
        ours.process.stdin.close()
        ours.process.wait()
        cpu, wall, their_cpu, their_wall = (statistics.median(column) for column in zip(*rows))
        print(f"median: t2v cpu {cpu:.2f} wall {wall:.2f} peak {mine[2] / 1024:.0f} MiB | diffusers cpu {their_cpu:.2f} "
              f"wall {their_wall:.2f} | cpu ratio {cpu / their_cpu:.3f} wall ratio {wall / their_wall:.3f}")
        print(f"relative distance of the videos: {compare(video_path, theirs[2].float().contiguous()):.4f}")


if __name__ == "__main__":
    main()
