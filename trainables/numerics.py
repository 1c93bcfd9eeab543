"""In which precision convolutions run, and that they give the same bits every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

Precision = Literal["auto", "fp32", "tf32", "bf16"]
"""`auto`, or one of what it can be resolved to."""


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
    if torch.cpu._is_avx512_supported():  # oneDNN emulates it there, and says that it supports it
        return bool(instructions)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def resolved(precision: Precision, device: torch.device) -> Precision:
    """`precision`, or for `auto` the fastest that trains as well on `device`: bf16, else fp32."""
    if precision != "auto":
        return precision
    return "bf16" if multiplies_bfloat16(device) else "fp32"


@contextmanager
def numerics(precision: Precision, device: torch.device) -> Iterator[None]:
    """Within the context, networks on `device` compute in `precision`, deterministically.

    `fp32`: IEEE float32 throughout, which evaluation always has. `tf32`: float32 whose convolutions
    a GPU multiplies with 10 bits of mantissa, as torch does by default; on a CPU the same as fp32.
    `bf16`: convolutions and products run under autocast in bfloat16, sums and losses in float32.
    cuDNN chooses among deterministic algorithms, by rule and not by trial: a trial that is resumed
    would otherwise get other bits. Outside of the context everything is as it was before.
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
        # A step updates the student and then uses it again: no cast may be remembered.
        with torch.autocast(
            device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False
        ):
            yield
    finally:
        cudnn.conv.fp32_precision, products.fp32_precision = before[:2]
        cudnn.deterministic, cudnn.benchmark = before[2:]


def hold_in_bfloat16(network: nn.Module) -> None:
    """Round the convolution weights of a frozen network to bfloat16 once, in place.

    Autocast would do so in every pass: the network's results are the same bits.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.bfloat16()
