"""Measures a causal shapes model on long videos: every pass of the motion is judged like a clip of its own.

    eval_causal.py --work WORK --start models/shapes           rolled out here, weights of WORK/causal.pt
    eval_causal.py --engine t2v --binary build/t2v --model models/shapes-causal

A pass is 17 frames; the first frame of a pass is the last one of the pass before. Motions that go to and fro are
asked for in reverse in every second pass.
"""
import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch

import causal
import checker
import eval as evaluation
import tokenizer
import train_causal
from domain import DOWN, GROW, LEFT, PASS_FRAMES, RIGHT, SHRINK, UP
from runtime import HERE, load_config
from vae import decode

REVERSE = {LEFT: RIGHT, RIGHT: LEFT, UP: DOWN, DOWN: UP, GROW: SHRINK, SHRINK: GROW}
ATTRIBUTES = ("color", "background", "shape", "motion", "everything")


def encode_prompts(model, encoder, pieces, prompts: list[str], text_len: int) -> causal.Prompt:
    tokens = [pieces.encode(text) + [1] for text in prompts]
    lengths = torch.tensor([len(row) for row in tokens])
    ids = torch.zeros(len(tokens), int(lengths.max()), dtype=torch.long)
    for row, line in enumerate(tokens):
        ids[row, :len(line)] = torch.tensor(line)
    return train_causal.prompt_of(model, encoder, ids, lengths, text_len - lengths)


@torch.no_grad()
def videos_of_rollout(cases: list[dict], options: argparse.Namespace):
    """Videos [T, H, W, 3] in 0...1, made by the PyTorch model."""
    config = load_config()
    weights = torch.load(options.work / "causal.pt")
    model = train_causal.load_model(config, weights).eval()
    encoder = train_causal.load_text_encoder(config, options.start / "text_encoder")
    pieces = tokenizer.load_tokenizer(options.start / "tokenizer/spiece.model")
    vae, scale = train_causal.load_vae(options.start / "vae"), train_causal.latent_scale(options.start / "vae")
    if options.decoder:
        vae.load_state_dict(torch.load(options.decoder))
    sigmas = causal.schedule(options.steps, config["shift"])
    side, frames = config["side"] // 8, (options.frames - 1) // 4 + 1
    for first in range(0, len(cases), options.batch):
        batch = cases[first:first + options.batch]
        noise = torch.stack([torch.randn(16, frames, side, side, generator=torch.Generator().manual_seed(c["seed"]))
                             for c in batch])
        prompt = encode_prompts(model, encoder, pieces, [c["prompt"] for c in batch], config["text_len"])
        prompts = [(prompt, options.guidance)]
        if options.guidance != 1:
            empty = encode_prompts(model, encoder, pieces, [""] * len(batch), config["text_len"])
            prompts.append((empty, 1 - options.guidance))
        latents = torch.cat(list(causal.rollout(model, prompts, noise, sigmas, config["causal"]["window"])), 2)
        with torch.autocast("cpu", torch.bfloat16):
            video = decode(vae, latents * scale[1] + scale[0])
        yield from ((video.float().clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 4, 1).numpy()


def judge(case: dict, video: np.ndarray) -> list[dict[str, bool]]:
    """What is right in every pass of the motion."""
    passes = []
    for index in range((len(video) - 1) // (PASS_FRAMES - 1)):
        first = index * (PASS_FRAMES - 1)
        color, shape, size, motion, background = case["attributes"]
        asked = REVERSE.get(motion, motion) if index % 2 else motion
        seen = checker.read_attributes(video[first:first + PASS_FRAMES])
        passes.append(checker.compare(seen, (color, shape, size, asked, background), case["said"]))
    return passes


def tabulate(results: list[list[dict[str, bool]]]) -> list[dict[str, float]]:
    """Per cent right by pass."""
    table = []
    for rights in zip(*results):
        row = {name: round(100 * sum(r[name] for r in rights) / len(rights), 1) for name in ATTRIBUTES[:-1]}
        table.append(row | {"everything": round(100 * sum(all(r.values()) for r in rights) / len(rights), 1)})
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("torch", "t2v"), default="torch")
    parser.add_argument("--start", type=Path, default=HERE.parents[1] / "models" / "shapes")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--model", default=str(HERE.parents[1] / "models" / "shapes-causal"))
    parser.add_argument("--binary", default=str(HERE.parents[1] / "build" / "t2v"))
    parser.add_argument("--t2v-flags", default="--causal shapes-causal", help="more flags for t2v generate")
    parser.add_argument("--frames", type=int, default=65)
    parser.add_argument("--steps", type=int, default=10, help="of the rollout here")
    parser.add_argument("--guidance", type=float, default=2.0, help="of the rollout here")
    parser.add_argument("--decoder", type=Path, help="VAE weights of the rollout here (START/vae)")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=777)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--json", type=Path, help="report file")
    parser.add_argument("--videos", type=Path, help="keeps all videos in one .pt file")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    if options.engine == "t2v":
        options.t2v_flags += f" --frames {options.frames}"
    make = evaluation.videos_of_t2v if options.engine == "t2v" else videos_of_rollout
    cases = evaluation.make_cases(options.count, options.seed, held=True)
    videos = list(make(cases, options))
    results = [judge(case, video) for case, video in zip(cases, videos, strict=True)]
    table = tabulate(results)
    print(f"{'pass':12}" + "".join(f"{name:>12}" for name in ATTRIBUTES))
    for index, row in enumerate(table):
        print(f"{index:<12}" + "".join(f"{row[name]:12}" for name in ATTRIBUTES))
    if options.json:
        failed = [{"prompt": c["prompt"], "wrong": [[n for n, ok in r.items() if not ok] for r in rights]}
                  for c, rights in zip(cases, results) if not all(all(r.values()) for r in rights)]
        report = {"engine": options.engine, "frames": options.frames, "steps": options.steps, "seed": options.seed,
                  "guidance": options.guidance, "count": options.count, "passes": table, "failures": failed}
        options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    if options.videos:
        torch.save([(c["prompt"], (torch.from_numpy(v) * 255).round().byte()) for c, v in zip(cases, videos)],
                   options.videos)


if __name__ == "__main__":
    main()
