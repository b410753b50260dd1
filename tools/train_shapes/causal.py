"""The causal form of the Wan transformer: a teacher-forced training forward, and a rollout with a key/value cache.

One chunk is one latent frame. A frame sees itself and the clean frames before it within a window; every frame has its
own timestep. Clean frames carry timestep 0, in training and in the cache alike, so training is exactly what is rolled
out: T denoising passes of a frame over the cached past, then one clean pass that writes its keys and values.
"""
from dataclasses import dataclass, field
from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import dit

DTYPE = torch.bfloat16
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]  # layer, q, k, v [B, F, P, N, D] -> [B, F, P, N * D]


@dataclass
class Prompt:
    """What cross-attention sees: hidden rows [B, S, C] of the text MLP and their bias [B, 1, 1, S]."""
    rows: Tensor
    bias: Tensor

    def repeat(self, count: int) -> "Prompt":
        return Prompt(self.rows.repeat(count, 1, 1), self.bias.repeat(count, 1, 1, 1))


def embed_prompt(model, text: Tensor, lengths: Tensor, padding: Tensor) -> Prompt:
    """text [B, S, C] with rows beyond `lengths` ignored, `padding` [B] zero rows after."""
    real = (torch.arange(text.shape[1])[None] < lengths[:, None]).unsqueeze(-1)
    bias = dit.text_bias(lengths, padding, text.shape[1])
    embed = model.condition_embedder.text_embedder
    rows = dit._linear(F.pad(text * real, (0, 0, 0, 1)), (embed.linear_1.weight, embed.linear_1.bias), DTYPE)
    return Prompt(dit._linear(F.gelu(rows, approximate="tanh"), (embed.linear_2.weight, embed.linear_2.bias), DTYPE),
                  bias)


def rope_tables(model, first: int, frames: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """cos and sin [frames, P, 1, D/2] of the frames first, first + 1, ... of a grid of height x width tokens."""
    dim = model.config.attention_head_dim
    side = 2 * (dim // 6)
    grid = torch.meshgrid(torch.arange(first, first + frames), torch.arange(height), torch.arange(width),
                          indexing="ij")
    angles = []
    for positions, size in zip(grid, (dim - 2 * side, side, side)):
        rates = 10000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
        angles.append(positions.double().unsqueeze(-1) * rates)
    angle = torch.cat(angles, -1).view(frames, height * width, 1, dim // 2)
    return angle.cos().float(), angle.sin().float()


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """[B, F, L, N, D] each -> [B, F, L, N * D]."""
    q, k, v = (x.to(DTYPE).transpose(2, 3) for x in (q, k, v))
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    weights = torch.softmax(scores if bias is None else scores + bias, -1).to(DTYPE)
    return (weights @ v).transpose(2, 3).flatten(3)


def _block(hidden: Tensor, prompt: Prompt, modulation: Tensor, rope: tuple[Tensor, Tensor], attend, weights: tuple):
    """One layer over hidden [B, F, P, C]; modulation [B, F, 6, C]."""
    table, self_attn, cross_attn, norm2, ffn = weights
    shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (table + modulation).unsqueeze(3).unbind(2)
    width, size = hidden.shape[-1:], rope[0].shape[-1] * 2

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, size))

    x = (F.layer_norm(hidden, width, eps=1e-6) * (1 + scale) + shift).to(DTYPE)
    q, k, v, out, norm_q, norm_k = self_attn
    mixed = attend(dit._rope(split(dit._rms_norm(dit._linear(x, q, DTYPE), norm_q)), *rope),
                   dit._rope(split(dit._rms_norm(dit._linear(x, k, DTYPE), norm_k)), *rope),
                   split(dit._linear(x, v, DTYPE)))
    hidden = hidden + dit._linear(mixed, out, DTYPE).float() * gate
    x = F.layer_norm(hidden, width, *norm2, 1e-6).to(DTYPE).flatten(1, 2)
    q, k, v, out, norm_q, norm_k = cross_attn
    mixed = dit._attend(split(dit._rms_norm(dit._linear(x, q, DTYPE), norm_q)),
                        split(dit._rms_norm(dit._linear(prompt.rows, k, DTYPE), norm_k)),
                        split(dit._linear(prompt.rows, v, DTYPE)), prompt.bias)
    hidden = hidden + dit._linear(mixed, out, DTYPE).float().view(hidden.shape)
    x = (F.layer_norm(hidden, width, eps=1e-6) * (1 + ffn_scale) + ffn_shift).to(DTYPE)
    x = dit._linear(F.gelu(dit._linear(x, ffn[0], DTYPE), approximate="tanh"), ffn[1], DTYPE)
    return hidden + x.float() * ffn_gate


def run(model, latents: Tensor, timesteps: Tensor, prompt: Prompt, attend: Attend, first: int = 0) -> Tensor:
    """Velocity of latents [B, z, F, h, w] at timesteps [B, F]; the first frame has index `first`."""
    batch, channels, frames, height, width = latents.shape
    rows, columns = height // 2, width // 2
    condition = model.condition_embedder
    time = condition.time_embedder(condition.timesteps_proj(timesteps.flatten()))
    modulation = condition.time_proj(F.silu(time)).view(batch, frames, 6, -1)
    patches = latents.reshape(batch, channels, frames, rows, 2, columns, 2).permute(0, 2, 3, 5, 1, 4, 6)
    patches = patches.reshape(batch, frames, rows * columns, channels * 4)
    hidden = F.linear(patches, model.patch_embedding.weight.flatten(1), model.patch_embedding.bias).float()
    rope = rope_tables(model, first, frames, rows, columns)
    for index, layer in enumerate(model.blocks):
        hidden = _block(hidden, prompt, modulation, rope,
                        lambda q, k, v, index=index: attend(index, q, k, v), dit._block_weights(layer))
    shift, scale = (model.scale_shift_table + time.view(batch, frames, 1, -1)).unsqueeze(3).unbind(2)
    hidden = F.layer_norm(hidden, hidden.shape[-1:], eps=1e-6) * (1 + scale) + shift
    out = model.proj_out(hidden).view(batch, frames, rows, columns, 2, 2, channels)
    return out.permute(0, 6, 1, 2, 4, 3, 5).reshape(latents.shape)


def teacher_forced(model, clean: Tensor, noisy: Tensor, timesteps: Tensor, prompt: Prompt, window: int) -> Tensor:
    """Velocity of every noisy frame [B, z, F, h, w], each over itself and the window - 1 clean frames before it."""
    batch, _, frames, height, width = clean.shape
    tokens, past = height * width // 4, window - 1
    age = torch.arange(past, 0, -1)  # of the past frames, in the order of unfold
    bias = torch.where(torch.arange(frames)[:, None] >= age[None], 0.0, dit.MASKED)
    bias = F.pad(bias.repeat_interleave(tokens, 1), (0, tokens)).view(frames, 1, 1, window * tokens)

    def with_past(own: Tensor) -> Tensor:
        own = own.to(DTYPE)
        before = F.pad(own[:batch], (0, 0, 0, 0, 0, 0, past, 0))[:, :frames + past - 1]
        before = before.unfold(1, past, 1).permute(0, 1, 5, 2, 3, 4).flatten(2, 3)
        return torch.cat([before.repeat(2, 1, 1, 1, 1), own], 2)

    def attend(_, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return _attend(q, with_past(k), with_past(v), bias)

    both = torch.cat([torch.zeros_like(timesteps), timesteps])
    return run(model, torch.cat([clean, noisy]), both, prompt.repeat(2), attend)[batch:]


@dataclass
class Cache:
    """Keys and values of the last frames, a list a layer; `current` is what the running pass made."""
    window: int
    layers: dict[int, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    current: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.current[layer] = (k, v)
        seen = [*self.layers.get(layer, []), (k, v)]
        return _attend(q, *(torch.cat(part, 2) for part in zip(*seen)))

    def keep(self) -> None:
        """Makes the frame of the last pass part of the past."""
        for layer, pair in self.current.items():
            self.layers[layer] = [*self.layers.get(layer, []), pair][-(self.window - 1):]


def schedule(steps: int, shift: float) -> list[float]:
    """Sigmas 1 ... > 0 of `steps` even steps, shifted; a last 0 is appended."""
    even = [1 - i / steps for i in range(steps)]
    return [shift * u / (1 + (shift - 1) * u) for u in even] + [0.0]


@torch.no_grad()
def rollout(model, prompts: list[tuple[Prompt, float]], noise: Tensor, sigmas: list[float], window: int):
    """Yields every denoised frame [B, z, 1, h, w] of noise [B, z, F, h, w] (Euler steps).

    prompts: each with its weight in the velocity; one of weight 1, or (g, 1 - g) for guidance, a cache each.
    """
    caches = [Cache(window) for _ in prompts]
    for index in range(noise.shape[2]):
        x = noise[:, :, index:index + 1]

        def velocity(sigma: float) -> Tensor:
            time = torch.full((len(x), 1), sigma * 1000)
            return sum(weight * run(model, x, time, prompt, cache.attend, index)
                       for (prompt, weight), cache in zip(prompts, caches))

        for sigma, following in zip(sigmas, sigmas[1:]):
            x = x + (following - sigma) * velocity(sigma)
        velocity(0.0)
        for cache in caches:
            cache.keep()
        yield x
