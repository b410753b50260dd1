"""Muon for matrices and convolution kernels, AdamW for everything else."""
from collections import defaultdict

import torch
from torch import Tensor


def orthogonalize(grads: Tensor, iterations: int = 5) -> Tensor:
    """Batched quintic Newton-Schulz iteration: [n, rows, columns] with singular values near 1."""
    x = grads.bfloat16() if grads.shape[-1] >= 96 else grads
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.mT if tall else x).to(grads.dtype)


class Muon:
    """Groups matrices of one shape so that one batched iteration serves them all."""

    def __init__(self, matrices, others, lr: float, adam_lr: float, weight_decay: float = 0.0, momentum: float = 0.95):
        self.groups = defaultdict(list)
        for parameter in matrices:
            self.groups[(parameter.shape[0], parameter[0].numel())].append(parameter)
        self.momentum_buffers = {k: torch.zeros(len(v), *k) for k, v in self.groups.items()}
        self.adam = torch.optim.AdamW(others, lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0, foreach=True)
        self.lr, self.adam_lr, self.weight_decay, self.momentum = lr, adam_lr, weight_decay, momentum
        self.parameters = list(matrices) + list(others)

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update with all learning rates multiplied by `scale`."""
        self.adam.param_groups[0]["lr"] = self.adam_lr * scale
        self.adam.step()
        for shape, parameters in self.groups.items():
            grads = torch.stack([p.grad.reshape(shape) for p in parameters])
            buffer = self.momentum_buffers[shape]
            buffer.mul_(self.momentum).add_(grads)
            updates = orthogonalize(grads + self.momentum * buffer)
            rate = self.lr * scale * max(1.0, shape[0] / shape[1]) ** 0.5
            for parameter, update in zip(parameters, updates):
                parameter.mul_(1 - self.lr * scale * self.weight_decay)
                parameter.add_(update.reshape(parameter.shape), alpha=-rate)

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict:
        return {"adam": self.adam.state_dict(), "momentum": self.momentum_buffers}

    def load_state_dict(self, state: dict) -> None:
        self.adam.load_state_dict(state["adam"])
        self.momentum_buffers = state["momentum"]


def schedule(step: int, steps: int, warmup: int, hold: float) -> float:
    """Linear warm-up, constant for the share `hold` of the steps, then linear decay to 1 %."""
    decay = (1 - step / steps) / (1 - hold)
    return min(1.0, (step + 1) / warmup) * max(0.01, min(1.0, decay))
