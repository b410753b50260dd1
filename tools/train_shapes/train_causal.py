"""Fine-tunes the low-noise expert of the shapes model into a causal one that makes long videos frame by frame.

    train_causal.py pool --start models/shapes --work WORK     encodes long clips, in parts (train takes what is there)
    train_causal.py train --start models/shapes --work WORK    from the last state where there is one
    train_causal.py decoder --start models/shapes --work WORK  trains the VAE's decoder on long clips
    train_causal.py export --start models/shapes --work WORK --export models/shapes-causal

One process, one thread each.
"""
import argparse
import copy
import json
import os
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import causal
import dit
import domain
import export_causal
import pool
import text
import tokenizer
import train_dit
import train_vae
from optim import schedule
from runtime import Log, Ranks, load_config, save, update_average
from vae import encode, make_vae

TIME_SCALE = 1000
SHORT_PARTS = 2


def load_weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file
    return {k: v.float() for path in folder.glob("*.safetensors") for k, v in load_file(path).items()}


def load_vae(folder: Path):
    spec = json.loads((folder / "config.json").read_text())
    vae = make_vae({name: spec[name] for name in ("base_dim", "z_dim", "dim_mult", "num_res_blocks")},
                   spec["latents_mean"], spec["latents_std"])
    vae.load_state_dict(load_weights(folder))
    return vae.eval().requires_grad_(False)


def latent_scale(folder: Path) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [1, z, 1, 1, 1] of the VAE's config."""
    spec = json.loads((folder / "config.json").read_text())
    return tuple(torch.tensor(spec[name]).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))


def load_text_encoder(config: dict, folder: Path):
    weights = load_weights(folder)
    weights.setdefault("encoder.embed_tokens.weight", weights["shared.weight"])
    encoder = text.make_text_encoder(config["text_encoder"], weights["shared.weight"].shape[0])
    encoder.load_state_dict(weights)
    return encoder.eval().requires_grad_(False)


@torch.no_grad()
def make_pool(config: dict, vae_folder: Path, work: Path) -> None:
    """WORK/long_N.pt and, as train.py makes them, pool_N.pt: posterior means (half precision) and attributes."""
    settings, vae = config["causal"]["pool"], load_vae(vae_folder)
    for rank in range(SHORT_PARTS):
        if not (work / f"pool_{rank}.pt").exists():
            pool.run(vae, config, work, Ranks(rank, SHORT_PARTS))
    for part in range(settings["parts"]):
        path = work / f"long_{part}.pt"
        if path.exists():
            continue
        seed = config["seeds"]["long_pool"] + part
        generator = torch.Generator().manual_seed(seed)
        attributes = torch.tensor(domain.sample_weak(random.Random(seed), settings["clips"], settings["weak_share"]))
        latents = []
        for batch in attributes.split(settings["batch"]):
            video = domain.render(generator, batch, settings["frames"], config["side"], config["spread"])
            with torch.autocast("cpu", torch.bfloat16):
                latents.append(encode(vae, video)[0].half())
        save(path, {"latents": torch.cat(latents), "attributes": attributes})
        print(f"part {part}: {len(attributes)} clips", flush=True)


@dataclass
class Clips:
    latents: Tensor  # normalised, half precision
    attributes: list


def load_clips(work: Path, pattern: str, scale: tuple[Tensor, Tensor]) -> Clips | None:
    parts = [torch.load(path) for path in sorted(work.glob(pattern))]
    if not parts:
        return None
    latents = torch.cat([((p["latents"].float() - scale[0]) / scale[1]).half() for p in parts])
    return Clips(latents, [tuple(a) for p in parts for a in p["attributes"].tolist()])


@dataclass
class CausalBatches:
    """Endless training batches; every frame has its own sigma, the context may be noisy."""
    work: Path
    scale: tuple[Tensor, Tensor]
    tokenizer: object
    config: dict

    def __post_init__(self) -> None:
        self.settings, seed = self.config["causal"], self.config["seeds"]["causal"]
        self.rng, self.generator = random.Random(seed), torch.Generator().manual_seed(seed)
        self.short = load_clips(self.work, "pool_*.pt", self.scale)
        self.reload()

    def reload(self) -> None:
        """Takes the long clips that have come since."""
        self.long = load_clips(self.work, "long_[0-9]*.pt", self.scale)

    def _prompts(self, clips: Clips, indices: list[int]) -> train_dit.Batches:
        return train_dit.Batches(clips.latents, clips.attributes, self.tokenizer, len(indices), self.config["shift"],
                                 (0.0, 1.0), self.config["text_len"], self.config["dit"]["empty_share"],
                                 self.rng.getrandbits(40))

    def _clean(self, step: int) -> tuple[Clips, list[int], Tensor]:
        """Long clips every second step; between them short ones and, of more clips, first frames alone in turn."""
        kind = ("long", "short", "long", "first")[step % 4]
        clips = self.long if kind == "long" else self.short
        indices = torch.randint(0, len(clips.attributes), (self.settings[f"{kind}_batch"],), generator=self.generator)
        clean = clips.latents[indices].float()
        return clips, indices.tolist(), clean[:, :, :1] if kind == "first" else clean

    def _noise(self, clean: Tensor, sigmas: Tensor) -> Tensor:
        return torch.lerp(clean, torch.randn(clean.shape, generator=self.generator), sigmas)

    def next(self, step: int) -> dict[str, Tensor]:
        clips, indices, clean = self._clean(step)
        count, frames = clean.shape[0], clean.shape[2]
        maker = self._prompts(clips, indices)
        ids, lengths = maker.prompts(indices)
        padding = maker.text_lengths() - lengths
        maker.size = count * frames
        sigmas = maker.sigmas().view(count, frames)
        noise = torch.randn(clean.shape, generator=self.generator)
        weight = sigmas[:, None, :, None, None]
        strength = (2 * torch.rand(count, 1, 1, 1, 1, generator=self.generator) - 1).clamp(min=0)
        batch = {"context": self._noise(clean, strength * self.settings["context_noise"]),
                 "latents": (1 - weight) * clean + weight * noise, "velocity": noise - clean, "sigmas": sigmas,
                 "ids": ids, "lengths": lengths, "padding": padding}
        if step % 4 == 2:
            low, high = self.settings["guess_sigmas"]
            guess = low + (high - low) * torch.rand(count, frames, generator=self.generator)
            batch |= {"guess_sigmas": guess, "guess": self._noise(clean, guess[:, None, :, None, None]),
                      "is_guessed": torch.rand(count, 1, frames, 1, 1, generator=self.generator) < 0.5}
        return batch


def prompt_of(model, text_encoder, ids: Tensor, lengths: Tensor, padding: Tensor) -> causal.Prompt:
    mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rows = text_encoder(ids, mask).last_hidden_state.float()
    return causal.embed_prompt(model, rows, lengths, padding)


def errors_of(model, text_encoder, batch: dict[str, Tensor], window: int) -> Tensor:
    """Squared velocity error of every frame [B, F]. Some context is the model's own guess, as it is in a rollout."""
    prompt = prompt_of(model, text_encoder, batch["ids"], batch["lengths"], batch["padding"])
    context = batch["context"]
    if "guess" in batch:
        with torch.no_grad():
            sigmas = batch["guess_sigmas"]
            out = causal.teacher_forced(model, context, batch["guess"], sigmas * TIME_SCALE, prompt, window)
            guess = batch["guess"] - sigmas[:, None, :, None, None] * out.float()
            context = torch.where(batch["is_guessed"], guess, context)
    out = causal.teacher_forced(model, context, batch["latents"], batch["sigmas"] * TIME_SCALE, prompt, window)
    return (out.float() - batch["velocity"]).square().mean((1, 3, 4))


def train(model, text_encoder, batches: CausalBatches, config: dict, work: Path) -> None:
    """Writes WORK/causal.pt, the averaged weights, with every state."""
    stage = config["causal"]
    optimizer, average, first = train_dit.make_optimizer(model, stage["lr"]), copy.deepcopy(model), 0
    state_path = work / "causal.state.pt"
    if state_path.exists():
        state = torch.load(state_path, weights_only=False)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        batches.rng.setstate(state["rng"])
        batches.generator.set_state(state["generator"])
        first = state["step"]
    log, later = Log(work / "causal.csv", config["log_every"], stage["steps"]), 0.0
    for step in range(first + 1, stage["steps"] + 1):
        errors = errors_of(model, text_encoder, batches.next(step), stage["window"])
        optimizer.zero_grad()
        errors.mean().backward()
        is_finite = Ranks().average_grads(optimizer.parameters)
        if is_finite:
            optimizer.step(schedule(step - 1, stage["steps"], stage["warmup"], stage["hold"]))
        update_average(average, model, step, limit=0.998)
        later = errors[:, 1:].mean().item() if errors.shape[1] > 1 else later
        log.add(step, first=errors[:, 0].mean().item(), later=later, skipped=float(not is_finite))
        if step % stage["save_every"] == 0 or step == stage["steps"]:
            save(state_path, {"model": model.state_dict(), "average": average.state_dict(), "step": step,
                              "optimizer": optimizer.state_dict(), "rng": batches.rng.getstate(),
                              "generator": batches.generator.get_state()})
            save(work / "causal.pt", average.state_dict())
            batches.reload()


def train_decoder(vae, config: dict, work: Path) -> None:
    """Whole weights with a decoder that has seen more frames than the clips of the shapes model have."""
    stage = config["causal"]["decoder"]
    average = train_vae.train(vae.requires_grad_(True), config | {"frames": stage["clip_frames"]}, stage,
                              config["seeds"]["long_decoder"], work, "long_decoder", Ranks())
    save(work / "long_decoder.pt", average.state_dict())


def load_model(config: dict, weights: dict[str, Tensor]):
    model = dit.make_transformer(config["transformer"])
    model.load_state_dict(weights)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("pool", "train", "decoder", "export"))
    parser.add_argument("--start", type=Path, required=True, help="exported shapes model")
    parser.add_argument("--vae", type=Path, help="its VAE's folder in another width (START/vae)")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--export", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    options.work.mkdir(parents=True, exist_ok=True)
    config = load_config()
    if options.stage == "pool":
        make_pool(config, options.vae or options.start / "vae", options.work)
    elif options.stage == "train":
        pieces = tokenizer.load_tokenizer(options.start / "tokenizer/spiece.model")
        batches = CausalBatches(options.work, latent_scale(options.start / "vae"), pieces, config)
        train(load_model(config, load_weights(options.start / "transformer_2")),
              load_text_encoder(config, options.start / "text_encoder"), batches, config, options.work)
    elif options.stage == "decoder":
        train_decoder(load_vae(options.start / "vae"), config, options.work)
    else:
        facts = {path.stem: json.loads(path.read_text()) for path in options.work.glob("fact_*.json")}
        facts = {name.removeprefix("fact_"): value for name, value in facts.items()}
        files = {"transformer": "causal.pt", "vae": "long_decoder.pt"}
        parts = {name: torch.load(options.work / file) for name, file in files.items()}
        export_causal.write_model(parts, config, options.start, facts, options.export)


if __name__ == "__main__":
    main()
