"""The Wan autoencoder: construction, widening, and a whole-clip forward that equals diffusers' chunked one.

Activations stay channels-last. A causal 3x3x3 convolution is conv3d padded on both sides in time and cut to the
first T frames; time convolutions are linear layers over three shifted copies.
"""
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanAttentionBlock, WanResidualBlock
from torch import Tensor, nn

from norm_act import norm_act

CHANNELS_LAST = torch.channels_last_3d


def make_vae(spec: dict, mean: list[float] | None = None, std: list[float] | None = None) -> AutoencoderKLWan:
    z_dim = spec["z_dim"]
    return AutoencoderKLWan(base_dim=spec["base_dim"], decoder_base_dim=spec["base_dim"], z_dim=z_dim,
                            dim_mult=spec["dim_mult"], num_res_blocks=spec["num_res_blocks"], attn_scales=[],
                            temperal_downsample=[False, True, True], dropout=0.0,
                            latents_mean=mean or [0.0] * z_dim, latents_std=std or [1.0] * z_dim)


@torch.no_grad()
def init_signal_preserving(vae: AutoencoderKLWan) -> None:
    """Orthogonal centre taps, average pooling down, copying up, small residual branches, posterior std 0.03."""
    residual = {id(c) for m in vae.modules() if isinstance(m, WanResidualBlock) for c in (m.conv1, m.conv2)}
    for name, module in vae.named_modules():
        if not isinstance(module, (nn.Conv3d, nn.Conv2d)):
            continue
        weight = module.weight
        module.bias.zero_()
        fan_in = weight[0].numel()
        if id(module) in residual:
            weight.normal_(0, (0.35 if name.endswith("conv2") else 1.0) / fan_in ** 0.5)
            continue
        weight.normal_(0, 0.15 / fan_in ** 0.5)
        mix = nn.init.orthogonal_(torch.empty(weight.shape[:2]))
        if "down_blocks" in name and "resample" in name:
            weight[:, :, :2, :2] += mix[:, :, None, None] / 4
        elif "down_blocks" in name and "time_conv" in name:
            weight += mix[:, :, None, None, None] / 3
        elif "time_conv" in name:
            weight[:, :, 2, 0, 0] += torch.eye(weight.shape[1]).repeat(2, 1)
        elif "proj" in name:
            weight[:, :, 0, 0] += 0.1 * mix
        elif "to_qkv" in name:
            weight[:, :, 0, 0] += mix
        else:  # the newest frame's centre tap
            center = (-1, weight.shape[-2] // 2, weight.shape[-1] // 2)[-(weight.ndim - 2):]
            weight[(slice(None), slice(None), *center)] += mix
    z_dim = vae.config.z_dim
    vae.quant_conv.weight.zero_()
    vae.quant_conv.weight[:, :, 0, 0, 0] += torch.eye(2 * z_dim)
    vae.quant_conv.weight[z_dim:] *= 0.1
    vae.quant_conv.bias[z_dim:] = -7.0


@torch.no_grad()
def widen(narrow: AutoencoderKLWan, wide: AutoencoderKLWan, seed: int, noise: float = 0.35) -> None:
    """Copies `narrow` into `wide` (twice its base_dim) without changing the function.

    Every channel is doubled and its outgoing weights halved; opposite noise on the two halves makes them differ.
    """
    generator = torch.Generator().manual_seed(seed)
    source, target = narrow.state_dict(), {}
    for name, like in wide.state_dict().items():
        weight = source[name]
        if weight.shape != like.shape:
            inputs = like.shape[1] // weight.shape[1] if weight.ndim >= 4 and "gamma" not in name else 1
            scale = weight.std() * noise
            weight = weight.repeat_interleave(like.shape[0] // weight.shape[0], 0)
            if inputs == 2:
                jitter = torch.randn(weight.shape, generator=generator) * scale
                weight = torch.stack((weight / 2 + jitter, weight / 2 - jitter), 2).flatten(1, 2)
            if "to_qkv" in name:  # doubled channels raise the attention scores by sqrt(2)
                weight[:weight.shape[0] // 3] *= 2 ** -0.5
        target[name] = weight
    wide.load_state_dict(target)


def _causal_conv(conv: nn.Conv3d, x: Tensor) -> Tensor:
    if conv.weight.shape[2] == 1:
        return F.conv3d(x, conv.weight, conv.bias)
    weight = conv.weight.contiguous(memory_format=CHANNELS_LAST)
    return F.conv3d(x, weight, conv.bias, padding=(2, 1, 1))[:, :, :x.shape[2]]


def _norm(norm: nn.Module, x: Tensor, silu: bool = True) -> Tensor:
    rows = x.permute(0, 2, 3, 4, 1).contiguous()
    return norm_act(rows, norm.gamma.flatten().contiguous(), silu).permute(0, 4, 1, 2, 3)


def _residual(block: WanResidualBlock, x: Tensor) -> Tensor:
    shortcut = x if isinstance(block.conv_shortcut, nn.Identity) else _causal_conv(block.conv_shortcut, x)
    x = _causal_conv(block.conv1, _norm(block.norm1, x))
    return shortcut + _causal_conv(block.conv2, _norm(block.norm2, x))


def _attention(block: WanAttentionBlock, x: Tensor) -> Tensor:
    batch, channels, frames, height, width = x.shape
    rows = _norm(block.norm, x, silu=False).permute(0, 2, 3, 4, 1).reshape(-1, 1, height * width, channels)
    q, k, v = F.linear(rows, block.to_qkv.weight.flatten(1), block.to_qkv.bias).chunk(3, -1)
    out = F.linear(F.scaled_dot_product_attention(q, k, v), block.proj.weight.flatten(1), block.proj.bias)
    return x + out.view(batch, frames, height, width, channels).permute(0, 4, 1, 2, 3)


def _time_conv(conv: nn.Conv3d, x: Tensor, stride: int) -> Tensor:
    """x [B, T, H, W, C], kernel 3 in time."""
    count = (x.shape[1] - 3) // stride + 1
    taps = torch.cat([x[:, k:k + stride * (count - 1) + 1:stride] for k in range(3)], -1)
    return F.linear(taps, conv.weight[..., 0, 0].permute(0, 2, 1).flatten(1), conv.bias)


def _resample(block: nn.Module, x: Tensor) -> Tensor:
    conv = block.resample[1]
    weight = conv.weight.unsqueeze(2).contiguous(memory_format=CHANNELS_LAST)
    if block.mode.startswith("down"):
        x = F.conv3d(F.pad(x, (0, 1, 0, 1)), weight, conv.bias, stride=(1, 2, 2))
        if block.mode == "downsample3d" and x.shape[2] > 1:
            later = _time_conv(block.time_conv, x.permute(0, 2, 3, 4, 1), 2).permute(0, 4, 1, 2, 3)
            x = torch.cat([x[:, :, :1], later], 2)
        return x
    x = x.permute(0, 2, 3, 4, 1)  # [B, T, H, W, C]
    batch, frames, height, width, channels = x.shape
    if block.mode == "upsample3d" and frames > 1:
        later = _time_conv(block.time_conv, F.pad(x[:, 1:], (0, 0, 0, 0, 0, 0, 2, 0)), 1)
        later = later.unflatten(-1, (2, channels)).permute(0, 1, 4, 2, 3, 5).flatten(1, 2)
        x = torch.cat([x[:, :1], later], 1)
        frames = x.shape[1]
    x = x.reshape(batch, frames, height, 1, width, 1, channels).expand(-1, -1, -1, 2, -1, 2, -1)
    x = x.reshape(batch, frames, 2 * height, 2 * width, channels).permute(0, 4, 1, 2, 3)
    return F.conv3d(x, weight, conv.bias, padding=(0, 1, 1))


def _middle(block: nn.Module, x: Tensor) -> Tensor:
    x = _residual(block.resnets[0], x)
    for attention, residual in zip(block.attentions, block.resnets[1:]):
        x = _residual(residual, _attention(attention, x))
    return x


def encode(vae: AutoencoderKLWan, video: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior mean and log variance [B, z, t, h, w] of a video [B, 3, T, H, W]."""
    encoder = vae.encoder
    x = _causal_conv(encoder.conv_in, video.contiguous(memory_format=CHANNELS_LAST))
    for layer in encoder.down_blocks:
        x = _residual(layer, x) if isinstance(layer, WanResidualBlock) else _resample(layer, x)
    x = _causal_conv(encoder.conv_out, _norm(encoder.norm_out, _middle(encoder.mid_block, x)))
    mean, log_variance = _causal_conv(vae.quant_conv, x).float().chunk(2, 1)
    return mean, log_variance.clamp(-14, 4)


def decode(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Video [B, 3, T, H, W], not clamped, of un-normalised latents."""
    decoder = vae.decoder
    x = _causal_conv(vae.post_quant_conv, latents.contiguous(memory_format=CHANNELS_LAST))
    x = _middle(decoder.mid_block, _causal_conv(decoder.conv_in, x))
    for block in decoder.up_blocks:
        for residual in block.resnets:
            x = _residual(residual, x)
        if block.upsamplers is not None:
            x = _resample(block.upsamplers[0], x)
    return _causal_conv(decoder.conv_out, _norm(decoder.norm_out, x))
