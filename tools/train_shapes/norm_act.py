"""Fused channel RMS norm + SiLU for training: a C kernel (norm_act.cpp) with its plain twin."""
import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

WIDTHS = (8, 16, 32, 64)
SOURCE = Path(__file__).with_name("norm_act.cpp")


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The compiled kernel, or None where there is no C++ compiler."""
    compiler = shutil.which("c++")
    if compiler is None:
        return None
    library = Path(tempfile.mkdtemp(prefix="norm_act_")) / "norm_act.so"
    subprocess.run([compiler, "-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", "-o", library, SOURCE],
                   check=True)
    return ctypes.CDLL(str(library))


def norm_act_reference(x: Tensor, gamma: Tensor, silu: bool) -> Tensor:
    """x [..., C]: unit norm over the channels times gamma * sqrt(C), then SiLU."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().sum(-1, keepdim=True).clamp_min(1e-24)) * (gamma * x.shape[-1] ** 0.5)
    return (torch.nn.functional.silu(wide) if silu else wide).to(x.dtype)


class _Args(ctypes.Structure):
    """NormActArgs of norm_act.cpp."""
    _fields_ = [(name, ctypes.c_void_p) for name in ("x", "gamma", "dy", "out", "dgamma")] + [
        ("rows", ctypes.c_int64), ("width", ctypes.c_int32), ("silu", ctypes.c_int32)]


def _args(x: Tensor, gamma: Tensor, silu: bool, **tensors: Tensor) -> object:
    """A reference that keeps the struct alive for the call."""
    pointers = {name: tensor.data_ptr() for name, tensor in tensors.items()}
    return ctypes.byref(_Args(x=x.data_ptr(), gamma=gamma.data_ptr(), rows=x.numel() // x.shape[-1],
                              width=x.shape[-1], silu=silu, **pointers))


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, gamma: Tensor, silu: bool) -> Tensor:
        y = torch.empty_like(x)
        _library().norm_act_forward(_args(x, gamma, silu, out=y))
        ctx.save_for_backward(x, gamma)
        ctx.silu = silu
        return y

    @staticmethod
    def backward(ctx, dy: Tensor):
        x, gamma = ctx.saved_tensors
        dy = dy.to(torch.bfloat16).contiguous()
        dx, dgamma = torch.empty_like(x), torch.empty_like(gamma)
        _library().norm_act_backward(_args(x, gamma, ctx.silu, dy=dy, out=dx, dgamma=dgamma))
        return dx, dgamma, None


def norm_act(x: Tensor, gamma: Tensor, silu: bool) -> Tensor:
    """x [..., C] contiguous; takes the kernel for bfloat16 rows of the widths it knows."""
    if x.dtype == torch.bfloat16 and x.shape[-1] in WIDTHS and _library() is not None:
        return _NormAct.apply(x, gamma, silu)
    return norm_act_reference(x, gamma, silu)
