"""A pool of rendered and encoded clips, and the statistics of its latents."""
import random
from pathlib import Path

import torch

import domain
from runtime import Ranks, save
from vae import encode


@torch.no_grad()
def make_pool(vae, settings: dict, seed: int, side: int, frames: int, spread: float) -> dict[str, torch.Tensor]:
    """Posterior means [N, z, t, h, w] (half precision) and attributes [N, 5] of training triples only."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    attributes = torch.tensor(domain.sample_weak(rng, settings["clips"], settings["weak_share"]))
    latents = []
    for batch in attributes.split(settings["batch"]):
        video = domain.render(generator, batch, frames, side, spread)
        with torch.autocast("cpu", torch.bfloat16):
            latents.append(encode(vae, video)[0].half())
    return {"latents": torch.cat(latents), "attributes": attributes}


def statistics(latents: torch.Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of every latent channel."""
    wide = latents.float()
    return ([round(v, 6) for v in wide.mean((0, 2, 3, 4)).tolist()],
            [round(v, 6) for v in wide.std((0, 2, 3, 4)).tolist()])


def run(vae, config: dict, work: Path, ranks: Ranks) -> None:
    """Every rank makes its own part: WORK/pool_RANK.pt."""
    seed = config["seeds"]["pool"] + ranks.rank
    pool = make_pool(vae, config["pool"], seed, config["side"], config["frames"], config["spread"])
    save(work / f"pool_{ranks.rank}.pt", pool)
    print(f"pool {ranks.rank}: {len(pool['attributes'])} clips", flush=True)


def load_pool(work: Path) -> tuple[torch.Tensor, list[domain.Attributes]]:
    """All parts together."""
    parts = [torch.load(path) for path in sorted(work.glob("pool_*.pt"))]
    return (torch.cat([p["latents"] for p in parts]),
            [tuple(a) for p in parts for a in p["attributes"].tolist()])
