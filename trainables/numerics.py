"""Sets the precision of convolutions, and makes them deterministic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

Precision = Literal["auto", "fp32", "tf32", "bf16"]
"""A precision; `auto` is resolved for a device by `resolved`."""


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 faster than float32.

    Every GPU of compute capability 8.0 or more does, and a CPU with AVX512-BF16, AMX or Arm's BF16
    instructions. Torch emulates bfloat16 on any other CPU, several times slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if torch.cpu._is_avx512_supported():  # oneDNN emulates it there, and reports support
        return bool(instructions)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def resolved(precision: Precision, device: torch.device) -> Precision:
    """Resolve `auto` to bf16 where `device` multiplies it faster, else to fp32; keep the others."""
    if precision != "auto":
        return precision
    return "bf16" if multiplies_bfloat16(device) else "fp32"


@contextmanager
def numerics(precision: Precision, device: torch.device) -> Iterator[None]:
    """A context in which networks on `device` compute in `precision`, deterministically.

    `fp32`: IEEE float32 throughout, as always in evaluation. `tf32`: float32 whose convolutions a
    GPU multiplies with 10 bits of mantissa, torch's default; on a CPU the same as fp32. `bf16`:
    convolutions and matrix products run under autocast in bfloat16, sums and losses in float32.
    cuDNN chooses a deterministic algorithm by rule rather than by timing, so that a resumed trial
    computes the same bits. Leaving the context restores all settings.

    Args:
        precision: any but `auto`.
        device: where the networks are.
    """
    assert precision != "auto", "resolved before anything is computed"
    cudnn: Any = torch.backends.cudnn  # torch's annotations lack `conv`
    products = torch.backends.cuda.matmul
    before = (
        cudnn.conv.fp32_precision,
        products.fp32_precision,
        cudnn.deterministic,
        cudnn.benchmark,
    )
    cudnn.conv.fp32_precision = "ieee" if precision == "fp32" else "tf32"
    products.fp32_precision = "ieee"
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        # A step updates the student and then uses it again: casts must not be cached.
        with torch.autocast(
            device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False
        ):
            yield
    finally:
        cudnn.conv.fp32_precision, products.fp32_precision = before[:2]
        cudnn.deterministic, cudnn.benchmark = before[2:]


def hold_in_bfloat16(network: nn.Module) -> None:
    """Convert the convolution weights of a frozen network to bfloat16, in place.

    Autocast would do so in every pass; results under autocast are bitwise equal.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.bfloat16()
