"""What every training stage shares: configuration, ranks, checkpoints, logging."""
import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

HERE = Path(__file__).resolve().parent


def load_config(path: str | os.PathLike = HERE / "config.json") -> dict[str, Any]:
    return json.loads(Path(path).read_text())


def config_hash(config: dict[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 of the canonical configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


@dataclass
class Ranks:
    """This process among `size` equal ones; gradients are averaged with one all-reduce a step."""
    rank: int = 0
    size: int = 1

    @classmethod
    def from_environment(cls) -> "Ranks":
        ranks = cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
        if ranks.size > 1:
            dist.init_process_group("gloo", init_method="file://" + os.environ["RENDEZVOUS_FILE"], rank=ranks.rank,
                                    world_size=ranks.size)
        return ranks

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def average_grads(self, parameters: list[torch.Tensor]) -> bool:
        """Averages the gradients of all ranks; False (on all of them) where one is not finite."""
        flat = torch.cat([p.grad.reshape(-1) for p in parameters])
        if self.size > 1:
            dist.all_reduce(flat)
            flat /= self.size
        for parameter, grad in zip(parameters, flat.split([p.numel() for p in parameters])):
            parameter.grad = grad.view_as(parameter)
        return bool(flat.isfinite().all())


@dataclass
class Log:
    """Averages of what a stage reports, printed and written as CSV every `every` steps."""
    path: Path
    every: int
    steps: int
    is_on: bool = True
    started: float = field(default_factory=time.time)
    sums: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(self, step: int, **values: float) -> None:
        self.count += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if step % self.every and step != self.steps:
            return
        self.last = {name: total / self.count for name, total in self.sums.items()}
        self.sums, self.count = {}, 0
        if self.is_on:
            line = " ".join(f"{name} {value:.4f}" for name, value in self.last.items())
            print(f"step {step}/{self.steps} {time.time() - self.started:.0f} s {line}", flush=True)
            with self.path.open("a") as file:
                file.write(",".join([str(step), *(f"{v:.6f}" for v in self.last.values())]) + "\n")


def save(path: Path, content: Any) -> None:
    """torch.save that never leaves half a file."""
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    os.replace(partial, path)


@torch.no_grad()
def update_average(average: torch.nn.Module, module: torch.nn.Module, step: int, limit: float) -> None:
    """Exponential moving average of the weights that starts short and grows up to `limit`."""
    decay = min(limit, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1 - decay)
