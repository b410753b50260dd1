"""Trains the autoencoder on random crops near the object, then on longer ones; optionally the decoder alone."""
import copy
import math
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import domain
from optim import Muon, schedule
from runtime import Log, Ranks, save, update_average
from vae import decode, encode

EDGE_WEIGHT = 5.0  # extra loss weight within 2 px of an edge of the target
EDGE_CONTRAST = 0.1
WIDE_SHARE = 0.3  # batches with the full free variation of positions and sizes
VALIDATION_CLIPS = 32


def sample_clips(rng: random.Random, count: int) -> Tensor:
    """Attributes [B, 5] of all triples; small or bouncing shapes and moving ones come more often."""
    picked: list[domain.Attributes] = []
    while len(picked) < count:
        attributes = domain.sample(rng, 1)[0]
        _, shape, size, motion, _ = attributes
        is_easy = (size == domain.BIG and motion != domain.BOUNCE) or (motion == domain.SPIN and shape in domain.ROUND)
        if is_easy and rng.random() < 0.5:
            continue
        if motion not in (domain.SPIN, domain.GROW, domain.SHRINK) or rng.random() < 0.7:
            picked.append(attributes)
    return torch.tensor(picked)


def _gradients(video: Tensor) -> tuple[Tensor, Tensor]:
    return video[..., 1:] - video[..., :-1], video[..., 1:, :] - video[..., :-1, :]


def edge_weights(target: Tensor) -> Tensor:
    """1 far from the edges of the target [B, 3, T, H, W], 1 + EDGE_WEIGHT around them: [B, 1, T, H, W]."""
    across, along = (g.abs().amax(1) for g in _gradients(target))
    edges = F.pad(across, (0, 1)) + F.pad(along, (0, 0, 0, 1))
    return 1 + EDGE_WEIGHT * F.max_pool2d((edges > EDGE_CONTRAST).float(), 5, 1, 2).unsqueeze(1)


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Edge-weighted L1 + 0.5 L2 + 0.25 L1 of the spatial gradients."""
    error, weight = output - target, edge_weights(target)
    across, along = _gradients(error)
    gradient = (weight[..., 1:] * across.abs()).mean() + (weight[..., 1:, :] * along.abs()).mean()
    return (weight * error.abs()).mean() + 0.5 * (weight * error.square()).mean() + 0.25 * gradient


def noisy(mean: Tensor, log_variance: Tensor, noise: float) -> Tensor:
    """A posterior sample plus, per clip, up to `noise` channel deviations: the decoder learns to bear rough latents."""
    deviation = mean.detach().std((0, 2, 3, 4), keepdim=True)
    level = torch.rand(mean.shape[0], 1, 1, 1, 1) * noise * deviation
    return mean + torch.randn_like(mean) * (log_variance / 2).exp() + torch.randn_like(mean) * level


def make_optimizer(vae, lr: float) -> Muon:
    named = [(n, p) for n, p in vae.named_parameters() if p.requires_grad]
    matrices = [p for n, p in named if p.ndim >= 4 and "gamma" not in n and min(p.shape[0], p[0].numel()) >= 8]
    chosen = {id(p) for p in matrices}
    return Muon(matrices, [p for _, p in named if id(p) not in chosen], lr=lr, adam_lr=lr * 0.15)


@torch.no_grad()
def validate(vae, config: dict) -> float:
    """Mean PSNR in dB of whole clips that no training seed draws."""
    rng, generator = random.Random(config["seeds"]["validation"]), torch.Generator()
    generator.manual_seed(config["seeds"]["validation"])
    attributes = torch.tensor(domain.sample(rng, min(VALIDATION_CLIPS, config["pool"]["clips"])))
    scores = []
    for batch in attributes.split(8):
        video = domain.render(generator, batch, config["frames"], config["side"], config["spread"])
        with torch.autocast("cpu", torch.bfloat16):
            output = decode(vae, encode(vae, video)[0]).float().clamp(-1, 1)
        scores += (10 * torch.log10(4 / (output - video).square().flatten(1).mean(1))).tolist()
    return sum(scores) / len(scores)


def train(vae, config: dict, stage: dict, seed: int, work: Path, name: str, ranks: Ranks):
    """Runs all phases of `stage` from WORK/name.state.R.pt where there is one; returns the averaged weights."""
    seed = seed * 10 + ranks.rank
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    if stage["decoder_only"]:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    optimizer, average, first = make_optimizer(vae, stage["lr"]), copy.deepcopy(vae), 0
    state_path = work / f"{name}.state.{ranks.rank}.pt"
    if state_path.exists():
        state = torch.load(state_path, weights_only=False)
        vae.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        rng.setstate(state["rng"])
        generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        first = state["step"]
    phases = [phase for phase in stage["phases"] for _ in range(phase["steps"])]
    log = Log(work / f"{name}.csv", config["log_every"], len(phases), ranks.is_first)
    for step, phase in enumerate(phases[first:], first + 1):
        spread = 1.0 if rng.random() < WIDE_SHARE else config["spread"]
        video = domain.render(generator, sample_clips(rng, phase["batch"]), config["frames"], config["side"], spread,
                              (phase["crop"], phase["frames"]))
        with torch.autocast("cpu", torch.bfloat16):
            with torch.set_grad_enabled(not stage["decoder_only"]):
                mean, log_variance = encode(vae, video)
            output = decode(vae, noisy(mean, log_variance, stage["noise"])).float()
        loss = reconstruction_loss(output, video)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        if not stage["decoder_only"]:
            loss = loss + stage["divergence"] * divergence
        optimizer.zero_grad()
        loss.backward()
        if ranks.average_grads(optimizer.parameters):
            optimizer.step(schedule(step - 1, len(phases), stage["warmup"], stage["hold"]))
        update_average(average, vae, step, limit=0.99)
        log.add(step, loss=loss.item(), psnr=10 * math.log10(4 / (output - video).square().mean().item()))
        if step % stage["save_every"] == 0 or step == len(phases):
            save(state_path, {"model": vae.state_dict(), "average": average.state_dict(), "step": step,
                              "optimizer": optimizer.state_dict(), "rng": rng.getstate(),
                              "generator": generator.get_state(), "torch": torch.get_rng_state()})
    return average
