"""Trains a transformer on the encoded pool by flow matching within a range of sigmas (both ends for the joint one)."""
import copy
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import dit
import grammar
from optim import Muon, schedule
from runtime import Log, Ranks, save, update_average

TEXT_ROWS = 32  # longer than any prompt of the grammar
ADAM_NAMES = ("proj_out", "time_embedder", "time_proj")  # matrices that Muon does not suit


@dataclass
class Batches:
    """Endless training batches of one rank; deterministic by its seed."""
    latents: Tensor  # normalised, half precision
    attributes: list
    tokenizer: object
    size: int
    shift: float
    sigma_range: tuple[float, float]
    text_len: int
    empty_share: float
    seed: int

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.generator = torch.Generator().manual_seed(self.seed)
        self.order: list[int] = []

    def state_dict(self) -> dict:
        return {"rng": self.rng.getstate(), "generator": self.generator.get_state(), "order": self.order}

    def load_state_dict(self, state: dict) -> None:
        self.rng.setstate(state["rng"])
        self.generator.set_state(state["generator"])
        self.order = state["order"]

    def _uniform(self) -> Tensor:
        return torch.rand(self.size, generator=self.generator)

    def prompts(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Token ids [B, TEXT_ROWS] and their numbers [B]; some prompts are empty, for guidance."""
        ids = torch.zeros(self.size, TEXT_ROWS, dtype=torch.long)
        lengths = torch.zeros(self.size, dtype=torch.long)
        for row, index in enumerate(indices):
            is_empty = self.rng.random() < self.empty_share
            text = "" if is_empty else grammar.prompt(self.rng, self.attributes[index])[0]
            tokens = (self.tokenizer.encode(text) + [1])[:TEXT_ROWS]
            ids[row, :len(tokens)] = torch.tensor(tokens)
            lengths[row] = len(tokens)
        return ids, lengths

    def sigmas(self) -> Tensor:
        """Stratified over the part of the shifted schedule that lies in sigma_range."""
        low, high = (s / (self.shift - (self.shift - 1) * s) for s in self.sigma_range)
        u = (torch.arange(self.size) + self._uniform()) / self.size
        u = low + (high - low) * u[torch.randperm(self.size, generator=self.generator)]
        return self.shift * u / (1 + (self.shift - 1) * u)

    def text_lengths(self) -> Tensor:
        """Mostly the model's own text length, sometimes 512, sometimes any."""
        kind = self._uniform()
        other = (TEXT_ROWS + self._uniform() * 194).round()
        return torch.where(kind < 0.6, float(self.text_len), torch.where(kind < 0.8, 512.0, other))

    def next(self) -> dict[str, Tensor]:
        while len(self.order) < self.size:
            self.order = torch.randperm(len(self.attributes), generator=self.generator).tolist() + self.order
        indices, self.order = self.order[-self.size:], self.order[:-self.size]
        ids, lengths = self.prompts(indices)
        padding = self.text_lengths() - lengths
        sigmas = self.sigmas()
        clean = self.latents[indices].float()
        noise = torch.randn(clean.shape, generator=self.generator)
        weight = sigmas.view(-1, 1, 1, 1, 1)
        return {"latents": (1 - weight) * clean + weight * noise, "velocity": noise - clean, "sigmas": sigmas,
                "ids": ids, "lengths": lengths, "padding": padding}


def make_optimizer(model: torch.nn.Module, lr: float) -> Muon:
    named = list(model.named_parameters())
    matrices = [p for n, p in named if p.ndim == 2 and not any(k in n for k in ADAM_NAMES)]
    chosen = {id(p) for p in matrices}
    return Muon(matrices, [p for _, p in named if id(p) not in chosen], lr=lr, adam_lr=lr * 0.1, weight_decay=0.01)


def loss_of(model, text_encoder, batch: dict[str, Tensor]) -> Tensor:
    """Squared velocity error of every clip [B]."""
    mask = (torch.arange(TEXT_ROWS)[None] < batch["lengths"][:, None]).long()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        text = text_encoder(batch["ids"], mask).last_hidden_state.float()
    out = dit.forward(model, batch["latents"], batch["sigmas"] * 1000, text, batch["lengths"], batch["padding"])
    return (out.float() - batch["velocity"]).square().flatten(1).mean(1)


def train(model, text_encoder, batches: Batches, stage: dict, work: Path, name: str, ranks: Ranks,
          every: int) -> torch.nn.Module:
    """Runs stage["steps"] steps from WORK/name.state.R.pt where there is one; returns the averaged weights."""
    optimizer, average, first = make_optimizer(model, stage["lr"]), copy.deepcopy(model), 0
    state_path = work / f"{name}.state.{ranks.rank}.pt"
    if state_path.exists():
        state = torch.load(state_path, weights_only=False)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        batches.load_state_dict(state["batches"])
        first = state["step"]
    log = Log(work / f"{name}.csv", every, stage["steps"], ranks.is_first)
    for step in range(first + 1, stage["steps"] + 1):
        batch = batches.next()
        errors = loss_of(model, text_encoder, batch)
        optimizer.zero_grad()
        errors.mean().backward()
        is_finite = ranks.average_grads(optimizer.parameters)
        if is_finite:
            optimizer.step(schedule(step - 1, stage["steps"], stage["warmup"], stage["hold"]))
        update_average(average, model, step, limit=0.998)
        log.add(step, loss=errors.mean().item(), skipped=float(not is_finite))
        if step % stage["save_every"] == 0 or step == stage["steps"]:
            save(state_path, {"model": model.state_dict(), "average": average.state_dict(), "step": step,
                              "optimizer": optimizer.state_dict(), "batches": batches.state_dict()})
    return average
