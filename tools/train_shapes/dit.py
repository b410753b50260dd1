"""The Wan transformer: construction and a fast training forward that equals diffusers' within rounding.

Padding rows of the text are all zero, so they are one key with bias log(count): exact, and any text length is cheap.
Attention is bmm + softmax, since the CPU's flash attention is slow backward at so few tokens.
"""
import math
import os

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from torch import Tensor

MASKED = -1e4


def make_transformer(spec: dict) -> WanTransformer3DModel:
    """A transformer with a signal-preserving start: small residual gates, small output projection."""
    model = WanTransformer3DModel(**{**spec, "patch_size": tuple(spec["patch_size"])})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and "scale_shift" not in name:
                parameter.normal_(std=0.7 / math.sqrt(parameter[0].numel()))
            elif name.endswith("bias"):
                parameter.zero_()
        model.proj_out.weight.mul_(0.02)
        model.scale_shift_table.zero_()
        for block in model.blocks:
            block.scale_shift_table.zero_()
            block.scale_shift_table[:, [2, 5]] = 0.3
            block.attn2.to_out[0].weight.mul_(0.5)
    return model


def _linear(x: Tensor, layer, dtype: torch.dtype) -> Tensor:
    return F.linear(x.to(dtype), layer[0].to(dtype), layer[1].to(dtype))


def _rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * weight


def _rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [B, L, N, D], cos and sin [L, 1, D/2]; neighbouring pairs rotate."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((first * cos - second * sin, first * sin + second * cos), -1).flatten(-2)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """[B, L, N, D] each -> [B, L, N * D]."""
    dtype = v.dtype
    q, k, v = (x.to(dtype).transpose(1, 2) for x in (q, k, v))
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    weights = torch.softmax(scores if bias is None else scores + bias, -1).to(dtype)
    return (weights @ v).transpose(1, 2).flatten(2)


def _block(hidden: Tensor, text: Tensor, bias: Tensor, modulation: Tensor, cos: Tensor, sin: Tensor, heads: int,
           dtype: torch.dtype, table: Tensor, self_attn: tuple, cross_attn: tuple, norm2: tuple, ffn: tuple) -> Tensor:
    """One layer. Weights are arguments so that all layers share one compiled graph."""
    shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (m.unsqueeze(1) for m in (table + modulation).unbind(1))
    width = hidden.shape[-1:]

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (heads, -1))

    x = (F.layer_norm(hidden, width, eps=1e-6) * (1 + scale) + shift).to(dtype)
    q, k, v, out, norm_q, norm_k = self_attn
    mixed = _attend(_rope(split(_rms_norm(_linear(x, q, dtype), norm_q)), cos, sin),
                    _rope(split(_rms_norm(_linear(x, k, dtype), norm_k)), cos, sin), split(_linear(x, v, dtype)), None)
    hidden = hidden + _linear(mixed, out, dtype).float() * gate
    x = F.layer_norm(hidden, width, *norm2, 1e-6).to(dtype)
    q, k, v, out, norm_q, norm_k = cross_attn
    mixed = _attend(split(_rms_norm(_linear(x, q, dtype), norm_q)), split(_rms_norm(_linear(text, k, dtype), norm_k)),
                    split(_linear(text, v, dtype)), bias)
    hidden = hidden + _linear(mixed, out, dtype).float()
    x = (F.layer_norm(hidden, width, eps=1e-6) * (1 + ffn_scale) + ffn_shift).to(dtype)
    x = _linear(F.gelu(_linear(x, ffn[0], dtype), approximate="tanh"), ffn[1], dtype)
    return hidden + x.float() * ffn_gate


_compiled_block = torch.compile(_block, dynamic=False)


def _block_weights(block) -> tuple:
    def pair(layer):
        return layer.weight, layer.bias

    def attention(a):
        return pair(a.to_q), pair(a.to_k), pair(a.to_v), pair(a.to_out[0]), a.norm_q.weight, a.norm_k.weight

    return (block.scale_shift_table, attention(block.attn1), attention(block.attn2), pair(block.norm2),
            (pair(block.ffn.net[0].proj), pair(block.ffn.net[2])))


def text_bias(lengths: Tensor, padding: Tensor, width: int) -> Tensor:
    """Attention bias [B, 1, 1, width + 1]: real tokens, masked rest, and the one key that stands for all padding."""
    real = torch.where(torch.arange(width)[None] < lengths[:, None], 0.0, MASKED)
    pads = torch.where(padding > 0, padding.float().clamp(min=1).log(), torch.tensor(MASKED))
    return torch.cat([real, pads[:, None]], 1)[:, None, None]


def forward(model: WanTransformer3DModel, latents: Tensor, timestep: Tensor, text: Tensor, lengths: Tensor,
            padding: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Velocity [B, z, T, h, w]; text [B, S, C] with rows beyond `lengths` ignored, `padding` [B] zero rows after."""
    batch, channels, frames, height, width = latents.shape
    heads = model.config.num_attention_heads
    hidden_size = heads * model.config.attention_head_dim
    condition = model.condition_embedder
    block = _compiled_block if os.environ.get("T2V_TRAIN_COMPILE", "1") == "1" else _block
    real = (torch.arange(text.shape[1])[None] < lengths[:, None]).unsqueeze(-1)
    bias = text_bias(lengths, padding, text.shape[1])
    text = F.pad(text * real, (0, 0, 0, 1))
    embed = condition.text_embedder
    text = _linear(F.gelu(_linear(text, (embed.linear_1.weight, embed.linear_1.bias), dtype), approximate="tanh"),
                   (embed.linear_2.weight, embed.linear_2.bias), dtype)
    time = condition.time_embedder(condition.timesteps_proj(timestep))
    modulation = condition.time_proj(F.silu(time)).view(batch, 6, hidden_size)
    patches = latents.view(batch, channels, frames, height // 2, 2, width // 2, 2).permute(0, 2, 3, 5, 1, 4, 6)
    patches = patches.reshape(batch, frames * height * width // 4, channels * 4)
    hidden = F.linear(patches, model.patch_embedding.weight.flatten(1), model.patch_embedding.bias).float()
    cos, sin = model.rope(latents)
    cos, sin = cos[0, :, :, 0::2].float(), sin[0, :, :, 1::2].float()
    for layer in model.blocks:
        hidden = block(hidden, text, bias, modulation, cos, sin, heads, dtype, *_block_weights(layer))
    shift, scale = (m.unsqueeze(1) for m in (model.scale_shift_table + time.unsqueeze(1)).unbind(1))
    hidden = F.layer_norm(hidden, (hidden_size,), eps=1e-6) * (1 + scale) + shift
    out = model.proj_out(hidden).view(batch, frames, height // 2, width // 2, 2, 2, channels)
    return out.permute(0, 6, 1, 2, 4, 3, 5).reshape(batch, channels, frames, height, width)
